"""A plain PyTorch model with the weights of ours, in an interpreter that has torch, for `benchmarks/step.py`."""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import slotjax
from slotjax.errors import UserError

FOLDER = Path(__file__).parent


def pictures(config) -> np.ndarray:
    shape = (config.train.batch_size, *config.model.resolution, 3)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def example(config):
    """slotjax's initial parameters, pictures, and the noise that slots start from."""
    model, images = slotjax.build_model(config.model), pictures(config)
    params = jax.jit(slotjax.init, static_argnums=0)(model, jax.random.key(0), images)
    noise = np.random.default_rng(1).normal(size=(len(images), config.model.num_slots, config.model.slot_dim))
    return params, images, noise.astype(np.float32)


def our_reconstruction(config, params, images, noise) -> jax.Array:
    start = params["attention"]["initializer"]
    slots = start["mu"] + jnp.exp(start["log_sigma"]) * noise
    return slotjax.apply(slotjax.build_model(config.model), params, images, initial_slots=slots).reconstruction


def relative(ours, theirs) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


class TorchPeer:
    """`benchmarks/torch_worker.py` in an interpreter that has torch; it steps when told to."""

    def __init__(self, name: str, config, options: argparse.Namespace, **settings):
        self.name = name
        params, images, noise = example(config)
        weights = {"/".join(p.key for p in path): x for path, x in jax.tree_util.tree_leaves_with_path(params)}
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, images=images, noise=noise, **weights)
            file.flush()
            settings |= {"peer": str(options.torch_peer), "data": file.name, "steps": options.steps}
            command = [
                options.torch_python,
                str(FOLDER / "torch_worker.py"),
                json.dumps(settings | {"clock": options.clock}),
            ]
            try:
                pipe = subprocess.PIPE
                self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            except OSError as error:
                raise UserError(
                    f"--torch-python={options.torch_python}: {error.strerror}; take a Python with torch"
                ) from None
            first = self._read()
        reconstruction = our_reconstruction(config, params, images, noise)
        error = relative(np.float32(first["reconstruction"]).reshape(reconstruction.shape), reconstruction)
        print(
            f"largest difference, {name} - slotjax: reconstruction {error:.1e} (torch {first['version']})", flush=True
        )

    def seconds(self) -> float:
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            last = (self.process.stderr.read().strip().splitlines() or ["it ended without a word"])[-1]
            raise UserError(f"--torch-python={self.process.args[0]}: {self.name} failed: {last}")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()


def torch_peers(config, options: argparse.Namespace) -> list[TorchPeer]:
    """The PyTorch rows; none, and a line that says so, where they cannot be had."""
    if not options.torch_peer:
        print("no PyTorch rows: name the peer by --torch-peer")
        return []
    probe = subprocess.run([options.torch_python, "-c", "import torch"], capture_output=True, check=False)
    if probe.returncode:
        print(f"no PyTorch rows: {options.torch_python} has no torch; name one that has by --torch-python")
        return []
    if jax.default_backend() == "cpu":
        return [TorchPeer("PyTorch eager", config, options, device="cpu", bf16=options.dtype == "bfloat16")]
    compiled = {"device": "cuda", "bf16": True, "channels_last": True, "compile": True}
    return [
        TorchPeer("PyTorch compiled, bfloat16, channels last", config, options, **compiled),
        TorchPeer("PyTorch eager, TF32", config, options, device="cuda", tf32=True),
    ]
