"""python -m slotjax.segment --workdir DIR IMAGE... or --weights NAME IMAGE...: splits your own pictures into slots."""

import argparse
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slotjax import cli
from slotjax.api import apply
from slotjax.drawing import slots as pictures
from slotjax.errors import UserError
from slotjax.models import ObjectDiscovery
from slotjax.tasks import TASKS
from slotjax.training.metrics_log import read_metrics
from slotjax.training.restore import load
from slotjax.weights import find, packaged_names
from slotjax.weights import read as read_weights

ZOOM_TO, SLOT_SIZE = 256, 160  # small results are enlarged to about so many pixels, so that they can be looked at
UNLIKE = 4  # times the usual error; of pictures of the training's kind, 19 of 20 stay below 3 (tetrominoes: 5)


def main() -> None:
    arguments = parse()
    if arguments.num_slots is not None and arguments.num_slots < 1:
        raise UserError(f"--num-slots {arguments.num_slots}: must be at least 1")
    if arguments.list:
        print(listing())
        return
    flag, source, folder = trained(arguments)
    model, params = load(source)
    if not isinstance(model, ObjectDiscovery):
        raise UserError(f"{flag}: its model draws no masks; give one of object discovery")
    images = [read(Path(path), model.resolution) for path in arguments.images]
    names = stems([Path(path) for path in arguments.images])
    folder = Path(arguments.output or folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error.strerror}); name another folder") from None
    usual = usual_error(Path(source))
    run = jax.jit(apply, static_argnames=("model", "num_slots", "num_iterations"))
    for name, image in zip(names, images, strict=True):
        key = jax.random.key(arguments.seed)
        out = run(
            model, params, image[None], key, num_slots=arguments.num_slots, num_iterations=arguments.num_iterations
        )
        write(image, out, folder / name)
        used = len(np.unique(np.asarray(out.masks[0]).argmax(0)))
        print(
            f"wrote {folder / name}_segments.png and {name}_slots.png: {used} of {out.masks.shape[1]} slots win pixels"
        )
        times = float(np.mean((np.asarray(out.reconstruction[0]) - image) ** 2)) / usual
        if times > UNLIKE:
            print(
                f"note: {name} is redrawn with {times:.0f} times the usual error: it is unlike the pictures that the "
                "model was trained on, and what was found may mean little"
            )
    print("in *_slots.png, from the left: the picture, its reconstruction, what was found, then every slot on its own")


def usual_error(source: Path) -> float:
    """The mean squared error on held-out pictures, as training or `slotjax.evaluate` found it; infinity if unknown."""
    if source.is_dir():
        found = [row["mse"] for row in read_metrics(source / "metrics.jsonl") if "mse" in row]
    else:
        scored = read_weights(source)[0].get("evaluation")
        found = [scored.get("mse")] if isinstance(scored, dict) else []
    known = [x for x in found if isinstance(x, int | float) and x > 0]
    return known[-1] if known else math.inf


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", metavar="DIR", help="of a training run")
    parser.add_argument("--weights", metavar="NAME", help="that come with the library, or a .npz file of slotjax.pack")
    parser.add_argument("--list", action="store_true", help="says which weights come with the library")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="PNG, JPEG, ... of any size")
    parser.add_argument("--output", help="folder for the results; DIR/segments, or ./segments with --weights")
    parser.add_argument("--num-slots", type=int, help="another number than in training")
    parser.add_argument("--num-iterations", type=int, help="another number than in training")
    parser.add_argument("--seed", type=int, default=0, help="of the slots' draw")
    return parser.parse_args()


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
    titles = {name: x for name, x in TASKS[model["name"]].TITLES.items() if not name.startswith("attention_")}
    figures = [f"{title} {scored[name]:.3f}" for name, title in titles.items() if scored.get(name) is not None]
    told = f"{', '.join(figures)} ({scored['num_images']} held-out images)" if figures else "not evaluated"
    return f"{model['name']} on {data}, {width}x{height}, {model['num_slots']} slots: {told}"


def trained(arguments: argparse.Namespace) -> tuple[str, Path | str, Path]:
    """The flag that names the model, for messages; what `load` takes; and where results go by default."""
    workdir, weights = arguments.workdir, arguments.weights
    if (workdir is None) == (weights is None):
        raise UserError(
            "--workdir and --weights: give one of the two, the directory of a training run or trained weights; "
            f"there are {', '.join(packaged_names()) or 'none'}, and .npz files of slotjax.pack"
        )
    if not arguments.images:
        raise UserError("IMAGE is missing: name the pictures to split")
    if workdir is not None:
        return f"--workdir {workdir}", workdir, Path(workdir) / "segments"
    return f"--weights {weights}", find(weights), Path("segments")


def read(path: Path, resolution: tuple[int, int]) -> np.ndarray:
    """The picture as the model takes it; says how it was converted."""
    from slotjax.data.pictures import load_picture

    image, note = load_picture(path, resolution)
    if note:
        print(f"{path}: {note}")
    return image


def stems(paths: list[Path]) -> list[str]:
    """A name for each result; pictures of the same name in different folders are numbered."""
    seen: dict[str, int] = {}
    names = []
    for path in paths:
        count = seen[path.stem] = seen.get(path.stem, 0) + 1
        names.append(path.stem if count == 1 else f"{path.stem}_{count}")
    return names


def write(image: np.ndarray, out: Any, path: Path) -> None:
    """`PATH_segments.png`, the picture tinted by slot, and `PATH_slots.png`, every slot on its own."""
    zoom = max(1, ZOOM_TO // image.shape[0])
    segments = np.asarray(out.masks[0]).argmax(0)
    tinted = pictures.overlay(image.repeat(zoom, 0).repeat(zoom, 1), segments.repeat(zoom, 0).repeat(zoom, 1))
    pictures.save(tinted, path.with_name(f"{path.name}_segments.png"))
    pictures.save(pictures.contact_sheet(image[None], out, size=SLOT_SIZE), path.with_name(f"{path.name}_slots.png"))


if __name__ == "__main__":
    cli.run(main)
