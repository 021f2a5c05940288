"""A trained model scored on held-out images, and the file that says what came out and how it was made."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from slotjax.config import disk
from slotjax.config.check import validate
from slotjax.config.schema import defaults
from slotjax.data.stored import STORED, open_stored
from slotjax.errors import UserError
from slotjax.models import build_model
from slotjax.models.build import noun_of
from slotjax.system.writing import write_json
from slotjax.tasks import TASKS, Figures, Task
from slotjax.training.evaluation import build_clustering_score, build_score, collect
from slotjax.training.feed import open_feed
from slotjax.training.restore import restore_state
from slotjax.weights import find, load, read

BLOCKS = "blocks"  # the method that looks at nothing
METHODS_OF = {"position_weight": ("kmeans", "soft_kmeans"), "num_iterations": ("slots",)}  # which heed such a number


@dataclass(frozen=True)
class Subject:
    """What is scored: a training run's best checkpoint, or trained weights.

    Attributes:
      name: for people; config: as it was trained; workdir: the run's, if it is one.
    """

    name: str
    config: ConfigDict
    workdir: Path | None

    @property
    def task(self) -> Task:
        return TASKS[self.config.model.name]

    @property
    def noun(self) -> str:
        """What people call one of its examples."""
        return noun_of(self.config.model)

    @cached_property
    def trained(self) -> tuple[Any, Any, int | None]:
        """Model, parameters and step; of weights the step is not known. Clustering does without."""
        if self.workdir is None:
            return *load(Path(self.name)), None
        model, state = restore_state(self.config, self.workdir, best=True)
        return model, state.best_params, int(state.step)


@dataclass(frozen=True)
class Conditions:
    """How a subject is scored.

    Attributes:
      config: the subject's, with the data that it is scored on.
      changes: what was asked for and is not as in training, {flag: value}; empty for the subject's own evaluation.
    """

    config: ConfigDict
    method: str
    position_weight: float
    num_slots: int
    num_iterations: int
    brief: bool
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        return not self.changes

    def described(self) -> dict[str, Any]:
        """As it stands in the file, beside the figures."""
        numbers = {"num_slots": self.num_slots, "num_iterations": self.num_iterations}
        if self.method != "slots":
            numbers = {"num_clusters": self.num_slots, "position_weight": self.position_weight}
        return {"method": self.method, **numbers, "data": self.config.data.to_dict()}


def open_subject(workdir: Path | None, weights: str | None) -> Subject:
    """The training run, or the weights by their name or file. Raises UserError."""
    if workdir is not None:
        return Subject(str(workdir), disk.load_valid(workdir / "config.json"), workdir)
    path = find(str(weights))
    if (config := recorded(path)) is None:
        raise UserError(f"{path}: does not say which pictures to score it on; save it with slotjax.save(..., data=...)")
    return Subject(str(path), config, None)


def recorded(path: Path) -> ConfigDict | None:
    """The config in a file of weights, with defaults for what it leaves out; None if it does not name its pictures.

    Raises:
      UserError: no file of weights, or one whose config is none.
    """
    fields = {name: value for name, value in read(path)[0].items() if name != "evaluation"}
    if "data" not in fields:
        return None
    try:
        config = disk.from_fields(defaults().to_dict() | fields)
        validate(config)
    except ValueError as error:
        raise UserError(f"{path}: its config is none ({error}); pack the run again with slotjax.pack") from None
    return config


def usual(config: ConfigDict) -> dict[str, Any]:
    """The conditions of a subject's own evaluation, by the names of the flags."""
    return {
        "method": "slots",
        "position_weight": 0.0,
        "num_slots": config.model.num_slots,
        "num_iterations": config.model.num_iterations,
        "images": config.data.eval_images,
        "data": config.data.name,
        "data_path": Path(config.data.path),
        "brief": False,
    }


def changed(subject: Subject, asked: Mapping[str, Any]) -> Conditions:
    """The conditions with what the command line asks for. Raises UserError where they do not go together."""
    own = usual(subject.config)
    changes = {name: value for name, value in asked.items() if value != own[name]}
    config = subject.config.copy_and_resolve_references()
    if "data" in changes:
        config.data.update(name=changes["data"], path="", pool=0, augment="none", feature_cache=0.0)
        config.data.options = ConfigDict()
    if "data_path" in changes:
        config.data.path = str(changes["data_path"])
    config.data.eval_images = changes.get("images", own["images"])
    validate(config)
    if not {"data", "data_path"} & set(changes):
        check_held_out(config, own["images"])
    rest = {name: changes.get(name, own[name]) for name in own if name not in ("images", "data", "data_path")}
    baselines = (*subject.task.BASELINES, BLOCKS) if subject.task.BASELINES else ()
    if rest["method"] != "slots" and rest["method"] not in baselines:
        raise UserError(f"--method {rest['method']}: clusters pixels, a {config.model.name} run predicts none")
    for name, methods in METHODS_OF.items():
        if name in changes and rest["method"] not in methods:
            flag = f"--{name.replace('_', '-')} {changes[name]:g}"
            raise UserError(f"{flag}: is for --method {' and '.join(methods)}; leave it out")
    return Conditions(config, changes=changes, **rest)


