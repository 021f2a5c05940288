"""python -m slotjax.evaluate --workdir DIR: scores a trained model on its held-out images."""

import argparse
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax import cli, configuration
from slotjax.errors import UserError
from slotjax.tasks import TASKS, discovery
from slotjax.training.evaluation import Figures, build_clustering_score, build_score, collect
from slotjax.training.feed import open_feed

METHODS = ("slots", "kmeans", "soft_kmeans")


def main() -> None:
    arguments = parse()
    workdir = Path(arguments.workdir)
    config = configuration.load(workdir / "config.json")
    change(config, arguments)
    configuration.validate(config)
    feed = open_feed(config)
    if arguments.method == "slots":
        figures, step = score_slots(config, workdir, feed, arguments)
    else:
        figures, step = score_clustering(config, feed, arguments), None
    summary = TASKS[config.model.name].summary(figures)
    print_table(summary)
    if suspicion := discovery.suspicion(summary):
        print(f"warning: {suspicion}")
    if arguments.method == "slots":
        path = arguments.output or workdir / "evaluation.json"
        save({**summary, "step": step, "data": config.data.to_dict()}, Path(path))
        print(f"wrote {path}")
        print(f"next: python -m slotjax.segment --workdir {workdir} IMAGE...")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="of a training run")
    parser.add_argument("--method", choices=METHODS, default="slots", help="the trained model, or clustering of pixels")
    parser.add_argument(
        "--position-weight", type=float, default=0.0, help="clustering: how much place counts beside colour"
    )
    parser.add_argument("--num-slots", type=int, help="another number than in training")
    parser.add_argument("--num-iterations", type=int, help="another number than in training")
    parser.add_argument("--images", type=int, help="how many held-out images; as in the config by default")
    parser.add_argument("--data", help="other images: the name of a scene family or a stored data set")
    parser.add_argument("--data-path", help="other images: their file or folder")
    parser.add_argument("--output", help="where to write the figures; DIR/evaluation.json by default")
    return parser.parse_args()


def change(config: ConfigDict, arguments: argparse.Namespace) -> None:
    """Points the config at what the command line asks for."""
    if arguments.data and arguments.data != config.data.name:
        config.data.update(name=arguments.data, path="")
        config.data.options = ConfigDict()
    if arguments.data_path:
        config.data.path = arguments.data_path
    if arguments.images:
        config.data.eval_images = arguments.images


def score_slots(config: ConfigDict, workdir: Path, feed: Any, arguments: argparse.Namespace) -> tuple[Figures, int]:
    """The figures of the best checkpoint, and its step."""
    from slotjax.training.run import restore_state

    options = {name: getattr(arguments, name) for name in ("num_slots", "num_iterations") if getattr(arguments, name)}
    model, state = restore_state(config, workdir, best=True)
    score = build_score(config, model, feed.num_true, **options)
    print(f"{workdir} at step {int(state.step)} on {config.data.eval_images} held-out images of {config.data.name}")
    return collect(score, state.best_params, feed.eval_batches()), int(state.step)


def score_clustering(config: ConfigDict, feed: Any, arguments: argparse.Namespace) -> Figures:
    """The figures of k-means on the pixels, with as many clusters as the model has slots."""
    if feed.num_true is None:
        raise UserError(f"data.name={config.data.name!r}: has no masks to score {arguments.method} against")
    clusters = arguments.num_slots or config.model.num_slots
    where = "colour and position" if arguments.position_weight else "colour"
    print(f"{arguments.method} on {where}, {clusters} clusters, {config.data.eval_images} images of {config.data.name}")
    score = build_clustering_score(arguments.method, clusters, feed.num_true, arguments.position_weight)
    return collect(score, None, feed.eval_batches())


def print_table(summary: dict[str, Any]) -> None:
    names = {"fg_ari": "FG-ARI", "ari": "ARI", "miou": "foreground mIoU", "mse": "MSE"}
    for name, value in summary.items():
        if isinstance(value, int):
            continue
        shown = "no masks" if value is None and name != "mse" else "-" if value is None else f"{value:.4f}"
        print(f"  {names.get(name, name):16} {shown}")
    print(f"  {'images':16} {summary['num_images']}, of which {summary['num_with_objects']} have objects in view")


def save(figures: dict[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".partial")
    try:
        temporary.write_text(json.dumps(figures, indent=2) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another --output") from None


if __name__ == "__main__":
    cli.run(main)
