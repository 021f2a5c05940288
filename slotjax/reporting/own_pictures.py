"""People's own pictures split into slots, at their own size."""

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from slotjax.api import SIGMA, evidence, jitted_apply, responsibilities
from slotjax.data.pictures import as_input, kept_box, read_rgb
from slotjax.data.stored.pairing import ENDINGS
from slotjax.drawing import slots as draw
from slotjax.errors import UserError
from slotjax.models import ObjectDiscovery, Output, VideoDiscovery
from slotjax.system import writing
from slotjax.system.console import number as counted
from slotjax.tasks import TASKS
from slotjax.training.metrics_log import read_metrics
from slotjax.training.restore import load_run
from slotjax.weights import find, load, packaged_names
from slotjax.weights import read as read_weights

ZOOM_TO, PANEL = 256, 160  # small results are enlarged to about so many pixels, so that they can be looked at
AT_ONCE = 2**22  # pixels times slots; large pictures are worked on in bands
UNLIKE = 4  # times the usual error; of pictures of the training's kind, 19 of 20 stay below 3 (tetrominoes: 5)


@dataclass(frozen=True)
class Options:
    """What `python -m slotjax.segment --help` describes."""

    num_slots: int | None = None
    num_iterations: int | None = None
    seed: int = 0
    sigma: float = SIGMA
    masks: Literal["posterior", "decoder"] = "posterior"
    crop: bool = False
    cutouts: bool = False


@dataclass(frozen=True)
class Trained:
    """A model, its parameters, and the mean squared error that is usual for it (infinity if unknown)."""

    model: nn.Module
    params: Any
    usual_error: float


def open_trained(workdir: Path | None, weights: str | None) -> Trained:
    """The model of a training run, or of weights by their name or file.

    Raises:
      UserError: there are none, or they are for a model that draws no masks.
    """
    source = find(str(weights)) if workdir is None else workdir
    flag = f"--weights {weights}" if workdir is None else f"--workdir {workdir}"
    model, params = load(source) if workdir is None else load_run(source)
    if not isinstance(model, ObjectDiscovery | VideoDiscovery):
        raise UserError(f"{flag}: its model draws no masks; give one of object discovery")
    return Trained(model, params, usual_error(source))


def usual_error(source: Path) -> float:
    """The mean squared error on held-out pictures, as training or `slotjax.evaluate` found it; infinity if unknown.

    Raises:
      UserError: a run's figures are there, but cannot be read.
    """
    if source.is_dir():
        path = source / "metrics.jsonl"
        try:
            found = [row["mse"] for row in read_metrics(path) if "mse" in row and "num_images" in row]
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable, or delete it") from None
    else:
        scored = read_weights(source)[0].get("evaluation")
        found = [scored.get("mse")] if isinstance(scored, dict) else []
    known = [x for x in found if isinstance(x, int | float) and x > 0]
    return known[-1] if known else math.inf


def listing() -> str:
    """The packaged weights, one a line."""
    names = packaged_names()
    width = max(map(len, names), default=0)
    lines = [f"{name:{width}}  {describe(find(name))}" for name in names]
    return "\n".join(lines) or "no weights come with this installation"


def describe(path: Path) -> str:
    """What weights were trained on and how they scored, on one line."""
    config, _ = read_weights(path)
    data, model, scored = config["data"]["name"], config["model"], config.get("evaluation", {})
    height, width = model["resolution"]
    task = TASKS[model["name"]]
    figure, told = task.HEADLINES[0], "not evaluated"
    if scored.get(figure) is not None:
        told = f"{task.TITLES[figure]} {scored[figure]:.3f} ({scored['num_images']} held-out images)"
    return f"{model['name']} on {data}, {width}x{height}, {model['num_slots']} slots: {told}"


