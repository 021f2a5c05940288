"""Outputs recorded from the original TF2 program, and how far slotjax is from them."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np


def weights(recording: Mapping[str, np.ndarray], kind: str = "weight", sampled: str | None = None) -> dict:
    """The entries `kind/NAME`, or where the recording holds only a sample of a large tensor `sampled/NAME`, by NAME."""
    prefixes = [f"{prefix}/" for prefix in (kind, sampled) if prefix]
    return {name.removeprefix(p): array for p in prefixes for name, array in recording.items() if name.startswith(p)}


def network_input(image_u8: np.ndarray) -> jnp.ndarray:
    """Bytes to [-1, 1], in the original's order of operations."""
    return jnp.asarray((image_u8.astype(np.float32) / 255 - 0.5) * 2)


def initial_slots(params: dict, noise: np.ndarray) -> jnp.ndarray:
    """Slots from the recorded standard normal draw."""
    start = params["attention"]["initializer"]
    return start["mu"] + jnp.exp(start["log_sigma"]) * noise


def relative_error(ours, recorded) -> float:
    """The largest error over the tensor's largest value."""
    ours, recorded = np.asarray(ours, np.float64), np.asarray(recorded, np.float64)
    assert ours.shape == recorded.shape, (ours.shape, recorded.shape)
    return float(np.abs(ours - recorded).max() / np.abs(recorded).max())


def picture_errors(ours, recording: Mapping[str, np.ndarray], name: str, axis: int) -> dict[str, float]:
    """Errors of a tensor of which samples were recorded, over the picture's axes `axis` and `axis + 1`."""
    x = np.moveaxis(np.asarray(ours, np.float64), (axis, axis + 1), (0, 1))
    samples = {
        "grid0": np.moveaxis(x[::8, ::8], (0, 1), (axis, axis + 1)),
        "grid1": np.moveaxis(x[5::8, 3::8], (0, 1), (axis, axis + 1)),
        "last_row": np.moveaxis(x[127, ::4], 0, axis),
        "last_col": np.moveaxis(x[::4, 127], 0, axis),
        "sum": x.sum((0, 1)),
        "sumsq": (x**2).sum((0, 1)),
    }
    return {
        f"{name}/{kind}": relative_error(sample, recording[f"{name}/{kind}"])
        for kind, sample in samples.items()
        if f"{name}/{kind}" in recording
    }
