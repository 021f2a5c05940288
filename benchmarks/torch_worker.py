"""A PyTorch model that takes training steps when told to; `benchmarks/step.py` starts it, where torch is installed.

One argument, JSON: the peer's file, the data, device and settings. Prints the versions and the reconstruction from
slotjax's parameters, then for every line read the seconds of a step. Imports nothing of slotjax.
"""

import importlib.util
import json
import sys
import time

import numpy as np
import torch

TRANSPOSED = "decoder/deconv"


def main() -> None:
    settings = {"tf32": False, "bf16": False, "channels_last": False, "compile": False} | json.loads(sys.argv[1])
    data = dict(np.load(settings["data"]))
    device, images, noise = settings["device"], torch.tensor(data.pop("images")), torch.tensor(data.pop("noise"))
    spec = importlib.util.spec_from_file_location("peer", settings["peer"])
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings["tf32"]
    torch.backends.cudnn.benchmark = True
    model = peer.AutoEncoder(images.shape[1])
    model.load_state_dict({k: torch.tensor(np.array(v)) for k, v in weights(data).items()}, strict=False)
    x = images.permute(0, 3, 1, 2).contiguous()
    print(json.dumps({"version": torch.__version__, "reconstruction": reconstruct(model, x, noise)}), flush=True)
    step = build_step(model.to(device), x.to(device), settings)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[settings["clock"]]
    sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        step()
    for _ in sys.stdin:
        sync()
        start = clock()
        for _ in range(settings["steps"]):
            step()
        sync()
        print(json.dumps((clock() - start) / settings["steps"]), flush=True)


def reconstruct(model, x, noise) -> list[float]:
    """From the given noise, which the model would draw itself."""
    draw, torch.randn = torch.randn, lambda *_, **__: noise
    with torch.no_grad():
        out = model(x)
    torch.randn = draw
    return out.permute(0, 2, 3, 1).flatten().tolist()


def build_step(model, x, settings):
    if settings["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 4e-4)
    forward = torch.compile(model) if settings["compile"] else model

    def step():
        with torch.autocast(settings["device"], torch.bfloat16, enabled=settings["bf16"]):
            loss = ((forward(x).float() - x) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def weights(params: dict) -> dict:
    """slotjax's parameters {path: array} under the peer's names and in torch's layouts."""
    state = {}

    def layer(name, path):
        kernel = params[f"{path}/kernel"]
        if path.startswith(TRANSPOSED):
            kernel = kernel[::-1, ::-1].transpose(2, 3, 0, 1)
        else:
            kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        state[f"{name}.weight"], state[f"{name}.bias"] = kernel, params[f"{path}/bias"]

    def norm(name, path):
        state[f"{name}.weight"], state[f"{name}.bias"] = params[f"{path}/scale"], params[f"{path}/bias"]

    for i in range(4):
        layer(f"encoder.{2 * i}", f"encoder/conv{i}")
    for i in range(6):
        layer(f"decoder.{2 * i}", f"decoder/deconv{i}")
    for i in range(2):
        layer(f"mlp.{2 * i}", f"encoder/dense{i}")
        state[f"slot_mlp.{2 * i}.weight"] = params[f"attention/mlp/kernel{i}"].T
        state[f"slot_mlp.{2 * i}.bias"] = params[f"attention/mlp/bias{i}"]
    for part in ("encoder", "decoder"):
        layer(f"{part}_position.project", f"{part}/position/dense")
    norm("norm", "encoder/norm")
    for name in ("norm_inputs", "norm_slots", "norm_mlp"):
        norm(name, f"attention/{name}")
    for name in "qkv":
        state[f"{name}.weight"] = params[f"attention/project_{name}"].T
    for ours, theirs in (("input", "ih"), ("recurrent", "hh")):
        for kind in ("kernel", "bias"):
            update, reset, candidate = np.split(params[f"attention/gru/{ours}_{kind}"], 3, -1)
            state[f"gru.{'weight' if kind == 'kernel' else 'bias'}_{theirs}"] = np.concatenate(
                [reset.T, update.T, candidate.T]
            )
    start = "attention/initializer"
    return state | {"mu": params[f"{start}/mu"], "log_sigma": params[f"{start}/log_sigma"]}


if __name__ == "__main__":
    main()