def segment(trained: Trained, given: Sequence[Path], folder: Path, options: Options) -> None:
    """Splits pictures, writes what was found into the folder, and says which file became which.

    Raises:
      UserError: a folder that cannot be written; when the others are done, pictures that cannot be read.
    """
    paths, unread = pictures_of(given, folder), []
    height, width = trained.model.resolution
    for path, name in zip(paths, result_names(paths), strict=True):
        try:
            picture, note = read(path, (height, width), options.crop)
        except UserError as error:
            unread.append(error)
            continue
        image = as_input(picture, (height, width), crop=False)
        numbers = {"num_slots": options.num_slots, "num_iterations": options.num_iterations}
        out = jitted_apply(trained.model, trained.params, image[None], jax.random.key(options.seed), **numbers)
        ids, shares = split(out, np.asarray(picture), options)
        num_slots = np.shape(out.masks)[1]
        try:
            written = write(np.asarray(picture), image, out, ids, shares, folder / name, num_slots, options.sigma)
        except OSError as error:
            raise UserError(f"--output {folder}: cannot be written ({error.strerror}); name another folder") from None
        used = len(np.unique(ids))
        print(f"{path}: {note}{used} of {num_slots} slots win pixels; wrote {', '.join(map(str, written))}")
        times = float(np.mean((np.asarray(out.reconstruction) - np.asarray(out.target)) ** 2)) / trained.usual_error
        if times > UNLIKE:
            print(
                f"note: {name} is redrawn with {times:.0f} times the usual error: it is unlike the pictures that the "
                "model was trained on, and what was found may mean little"
            )
    if done := len(paths) - len(unread):
        print(f"{counted(done, 'picture')} split; start with {folder / '*_overlay.png'}")
    check_all_read(unread, len(paths))


def check_all_read(unread: Sequence[UserError], asked: int) -> None:
    """Raises one `UserError` for all files that could not be read, of so many that were asked for."""
    if unread:
        which = f"{len(unread)} of {asked} files left out: " if asked > 1 else ""
        raise UserError(f"{which}{'; '.join(map(str, unread))}")


def pictures_of(given: Sequence[Path], output: Path) -> list[Path]:
    """The pictures that are named, in the folders that are named, and of the patterns; each once.

    Raises:
      UserError: one of them stands for no picture, or holds the folder that results are written to.
    """
    found: dict[Path, Path] = {}
    for path in given:
        if path.is_dir():
            if output.resolve() == path.resolve():
                raise UserError(f"--output {output}: holds the pictures; name another folder for the results")
            inside = sorted(x for x in path.rglob("*") if x.suffix.lower() in ENDINGS and x.is_file())
            hidden = [x for x in inside if any(part.startswith(".") for part in x.relative_to(path).parts)]
            paths = [x for x in inside if x not in hidden and output.resolve() not in x.resolve().parents]
        elif not path.exists() and glob.has_magic(str(path)):
            paths = [Path(x) for x in sorted(glob.glob(str(path), recursive=True)) if Path(x).is_file()]
        else:
            paths = [path]
        if not paths:
            raise UserError(f"{path}: no picture there ({' '.join(ENDINGS)}); name others")
        for one in paths:
            found.setdefault(one.resolve(), one)
    return list(found.values())


def result_names(paths: Sequence[Path]) -> list[str]:
    """A name for each picture's results: its own without the ending, numbered where an earlier one has it."""
    own = {path.stem.casefold() for path in paths}
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while name.casefold() in taken or (number > 1 and name.casefold() in own):
            number += 1
            name = f"{path.stem}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def read(path: Path, resolution: tuple[int, int], crop: bool) -> tuple[Image.Image, str]:
    """The picture at its own size, and what is done to it in words.

    Args:
      crop: keep only the largest part in the middle that has the proportions of `resolution`.
    """
    picture, notes = read_rgb(path)
    height, width = resolution
    if crop:
        left, top, right, bottom = map(round, kept_box(picture.size, (width, height), True))
        if (right - left, bottom - top) != picture.size:
            notes.append(f"cropped from {picture.width}x{picture.height}")
            picture = picture.crop((left, top, right, bottom))
    if picture.size != (width, height):
        notes.append(f"{picture.width}x{picture.height}, seen by the model at {width}x{height}")
    return picture, "".join(f"{note}; " for note in notes)


