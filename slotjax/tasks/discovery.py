"""Object discovery: reconstruct the image, and find the objects on the way (Locatello et al., 2020, sec. 3.1)."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from slotjax import metrics
from slotjax.api import masks_at, responsibilities
from slotjax.drawing import slots as draw
from slotjax.drawing import strips
from slotjax.errors import UserError
from slotjax.losses.reconstruction import mse
from slotjax.models import Model, Output, build_model
from slotjax.tasks.base import Batch, Condition, Figures, Summary, answer, jitted_answer


def frame_fg_ari(truth: jax.Array, found: jax.Array, *, num_true: int, num_pred: int) -> jax.Array:
    """FG-ARI of each frame on its own, the mean over those of a video in which there is an object: [b]."""
    numbers = {"num_true": num_true, "num_pred": num_pred, "ignore_background": True}
    scored = (truth > 0).any((2, 3)).astype(jnp.float32)
    total = (scored * metrics.frame_adjusted_rand_index(truth, found, **numbers)).sum(1)
    return total / jnp.maximum(scored.sum(1), 1)


LOSSES = {"mse": 1.0}
TARGETS = ()
HEADLINES = ("posterior_fg_ari", "posterior_ari", "posterior_miou", "fg_ari", "mse")
BASELINES = ("kmeans", "soft_kmeans")
NEXT = ("evaluate --workdir {workdir}", "segment --workdir {workdir} {example}...")
METRICS = {  # of segments: a title, (truth, found, num_true=, num_pred=) -> [b], and whether it is of objects alone
    "fg_ari": ("FG-ARI", partial(metrics.adjusted_rand_index, ignore_background=True), True),
    "ari": ("ARI", partial(metrics.adjusted_rand_index, ignore_background=False), False),
    "miou": ("foreground mIoU", metrics.mean_iou, True),
    "mbo": ("mBO", metrics.mean_best_overlap, True),
}
OF_VIDEOS = {  # likewise, but of videos alone; the others judge a video as one picture
    "frame_fg_ari": ("FG-ARI of single frames", frame_fg_ari, True),
    "switches": ("identity switches", metrics.identity_switches, True),
}
OF_CLASSES = {"mbo_class": "mBO of classes", "corloc": "CorLoc"}  # where the truth has classes, as of photographs
MOST_CLASSES = 256  # background among them
SEGMENTED = METRICS | OF_VIDEOS
_TITLED = {name: title for name, (title, *_) in SEGMENTED.items()} | OF_CLASSES
POSTERIOR = {f"posterior_{name}": f"{title} of the responsibilities" for name, title in _TITLED.items()}
MASKS = {name: f"{title} of the masks" for name, title in _TITLED.items()}
ATTENTION = {f"attention_{name}": f"{title} of attention" for name, title in _TITLED.items()}
TITLES = POSTERIOR | MASKS | {"mse": "MSE", "flow_error": "end-point error of flow, in pixels"} | ATTENTION
SEGMENTATION = (*(f"posterior_{name}" for name in METRICS), *METRICS)  # of pictures and videos alike
# Need no truth: do slots share the work, and do masks decide.
HEALTH = ("slot_largest", "slot_distance", "slots_used", "slots_drawn", "mask_entropy")
LEAST_SHARE = 0.01  # of the pixels, that a slot in use wins
SUSPICIOUS = (0.8, 0.4)  # FG-ARI above and mIoU below these: objects found, but not their outlines
COLLAPSED = (0.98, 0.1)  # one slot's share of the pixels above, or the slots' distance below: see `collapse`


def check(config: ConfigDict, example: Mapping[str, Any]) -> None:
    """Refuses data without the cues or the targets that the model learns from, or with cues for too many slots.

    Else any pictures and videos will do, but where slots start anew in videos, or are compared from frame to frame.
    """
    if config.model.name == "video":
        _check_frames(config, {len(example["image"]), config.data.num_frames or len(example["image"])})
    where, slots = f"data.name={config.data.name!r}", config.model.num_slots
    needed = build_model(config.model).learns_from
    if missing := [name for name in needed if name not in example]:
        raise UserError(f"{where}: has no {' and '.join(missing)}, which model.targets or model.initializer ask for")
    most = example["boxes"].shape[-2] if "boxes" in needed else 0
    if most > slots:
        raise UserError(
            f"model.num_slots={slots}: slots start from the boxes of up to {most} objects; set model.num_slots="
            f"{most + 1}, one of them for the background, or a lower max_objects"
        )


def _check_frames(config: ConfigDict, lengths: set[int]) -> None:
    """Refuses videos of these numbers of frames where they cannot be parted as asked, or have no two to compare."""
    restart = config.model.get("restart", 0)
    for frames in sorted(lengths):
        if 0 < restart < frames and frames % restart:
            raise UserError(
                f"model.restart={restart}: must divide data.num_frames and data.eval_frames, of which one is {frames}"
            )
        for name in ("contrast", "steady"):
            if frames == 1 and config.train.losses.get(name):
                raise UserError(f"train.losses.{name}: compares frames, and data.num_frames=1; set it to 0")


def scores(
    model: Model, params: Any, batch: Batch, keys: jax.Array, num_true: int | None, **options: Any
) -> dict[str, jax.Array]:
    """Figures for each image, [b]: `mse`, and where the truth is known how segments agree with it.

    `fg_ari`, `ari`, `miou` and `mbo` are of the argmax of the decoder's masks, as in the paper; `posterior_fg_ari` and
    so on of the argmax of the responsibilities (`slotjax.responsibilities`), `attention_fg_ari` and so on of the last
    iteration's attention. An image without an object in view has only an ARI, the others are NaN. `slot_largest` is the
    share of the pixels that the largest slot wins, `slots_used` how many slots win a hundredth of them, `slots_drawn`
    how many the model's selection draws, `slot_distance` how far the slots are from their mean, relative to their size
    (root mean squares): 0 where all are alike; `mask_entropy` how undecided the masks are. Where the truth has classes,
    `mbo_class` and `corloc` of each kind of segments are added.

    A video is judged as one picture, so that a slot that changes its object is punished; besides there are
    `frame_fg_ari` of its frames each on its own, `switches`, how often an object's slot changes, and where flow is
    drawn `flow_error`, by how many pixels it is off.
    """
    out = answer(model, params, batch, keys, **options)
    slots, masks, attention, target = out.need("slots", "masks", "attention", "target")
    figures = {"mse": jnp.mean(mse(out).reshape(len(target), -1), 1)}
    won = shares_won(masks)
    figures |= {"slot_largest": won.max(1), "slot_distance": relative_distance(slots)}
    figures["slots_used"] = (won >= LEAST_SHARE).sum(1).astype(jnp.float32)
    if out.kept is not None:
        figures["slots_drawn"] = slots_drawn(masks)
    figures["mask_entropy"] = metrics.mask_entropy(masks)
    errors = [metrics.end_point_error(flow, batch[name]) for name, flow in model.flows(out).items() if name in batch]
    if errors:
        figures["flow_error"] = jnp.stack(errors).mean(0)
    if "segments" in batch and num_true is not None:
        truth, num_slots = batch["segments"], masks.shape[-3]
        # Features are of fewer rows and columns, and of other targets than pictures it is they that slots explain.
        seen = target if target.shape[:-1] == batch["image"].shape[:-1] else batch["image"]
        found = {
            "": masks_at(out, truth.shape[-2:]).argmax(-3),
            "posterior_": responsibilities(out, seen).argmax(-3),
            "attention_": attention_segments(attention, model.token_grid, truth.shape[-2:]),
        }
        # All kinds in one: the matching takes seconds to compile.
        each = jax.vmap(lambda segments: segmentation_scores(truth, segments, num_true, num_slots))
        of_kinds = each(jnp.stack(list(found.values())))
        figures |= {f"{kind}{name}": x[i] for name, x in of_kinds.items() for i, kind in enumerate(found)}
        if "classes" in batch:
            for kind, segments in found.items():
                some = class_scores(truth, batch["classes"], segments, num_true, num_slots)
                figures |= {f"{kind}{name}": values for name, values in some.items()}
    return figures


def class_scores(
    truth: jax.Array, classes: jax.Array, predicted: jax.Array, num_true: int, num_pred: int
) -> dict[str, jax.Array]:
    """Each of `OF_CLASSES` [b] of predicted ids [b, h, w]; NaN where no object is in view."""
    figures = {
        "mbo_class": metrics.mean_best_overlap(classes, predicted, num_true=MOST_CLASSES, num_pred=num_pred),
        "corloc": metrics.correct_localisation(truth, predicted, num_true=num_true, num_pred=num_pred),
    }
    return {name: jnp.where((truth > 0).any((1, 2)), values, jnp.nan) for name, values in figures.items()}


def slots_drawn(masks: jax.Array) -> jax.Array:
    """Masks [b, (t,) k, h, w] -> how many slots have one anywhere, [b]: of a video's frames the mean."""
    drawn = (masks > 0).any((-2, -1)).sum(-1).astype(jnp.float32)
    return drawn.reshape(len(masks), -1).mean(1)


