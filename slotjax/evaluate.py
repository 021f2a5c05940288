"""python -m slotjax.evaluate --workdir DIR: scores a trained model on its held-out images."""

import argparse
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax import cli
from slotjax.config import disk
from slotjax.config.check import validate
from slotjax.errors import UserError
from slotjax.tasks import TASKS
from slotjax.training.evaluation import Figures, build_clustering_score, build_score, collect
from slotjax.training.feed import open_feed

METHODS = ("slots", "kmeans", "soft_kmeans")


def main() -> None:
    arguments = parse()
    workdir = Path(arguments.workdir)
    config = disk.load_valid(workdir / "config.json")
    change(config, arguments)
    validate(config)
    feed = open_feed(config)
    task = TASKS[config.model.name]
    if arguments.method != "slots":
        summary = task.summary(score_clustering(config, feed, arguments))
        print(task.table(summary, {}))
        warn(task, summary)
        if arguments.output:
            save(summary | {"method": arguments.method, "data": config.data.to_dict()}, Path(arguments.output))
            print(f"wrote {arguments.output}")
        return
    summary, studies, step = score_slots(config, workdir, feed, arguments)
    print(task.table(summary, studies))
    warn(task, summary)
    path = arguments.output or workdir / "evaluation.json"
    figures = summary | ({"studies": studies} if studies else {})
    save({**figures, "step": step, "data": config.data.to_dict()}, Path(path))
    print(f"wrote {path}")
    for command in task.NEXT[1:]:
        print(f"next: python -m {command.format(workdir=workdir)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="of a training run")
    parser.add_argument("--method", choices=METHODS, default="slots", help="the trained model, or clustering of pixels")
    parser.add_argument(
        "--position-weight", type=float, default=0.0, help="clustering: how much place counts beside colour"
    )
    parser.add_argument("--num-slots", type=int, help="another number than in training")
    parser.add_argument("--num-iterations", type=int, help="another number than in training")
    parser.add_argument(
        "--brief", action="store_true", help="set prediction: leave out other numbers of objects and iterations"
    )
    parser.add_argument("--images", type=int, help="how many held-out images; as in the config by default")
    parser.add_argument("--data", help="other images: the name of a scene family or a stored data set")
    parser.add_argument("--data-path", help="other images: their file or folder")
    parser.add_argument(
        "--output", help="where to write the figures; DIR/evaluation.json by default, of clustering nowhere"
    )
    return parser.parse_args()


def change(config: ConfigDict, arguments: argparse.Namespace) -> None:
    """Points the config at what the command line asks for."""
    if arguments.data and arguments.data != config.data.name:
        config.data.update(name=arguments.data, path="", pool=0)
        config.data.options = ConfigDict()
    if arguments.data_path:
        config.data.path = arguments.data_path
    if arguments.images:
        config.data.eval_images = arguments.images


def score_slots(
    config: ConfigDict, workdir: Path, feed: Any, arguments: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], int]:
    """The best checkpoint's summary, those of the task's studies, and its step."""
    from slotjax.training.restore import restore_state

    options = {name: getattr(arguments, name) for name in ("num_slots", "num_iterations") if getattr(arguments, name)}
    model, state = restore_state(config, workdir, best=True)
    print(f"{workdir} at step {int(state.step)} on {config.data.eval_images} held-out images of {config.data.name}")
    task, params, batches = TASKS[config.model.name], state.best_params, {}
    summary, studies = task.summary(score_all(config, model, params, batches, options)), {}
    if not options and not arguments.brief:
        for study in task.conditions(config):
            rows = study.rows(score_all(study.config, model, params, batches, study.options))
            studies |= {title: task.summary(figures) for title, figures in rows.items()}
    return summary, studies, int(state.step)


def score_all(config: ConfigDict, model: Any, params: Any, batches: dict[str, Any], options: dict) -> Figures:
    """Figures of all held-out images of `config.data`, which are kept in `batches`: rendering takes its time."""
    feed, name = open_feed(config), config.data.to_json()
    if name not in batches:
        batches[name] = list(feed.eval_batches())
    return collect(build_score(config, model, feed.num_true, **options), params, batches[name])


def score_clustering(config: ConfigDict, feed: Any, arguments: argparse.Namespace) -> Figures:
    """The figures of k-means on the pixels, with as many clusters as the model has slots."""
    if config.model.name != "object_discovery":
        raise UserError(f"--method {arguments.method}: clusters pixels, a {config.model.name} run predicts none")
    if feed.num_true is None:
        raise UserError(f"data.name={config.data.name!r}: has no masks to score {arguments.method} against")
    clusters = arguments.num_slots or config.model.num_slots
    where = "colour and position" if arguments.position_weight else "colour"
    images = f"{config.data.eval_images} held-out images of {config.data.name}"
    print(f"{arguments.workdir}: {arguments.method} on {where}, {clusters} clusters, {images}")
    score = build_clustering_score(arguments.method, clusters, feed.num_true, arguments.position_weight)
    return collect(score, None, feed.eval_batches())


def warn(task: Any, summary: dict[str, Any]) -> None:
    """Says when the figures look better than the result is."""
    if suspicion := task.suspicion(summary):
        print(f"note: {suspicion}")


def save(figures: dict[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".partial")
    try:
        temporary.write_text(json.dumps(figures, indent=2) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another --output") from None


if __name__ == "__main__":
    cli.run(main)