def split(out: Output, picture: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray | None]:
    """Each pixel's slot, uint8 [h, w]; with cutouts also how much of it is each slot's, uint8 [k, h, w].

    Args:
      out: of one picture, at the model's resolution; picture: uint8 [h, w, 3], of any size.
    """
    height, width = picture.shape[:2]
    only_masks = options.masks == "decoder" or out.target is None  # what it draws is no picture
    sigma = math.inf if only_masks else options.sigma
    logits, components = jnp.asarray(out.mask_logits), jnp.asarray(out.components)
    if not out.draws_pictures:
        components = jnp.zeros((*logits.shape, 3))
        if out.target is not None:  # features: whoever drew a patch is known already
            logits = evidence(out, sigma)
    rows = max(1, min(height, AT_ONCE // (width * logits.shape[1])))
    ids, shares = [], []
    for first in range(0, height, rows):
        first = min(first, height - rows)  # the last band overlaps, so that all are of one size
        band = picture[first : first + rows].astype(np.float32) / 127.5 - 1
        weights = np.asarray(_band(logits, components, band[None], first, height, sigma)[0])
        fresh = weights[:, sum(map(len, ids)) - first :]
        ids.append(fresh.argmax(0).astype(np.uint8))
        if options.cutouts:
            shares.append((fresh * 255 + 0.5).astype(np.uint8))
    return np.concatenate(ids), np.concatenate(shares, 1) if shares else None


@partial(jax.jit, static_argnames=("height",))
def _band(
    logits: jax.Array, components: jax.Array, band: jax.Array, first: jax.Array, height: int, sigma: float
) -> jax.Array:
    """The responsibilities in some rows of a picture that is `height` high: band [1, r, w, 3] -> [1, k, r, w]."""
    rows, width = band.shape[1:3]
    own = logits.shape[2:4]
    scale = jnp.array([height / own[0], width / own[1]])
    shift = jnp.array([-first, 0.0])

    def resized(x: jax.Array) -> jax.Array:
        shape = (*x.shape[:2], rows, width, *x.shape[4:])
        return jax.image.scale_and_translate(x, shape, (2, 3), scale, shift, "linear", antialias=False)

    logs = resized(jax.nn.log_softmax(logits, 1))
    there = Output(masks=jnp.exp(logs), mask_logits=logs, components=resized(components))
    return responsibilities(there, band, sigma=sigma)


def write(
    picture: np.ndarray,
    image: np.ndarray,
    out: Output,
    ids: np.ndarray,
    shares: np.ndarray | None,
    path: Path,
    num_slots: int,
    sigma: float,
) -> list[Path]:
    """The files of one picture, whose names begin with `path`."""
    palette = draw.colours(num_slots)
    zoom = max(1, ZOOM_TO // max(ids.shape))
    drawn = {
        "overlay": draw.overlay(draw.zoomed(picture, zoom), draw.zoomed(ids, zoom), palette),
        "slots": draw.sheet(image[None], out, size=PANEL, sigma=sigma),
    }
    if shares is not None:
        taken = [(picture * (share > 0)[..., None], share[..., None]) for share in shares]
        drawn |= {f"slot_{k}": np.concatenate(both, -1) for k, both in enumerate(taken)}
    files = {name: path.with_name(f"{path.name}_{name}.png") for name in ("segments", *drawn)}
    draw.save(ids, files["segments"], palette)
    with writing.whole(arrays := files["segments"].with_suffix(".npz")) as file:
        np.savez_compressed(file, segments=ids)
    for name, what in drawn.items():
        draw.save(what, files[name])
    return [*files.values(), arrays]
