"""Writes slot_attention.npz: python tests/data/torch/write.py, with torch 2.13.0 and slot-attention 1.5.2.

A small module of the PyPI package with every parameter drawn at random, a batch of inputs, the slots it started from
and the slots it returned. The module draws its start itself, from torch's generator, so the draw is repeated.
"""

from pathlib import Path

import numpy as np
import torch
from slot_attention import SlotAttention

DIM, HIDDEN, SLOTS = 8, 12, 3


def main() -> None:
    torch.manual_seed(0)
    module = SlotAttention(num_slots=SLOTS, dim=DIM, iters=3, hidden_dim=HIDDEN)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)
        inputs = torch.randn(2, 10, DIM)
        torch.manual_seed(1)
        noise = torch.randn(2, SLOTS, DIM)
        start = module.slots_mu + module.slots_logsigma.exp() * noise
        torch.manual_seed(1)
        slots = module(inputs)
    state = {f"state/{name}": tensor.numpy() for name, tensor in module.state_dict().items()}
    arrays = state | {"inputs": inputs.numpy(), "start": start.numpy(), "slots": slots.numpy()}
    np.savez_compressed(Path(__file__).parent / "slot_attention.npz", **arrays)


if __name__ == "__main__":
    main()