def check_held_out(config: ConfigDict, own: int) -> None:
    """Refuses more images than the run's own, where they would be some of those that it was trained on."""
    if config.data.name not in STORED or config.data.eval_images == own:
        return

    def trained_on(held_out: int) -> int:
        fields = {**config.data.to_dict(), "eval_images": held_out}
        return len(open_stored(fields, config.model.resolution, "train"))

    try:
        further = trained_on(own) - trained_on(config.data.eval_images)
    except UserError:  # what it was trained on is not here, or cannot be divided, which opening it will tell
        return
    if further > 0:
        raise UserError(
            f"--images {config.data.eval_images}: {further} of these were trained on, as {config.data.name} holds out "
            "the first of one list; leave it out for all that were held out"
        )


def evaluate(subject: Subject, conditions: Conditions) -> tuple[dict[str, Any], str]:
    """The figures as they are written down, and a table of them for people."""
    studies, step = {}, {}
    if conditions.method == "slots":
        summary, studies = score_slots(subject, conditions)
        step = {"step": subject.trained[2]}
    else:
        summary = subject.task.summary(score_clustering(subject, conditions))
    table = subject.task.table(summary, studies, subject.noun)
    if suspicion := subject.task.suspicion(summary):
        table += f"\nnote: {suspicion}"
    return {**summary, **({"studies": studies} if studies else {}), **step, **conditions.described()}, table


def score_slots(subject: Subject, conditions: Conditions) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The trained model's summary, and of its own conditions those of the task's studies."""
    model, params, step = subject.trained
    config, at = conditions.config, "" if step is None else f" at step {step}"
    print(f"{subject.name}{at} on {images(config)}", flush=True)
    batches: dict[str, list] = {}
    options = {name: conditions.changes[name] for name in ("num_slots", "num_iterations") if name in conditions.changes}
    summary, studies = subject.task.summary(score_all(config, model, params, batches, options)), {}
    if not options and not conditions.brief:
        for study in subject.task.conditions(config):
            rows = study.rows(score_all(study.config, model, params, batches, study.options))
            studies |= {title: subject.task.summary(figures) for title, figures in rows.items()}
    return summary, studies


def score_all(config: ConfigDict, model: Any, params: Any, batches: dict[str, list], options: dict) -> Figures:
    """Figures of all held-out images of `config.data`, which are kept in `batches`: rendering takes its time."""
    feed, name = open_feed(config), config.data.to_json()
    if name not in batches:
        batches[name] = list(feed.eval_batches())
    return collect(build_score(config, model, feed.num_true, **options), params, batches[name])


def score_clustering(subject: Subject, conditions: Conditions) -> Figures:
    """The figures of clustering pixels, or features where slots see these, with as many clusters as there are slots."""
    config, weight = conditions.config, conditions.position_weight
    method: Any = conditions.method
    feed = open_feed(config)
    if feed.num_true is None:
        raise UserError(f"data.name={config.data.name!r}: has no masks to score {method} against")
    model = build_model(config.model)
    model, params = (model, subject.trained[1]) if model.sees_features and method != BLOCKS else (None, None)
    what = ("features" if model else "colour") + (" and position" if weight else "")
    how = (
        f"{conditions.num_slots} blocks" if method == BLOCKS else f"{method} on {what}, {conditions.num_slots} clusters"
    )
    print(f"{subject.name}: {how}, {images(config)}", flush=True)
    score = build_clustering_score(method, conditions.num_slots, feed.num_true, weight, model)
    return collect(score, params, feed.eval_batches())


def images(config: ConfigDict) -> str:
    return f"{config.data.eval_images or 'the'} held-out {noun_of(config.model)}s of {config.data.name}"


def file_of(subject: Subject, conditions: Conditions) -> Path | None:
    """Where the figures belong: only a run's own are DIR/evaluation.json. Of weights nowhere."""
    if subject.workdir is None:
        return None
    if conditions.own:
        return subject.workdir / "evaluation.json"
    words = [name if value is True else f"{name}_{_word(value)}" for name, value in conditions.changes.items()]
    return subject.workdir / "evaluations" / f"{'-'.join(words)}.json"


def _word(value: Any) -> str:
    """A value as part of a file's name; of a path its last part, and what tells it from others of that name."""
    if isinstance(value, Path):
        digest = hashlib.sha256(str(value.absolute()).encode()).hexdigest()
        return f"{_word(value.name)[:40]}_{digest[:8]}"
    return re.sub(r"[^\w.]+", "_", str(value))


def save(figures: dict[str, Any], path: Path) -> None:
    try:
        write_json(path, figures)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another --output") from None


def check_own(figures: Any, subject: Subject, path: Path) -> None:
    """Raises a `UserError` unless the figures read from `path` are the run's own, of its best checkpoint."""
    wanted = disk.flat(changed(subject, {}).described() | {"step": subject.trained[2]})
    given = disk.flat(figures) if isinstance(figures, dict) else {}
    if differing := [name for name, value in wanted.items() if given.get(name) != value]:
        raise UserError(
            f"{path}: is not this run's own evaluation, of its best checkpoint ({differing[0]} differs); write it anew "
            "with slotjax.evaluate, or delete it"
        )
