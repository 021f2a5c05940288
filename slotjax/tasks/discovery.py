"""Object discovery: reconstruct the image, and find the objects on the way (Locatello et al., 2020, sec. 3.1)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from slotjax import metrics
from slotjax import pictures as draw
from slotjax.api import apply
from slotjax.losses import reconstruction_loss
from slotjax.tasks.study import Study

Batch = Mapping[str, Any]

FIELDS = ("image",)
NEXT = ("slotjax.evaluate --workdir {workdir}", "slotjax.segment --workdir {workdir} IMAGE...")
NAMES = {"fg_ari": "FG-ARI", "ari": "ARI", "miou": "foreground mIoU", "mse": "MSE"}
SUSPICIOUS = (0.8, 0.4)  # FG-ARI above and mIoU below these: objects found, but not their outlines


def check(config: ConfigDict, example: Mapping[str, Any]) -> None:
    """Any pictures will do."""


def loss(model: nn.Module, params: Any, batch: Batch, keys: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error of the reconstruction, over everything."""
    out = apply(model, params, batch["image"], keys)
    value = reconstruction_loss(out.reconstruction, batch["image"]).mean()
    return value, {"loss": value}


def scores(
    model: nn.Module, params: Any, batch: Batch, keys: jax.Array, num_true: int | None, **options: Any
) -> dict[str, jax.Array]:
    """Figures for each image, [b]: `mse`, and where the truth is known `fg_ari`, `ari`, `miou`.

    The segmentation is the argmax of the decoder's masks, as in the paper. An image without an object in view has no
    `fg_ari` and no `miou`: NaN.
    """
    out = apply(model, params, batch["image"], keys, **options)
    figures = {"mse": reconstruction_loss(out.reconstruction, batch["image"])}
    if "segments" in batch and num_true is not None:
        figures |= segmentation_scores(batch["segments"], out.masks.argmax(1), num_true, out.masks.shape[1])
    return figures


def segmentation_scores(truth: jax.Array, predicted: jax.Array, num_true: int, num_pred: int) -> dict[str, jax.Array]:
    """`fg_ari`, `ari`, `miou` [b] of predicted ids [b, h, w]; NaN for the foreground's where there is none."""
    sizes = {"num_true": num_true, "num_pred": num_pred}
    foreground = (truth > 0).any((1, 2))
    fg_ari = metrics.adjusted_rand_index(truth, predicted, **sizes, ignore_background=True)
    return {
        "fg_ari": jnp.where(foreground, fg_ari, jnp.nan),
        "ari": metrics.adjusted_rand_index(truth, predicted, **sizes, ignore_background=False),
        "miou": jnp.where(foreground, metrics.mean_iou(truth, predicted, **sizes), jnp.nan),
    }


def summary(figures: Mapping[str, np.ndarray]) -> dict[str, float | int | None]:
    """Means over the images that have the figure; None for what no image has. `num_images` counts all of them."""
    means: dict[str, float | int | None] = {}
    for name in ("fg_ari", "ari", "miou", "mse"):
        values = np.asarray(figures.get(name, []), np.float64)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else None
    means["num_images"] = len(figures["mse"])
    scored = figures.get("fg_ari")
    means["num_with_objects"] = 0 if scored is None else int((~np.isnan(scored)).sum())
    return means


def is_better(candidate: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    """Higher FG-ARI; without masks, lower MSE."""
    if best is None:
        return True
    if candidate["fg_ari"] is not None and best["fg_ari"] is not None:
        return candidate["fg_ari"] > best["fg_ari"]
    return candidate["mse"] < best["mse"]


def studies(config: ConfigDict) -> list[Study]:
    """None: `slotjax.evaluate` takes other numbers of slots and iterations one by one."""
    return []


def table(result: Mapping[str, Any], further: Mapping[str, Mapping[str, Any]]) -> str:
    """One figure a line, and a warning where FG-ARI looks better than the segmentation is."""
    lines = []
    for name, value in result.items():
        if not isinstance(value, int):
            shown = "no masks" if value is None and name != "mse" else "-" if value is None else f"{value:.4f}"
            lines.append(f"  {NAMES.get(name, name):16} {shown}")
    lines.append(f"  {'images':16} {result['num_images']}, of which {result['num_with_objects']} have objects in view")
    high, low = SUSPICIOUS
    if (result.get("fg_ari") or 0) > high and result["miou"] < low:
        lines.append(
            f"warning: FG-ARI {result['fg_ari']:.2f} with mIoU {result['miou']:.2f}: objects are told apart, but "
            "their masks take in the background (stripes or blocks score like this); look at the pictures"
        )
    return "\n".join(lines)


def pictures(model: nn.Module, params: Any, batch: Batch, keys: jax.Array) -> np.ndarray:
    """A row for each image: input, reconstruction, true and found segments, and every slot on its own."""
    out = _jitted_apply(model, params, batch["image"], keys)
    return draw.contact_sheet(batch["image"], out, batch.get("segments"))


_jitted_apply = jax.jit(apply, static_argnums=0)