def shares_won(masks: jax.Array) -> jax.Array:
    """The share of the pixels that each slot wins: [b, k, h, w], or [b, t, k, h, w] of videos, -> [b, k]."""
    wins = jax.nn.one_hot(masks.argmax(-3), masks.shape[-3])
    return wins.reshape(len(masks), -1, masks.shape[-3]).mean(1)


def relative_distance(slots: jax.Array) -> jax.Array:
    """How far slots are from their mean, over how long they are: [b, k, d], or [b, t, k, d] of videos, -> [b]."""
    apart = slots - slots.mean(-2, keepdims=True)
    axes = tuple(range(1, slots.ndim))
    return jnp.sqrt((apart**2).mean(axes) / (slots**2).mean(axes))


def attention_segments(attention: jax.Array, grid: tuple[int, int], resolution: tuple[int, int]) -> jax.Array:
    """The slot that wins each pixel's token: [*b, k, n], of a grid of tokens, -> int32 [*b, h, w]."""
    winners = attention.argmax(-2).reshape(*attention.shape[:-2], *grid)
    for axis, (tokens, pixels) in zip((-2, -1), zip(grid, resolution, strict=True), strict=True):
        winners = winners.repeat(-(-pixels // tokens), axis)
    return winners[..., : resolution[0], : resolution[1]]


def segmentation_scores(truth: jax.Array, predicted: jax.Array, num_true: int, num_pred: int) -> dict[str, jax.Array]:
    """Each of `METRICS` [b] of predicted ids [b, h, w], and of [b, t, h, w] of videos those of `OF_VIDEOS` too.

    NaN for those of objects where there is none in view.
    """
    objects = (truth > 0).any(range(1, truth.ndim))
    figures = {}
    for name, (_, metric, of_objects) in (SEGMENTED if truth.ndim == 4 else METRICS).items():
        values = metric(truth, predicted, num_true=num_true, num_pred=num_pred)
        figures[name] = jnp.where(objects, values, jnp.nan) if of_objects else values
    return figures


def summary(figures: Figures) -> Summary:
    """Means over the images that have the figure; None for what no image has. `num_images` counts all of them.

    Figures of attention and of the slots' health are left out where there is none.
    """
    means: Summary = {}
    for name in [name for name in (*TITLES, *HEALTH) if name in figures or name in (*SEGMENTATION, "mse")]:
        values = np.asarray(figures.get(name, []), np.float64)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else None
    means["num_images"] = len(figures["mse"])
    scored = figures.get("fg_ari")
    means["num_with_objects"] = 0 if scored is None else int((~np.isnan(scored)).sum())
    return means


def found(summary: Mapping[str, Any], name: str) -> float | None:
    """A figure of the responsibilities' segments; of other methods' segments where there are no responsibilities."""
    of_responsibilities = summary.get(f"posterior_{name}")
    return summary.get(name) if of_responsibilities is None else of_responsibilities


def suspicion(summary: Mapping[str, Any]) -> str | None:
    """What to say when slots do not share the work, or FG-ARI looks better than the segmentation is; else None."""
    if collapsed := collapse(summary):
        return collapsed
    high, low = SUSPICIOUS
    fg_ari, miou = found(summary, "fg_ari"), found(summary, "miou")
    if fg_ari is None or miou is None or fg_ari <= high or miou >= low:
        return None
    return (
        f"FG-ARI {fg_ari:.2f} with mIoU {miou:.2f}: objects are told apart, but "
        "their segments take in the background (stripes or blocks score like this); look at the pictures"
    )


def collapse(summary: Mapping[str, Any]) -> str | None:
    """What to say when one slot takes everything, or all slots are the same; else None."""
    share, distance = COLLAPSED
    if summary.get("slot_largest", 0) > share:
        return f"one slot takes {summary['slot_largest']:.0%} of the pixels: the slots do not share the picture"
    if summary.get("slot_distance", 1) < distance:
        return (
            f"all slots are alike (they differ by {summary['slot_distance']:.0%} of their size): each draws everything"
        )
    return None


def is_better(candidate: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    """Higher `quality`; without masks, lower MSE."""
    if best is None:
        return True
    ours, theirs = quality(candidate), quality(best)
    if ours is not None and theirs is not None:
        return ours > theirs
    return candidate["mse"] < best["mse"]


def quality(figures: Mapping[str, Any]) -> float | None:
    """The mean of the responsibilities' FG-ARI and foreground mIoU; None where the truth is not known.

    FG-ARI leaves the background out, so it is often highest early, while slots share the picture in stripes or blocks
    with an object in each; mIoU also asks for the objects' outlines. ARI would ask for one slot for the background,
    which the method does not promise.
    """
    fg_ari, miou = found(figures, "fg_ari"), found(figures, "miou")
    return None if fg_ari is None or miou is None else (fg_ari + miou) / 2


def conditions(config: ConfigDict) -> list[Condition]:
    """None: `slotjax.evaluate` takes other numbers of slots and iterations one by one."""
    return []


def table(result: Mapping[str, Any], further: Mapping[str, Mapping[str, Any]], noun: str = "image") -> str:
    """One figure a line; those of responsibilities and attention only where there are any."""
    lines = []
    for name, title in TITLES.items():
        value = result.get(name)
        if value is not None:
            lines.append(f"  {title:48} {value:.4f}")
        elif name in ("fg_ari", "ari", "miou", "mse"):
            lines.append(f"  {title:48} {'-' if name == 'mse' else 'no masks'}")
    lines.append(
        f"  {f'{noun}s':48} {result['num_images']}, of which {result['num_with_objects']} have objects in view"
    )
    return "\n".join(lines)


def pictures(model: Model, params: Any, batch: Batch, keys: jax.Array) -> np.ndarray:
    """A row for each image: input, reconstruction, true and found segments, and every slot on its own; of videos rows
    of frames."""
    out = jitted_answer(model, params, batch, keys)
    out = dataclasses.replace(out, reconstruction=model.colours(out.need("reconstruction")[0]))
    sheet = strips.sheet if batch["image"].ndim == 5 else draw.sheet
    return sheet(batch["image"], out, batch.get("segments"))


def panels(batch: Batch, out: Output) -> dict[str, np.ndarray]:
    """None: what was found is what the slots draw."""
    return {}
