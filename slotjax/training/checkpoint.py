"""Saving and restoring what training carries."""

import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from slotjax.errors import RunFailed, UserError
from slotjax.system.console import say
from slotjax.training import manifest


class Intact(NamedTuple):
    """A checkpoint whose every byte is what was written: its folder, its step, the run's config, and the state."""

    path: Path
    step: int
    config: dict[str, Any]
    state: bytes


class Checkpoints:
    """The checkpoints of one workdir, in `DIR/checkpoints/STEP`, and the best one so far, in `DIR/best/STEP`.

    Saving goes on in the background. A checkpoint appears under its name when it is complete and sealed (see
    `slotjax.training.manifest`), and only then an older one goes, so that a kill at any moment leaves one that can be
    restored. Of several processes, each of which has the whole state, one writes it, and all read it.

    Args:
      config: of the run, kept in each checkpoint; JSON-like.
      keep: how many of the newest stay.
    """

    def __init__(self, workdir: Path, config: dict[str, Any] | None = None, keep: int = 3):
        self.workdir, self.config, self.keep = workdir.absolute(), config or {}, keep
        self._newest, self._best = self.workdir / "checkpoints", self.workdir / "best"
        self._background = ThreadPoolExecutor(1, "checkpoints")
        self._saving: Future | None = None

    @property
    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, damaged or not; or None."""
        return max(_steps(self._newest), default=None)

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint, or None."""
        return max(_steps(self._best), default=None)

    def save(self, step: int, state: Any) -> None:
        """Saves `state` as the newest, in place of what may be there for that step.

        Raises:
          RunFailed: the save before could not be written; of this one, the next call or `wait` tells.
        """
        self._save(self._newest, step, state, self.keep)

    def save_best(self, step: int, state: Any) -> Path:
        """Saves `state` as the best, in place of the one before, and returns where it will be."""
        self._save(self._best, step, state, 1)
        return self._best / str(step)

    def newest_intact(self) -> Intact | None:
        """The newest checkpoint that is what was written, or None if there is none at all; warns of damaged ones.

        Raises:
          UserError: there are checkpoints, but every one is damaged.
        """
        return _intact(self._newest)

    def restore(self, target: Any, *, best: bool = False) -> Any:
        """The newest (or best) intact checkpoint as a tree like `target`, of numpy arrays.

        Where the best one is damaged, the newest is taken; it warns of damaged ones.

        Raises:
          UserError: there is none, none is intact, or it holds another model.
        """
        found = None
        if best and self.best_step is not None:
            try:
                found = _intact(self._best)
            except UserError:
                say(f"warning: {self._best}: no intact checkpoint; the newest one is used instead of the best")
        found = found or self.newest_intact()
        if found is None:
            raise UserError(f"{self.workdir}: no checkpoint yet; train with --workdir {self.workdir} first")
        return self.read(found, target)

    def read(self, found: Intact, target: Any) -> Any:
        """An intact checkpoint as a tree like `target`, of numpy arrays; a `UserError` if it holds another model."""
        from safetensors.numpy import load

        arrays = load(found.state)
        ours, theirs = _shapes(_named(target)), _shapes(arrays)
        if different := [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]:
            named = (f"{n}: {theirs.get(n, 'absent')} there, {ours.get(n, 'absent')} here" for n in different[:3])
            raise UserError(
                f"{found.path}: the checkpoint holds another model ({len(different)} entries differ: "
                f"{'; '.join(named)}); use the config it was trained with, or another --workdir"
            )
        return jax.tree_util.tree_map_with_path(lambda path, _: arrays[_name(path)], target)

    def wait(self) -> None:
        """Returns when every save is on disk; a `RunFailed` if one could not be written."""
        saving, self._saving = self._saving, None
        try:
            if saving:
                saving.result()
        except OSError as error:
            last = self.latest_step
            kept = "none was saved before" if last is None else f"the last one is {self._newest / str(last)}"
            raise RunFailed(
                f"{self._newest}: the checkpoint cannot be written ({error.strerror or error}); {kept}; "
                "make room, then start the same command again"
            ) from error

    def close(self) -> None:
        """Waits, and lets go of threads."""
        try:
            self.wait()
        finally:
            self._background.shutdown()

    def clear_leftovers(self) -> None:
        """Removes what a killed run left unfinished. Only the run that holds the workdir may do that."""
        for folder in (self._newest, self._best):
            for path in folder.glob(".*"):
                shutil.rmtree(path, ignore_errors=True)

    def _save(self, folder: Path, step: int, state: Any, keep: int) -> None:
        from safetensors.numpy import save

        self.wait()
        arrays = {name: np.asarray(x, order="C") for name, x in _named(state).items()}
        content = save(arrays)  # at once, and a copy: the next step may reuse the state's memory
        self._saving = self._background.submit(self._write, folder, step, content, keep)

    def _write(self, folder: Path, step: int, state: bytes, keep: int) -> None:
        """Writes and seals a checkpoint, gives it its name, and removes what is too many."""
        partial = folder / f".{step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            manifest.seal(partial, state, step, self.config)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if (folder / str(step)).exists():
            _remove(folder / str(step))
        partial.rename(folder / str(step))
        for old in sorted(_steps(folder))[:-keep]:
            _remove(folder / str(old))


def _intact(folder: Path) -> Intact | None:
    steps = sorted(_steps(folder), reverse=True)
    for step in steps:
        try:
            content, state = manifest.verify(folder / str(step))
            return Intact(folder / str(step), step, content["config"], state)
        except manifest.Damaged as damage:
            say(f"warning: damaged checkpoint: {damage}; the one before it is used")
    if steps:
        raise UserError(
            f"{folder}: none of its {len(steps)} checkpoints is intact; restore one from a copy, "
            "or use another --workdir to start from the beginning"
        )
    return None


def _steps(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if re.fullmatch(r"\d+", path.name)]


def _remove(path: Path) -> None:
    """Takes the name away first, so that a kill leaves no half of a checkpoint under it."""
    doomed = path.with_name(f".{path.name}.deleted")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _named(tree: Any) -> dict[str, Any]:
    """A tree's arrays (or their shapes) by their paths, such as "params/encoder/kernel"."""
    return {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _shapes(arrays: dict[str, Any]) -> dict[str, str]:
    return {name: f"{x.dtype}{list(x.shape)}" for name, x in arrays.items()}
