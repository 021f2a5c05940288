"""The PyPI module `slot-attention`, timed when told to; `benchmarks/growth.py` starts it, where torch is installed.

One argument: the clock. For every line read, JSON with batch, tokens, slots, iterations, dim and hidden, prints the
seconds of a forward and backward pass. Imports nothing of slotjax.
"""

import importlib.metadata
import json
import sys
import time

import torch
from slot_attention import SlotAttention


def main() -> None:
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[sys.argv[1]]
    version = importlib.metadata.version("slot-attention")
    print(json.dumps(f"slot-attention {version}, torch {torch.__version__}"), flush=True)
    made = {}
    for line in sys.stdin:
        if line not in made:
            made[line] = build(**json.loads(line))
            made[line]()
        start = clock()
        made[line]()
        print(json.dumps(clock() - start), flush=True)


def build(batch: int, tokens: int, slots: int, iterations: int, dim: int, hidden: int):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = SlotAttention(slots, dim, iters=iterations, hidden_dim=hidden).to(device)
    inputs = torch.randn(batch, tokens, dim, device=device, requires_grad=True)

    def run():
        (module(inputs) ** 2).mean().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


if __name__ == "__main__":
    main()
