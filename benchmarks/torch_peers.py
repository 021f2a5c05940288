"""A plain PyTorch model with the weights of ours, in an interpreter that has torch, for `benchmarks/step.py`."""

import argparse
import json
import subprocess
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from timing import FOLDER, noise_batch
from workers import Worker

import slotjax
from slotjax.weights import flatten


def example(config):
    """slotjax's initial parameters, pictures, and the noise that slots start from."""
    model, images = slotjax.build_model(config.model), noise_batch(config)["image"]
    params = jax.jit(slotjax.init, static_argnums=0)(model, jax.random.key(0), images)
    noise = np.random.default_rng(1).normal(size=(len(images), config.model.num_slots, config.model.slot_dim))
    return params, images, noise.astype(np.float32)


def our_output(config, params, images, noise) -> slotjax.Output:
    start = params["attention"]["initializer"]
    slots = start["mu"] + jnp.exp(start["log_sigma"]) * noise
    return slotjax.apply(slotjax.build_model(config.model), params, images, initial_slots=slots)


def relative(ours, theirs) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def torch_peer(name: str, config, options: argparse.Namespace, **settings) -> Worker:
    """`benchmarks/torch_worker.py` with our weights; prints how far its reconstruction is from ours."""
    params, images, noise = example(config)
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, images=images, noise=noise, **flatten(params))
        file.flush()
        settings |= {"peer": str(options.torch_peer), "data": file.name, "steps": options.steps, "clock": options.clock}
        worker = Worker(name, [options.torch_python, str(FOLDER / "torch_worker.py"), json.dumps(settings)])
    reconstruction = our_output(config, params, images, noise).reconstruction
    error = relative(np.float32(worker.first["reconstruction"]).reshape(reconstruction.shape), reconstruction)
    version = worker.first["version"]
    print(f"largest difference, {name} - slotjax: reconstruction {error:.1e} (torch {version})", flush=True)
    return worker


def torch_peers(config, options: argparse.Namespace) -> list[Worker]:
    """The PyTorch rows; none, and a line that says so, where they cannot be had."""
    if not options.torch_peer:
        print("no PyTorch rows: name the peer by --torch-peer")
        return []
    probe = subprocess.run([options.torch_python, "-c", "import torch"], capture_output=True, check=False)
    if probe.returncode:
        print(f"no PyTorch rows: {options.torch_python} has no torch; name one that has by --torch-python")
        return []
    if jax.default_backend() == "cpu":
        on_cpu = {"device": "cpu", "bf16": options.dtype == "bfloat16"}
        return [
            torch_peer("PyTorch eager", config, options, **on_cpu),
            torch_peer("PyTorch compiled", config, options, **on_cpu, compile=True),
        ]
    compiled = {"device": "cuda", "bf16": True, "channels_last": True, "compile": True}
    return [
        torch_peer("PyTorch compiled, bfloat16, channels last", config, options, **compiled),
        torch_peer("PyTorch eager, TF32", config, options, device="cuda", tf32=True),
    ]
