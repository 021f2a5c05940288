"""Saving and restoring what training carries. The only file that imports orbax, once something is saved or read."""

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from slotjax.errors import RunFailed, UserError, first_line
from slotjax.system.console import say
from slotjax.training import manifest

ROOM_BESIDES = 2**20  # bytes of a checkpoint that are not the state's


class Intact(NamedTuple):
    """A checkpoint whose every byte is what was written: its folder, its step, and its manifest's config."""

    path: Path
    step: int
    config: dict[str, Any]


class Checkpoints:
    """The checkpoints of one workdir, in `DIR/checkpoints/STEP`, and the best one so far, in `DIR/best/STEP`.

    Saving goes on in the background. A checkpoint appears under its name when it is complete and sealed (see
    `slotjax.training.manifest`), and only then an older one goes, so that a kill at any moment leaves one that can be
    restored.

    Args:
      config: of the run, kept in each checkpoint; JSON-like.
      keep: how many of the newest stay.
    """

    def __init__(self, workdir: Path, config: dict[str, Any] | None = None, keep: int = 3):
        import orbax.checkpoint as ocp  # takes a second, which importing slotjax should not

        _quieten_orbax()
        self.workdir, self.config, self.keep = workdir.absolute(), config or {}, keep
        self._newest, self._best = self.workdir / "checkpoints", self.workdir / "best"
        # Every process has the whole state, so one may write it, and each reads it, without waiting for the others.
        own = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(own, {own}, f"process{own}") if jax.process_count() > 1 else None
        self._orbax = ocp.StandardCheckpointer(multiprocessing_options=alone or ocp.options.MultiprocessingOptions())
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
          RunFailed: this save, or the one before, could not be written.
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
        return self._intact(self._newest)

    def restore(self, target: Any, *, best: bool = False) -> Any:
        """The newest (or best) intact checkpoint as a tree like `target`, of numpy arrays.

        Where the best one is damaged, the newest is taken; it warns of damaged ones.

        Raises:
          UserError: there is none, none is intact, or it holds another model.
        """
        found = self._chosen(best)
        try:
            return self.read(found, target)
        except UserError:
            if found.path.exists():
                raise
        return self.restore(target, best=best)  # a run that goes on has put another in its place meanwhile

    def _chosen(self, best: bool) -> Intact:
        found = None
        if best and self.best_step is not None:
            try:
                found = self._intact(self._best)
            except UserError:
                say(f"warning: {self._best}: no intact checkpoint; the newest one is used instead of the best")
        found = found or self.newest_intact()
        if found is None:
            raise UserError(f"{self.workdir}: no checkpoint yet; train with --workdir {self.workdir} first")
        return found

    def read(self, found: Intact, target: Any) -> Any:
        """An intact checkpoint as a tree like `target`, of numpy arrays; a `UserError` if it holds another model."""
        try:
            saved: Any = self._orbax.metadata(found.path / "state").item_metadata
            _check_same_tree(found.path, saved.tree, target)
            return self._orbax.restore(found.path / "state", jax.tree.map(lambda x: np.empty(x.shape, x.dtype), target))
        except UserError:
            raise
        except Exception as error:  # orbax and tensorstore raise bare exceptions for damaged files
            raise UserError(
                f"{found.path}: the checkpoint cannot be read ({first_line(error)}); delete that folder to use the one "
                "before"
            ) from error

    def wait(self) -> None:
        """Returns when every save is on disk; a `RunFailed` if one could not be written."""
        saving, self._saving = self._saving, None
        error = saving.exception() if saving else None
        if error is not None:  # orbax and tensorstore raise bare exceptions for a full disk
            raise self._failed(error) from error

    def close(self) -> None:
        """Waits, and lets go of threads."""
        try:
            self.wait()
        finally:
            self._background.shutdown()
            self._orbax.close()

    def clear_leftovers(self) -> None:
        """Removes what a killed run left unfinished. Only the run that holds the workdir may do that."""
        for folder in (self._newest, self._best):
            for path in folder.glob(".*"):
                shutil.rmtree(path, ignore_errors=True)

    def _save(self, folder: Path, step: int, state: Any, keep: int) -> None:
        self.wait()
        partial = folder / f".{step}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _check_room(partial, state)
            self._orbax.save(partial / "state", jax.tree.map(np.asarray, state))
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise self._failed(error) from error
        self._saving = self._background.submit(self._publish, partial, folder, step, keep)

    def _publish(self, partial: Path, folder: Path, step: int, keep: int) -> None:
        """Seals a checkpoint, gives it its name, and removes what is too many, or of later steps.

        Those are damaged, or of a course that was given up.
        """
        try:
            self._orbax.wait_until_finished()
            manifest.seal(partial, step, self.config)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if (folder / str(step)).exists():
            _remove(folder / str(step))
        partial.rename(folder / str(step))
        steps = sorted(_steps(folder))
        kept = [other for other in steps if other <= step][-keep:]
        for other in set(steps).difference(kept):
            _remove(folder / str(other))

    def _intact(self, folder: Path) -> Intact | None:
        steps = sorted(_steps(folder), reverse=True)
        for step in steps:
            if found := _verified(folder / str(step), step):
                return found
        if steps and not any((folder / str(step)).exists() for step in steps):
            return self._intact(folder)  # all have been replaced meanwhile
        if steps:
            raise UserError(
                f"{folder}: none of its {len(steps)} checkpoints is intact; restore one from a copy, "
                "or use another --workdir to start from the beginning"
            )
        return None

    def _failed(self, error: BaseException) -> RunFailed:
        full = os.strerror(errno.ENOSPC)
        reason = full if full in str(error) else getattr(error, "strerror", None) or first_line(error)
        last = self.latest_step
        kept = "none was saved before" if last is None else f"the last one is {self._newest / str(last)}"
        return RunFailed(
            f"{self._newest}: the checkpoint cannot be written ({reason}); {kept}; "
            "make room, then start the same command again"
        )


def _verified(path: Path, step: int) -> Intact | None:
    try:
        content = manifest.verify(path)
    except manifest.Damaged as damage:
        if path.exists():  # else a run that goes on has replaced it
            say(f"warning: damaged checkpoint: {damage}; it is passed over")
        return None
    return Intact(path, step, content["config"])


def _quieten_orbax() -> None:
    """Leaves the reporting to us: orbax logs every save, and where one fails a traceback for every array."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not isinstance(sys.unraisablehook, _WithoutClosedLoops):
        sys.unraisablehook = _WithoutClosedLoops(sys.unraisablehook)


class _WithoutClosedLoops:
    """`sys.unraisablehook` but for what arrays still in flight say when a failed save has closed its event loop."""

    def __init__(self, hook: Callable[[Any], object]):
        self.hook = hook

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self.hook(unraisable)


def _check_room(folder: Path, state: Any) -> None:
    """Asks first: orbax, when it runs out of room half way, leaves much noise behind."""
    needed = sum(x.nbytes for x in jax.tree.leaves(state)) + ROOM_BESIDES
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _steps(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if re.fullmatch(r"\d+", path.name)]


def _remove(path: Path) -> None:
    """Takes the name away first, so that a kill leaves no half of a checkpoint under it."""
    doomed = path.with_name(f".{path.name}.deleted")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _check_same_tree(path: Any, saved: Any, target: Any) -> None:
    """Refuses a checkpoint of another model, naming the entries that differ: orbax would cast or cut in silence."""
    ours, theirs = _shapes(target), _shapes(saved)
    different = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    if different:
        named = "; ".join(f"{n}: {theirs.get(n, 'absent')} there, {ours.get(n, 'absent')} here" for n in different[:3])
        raise UserError(
            f"{path}: the checkpoint holds another model ({len(different)} entries differ: {named}); "
            "use the config it was trained with, or another --workdir"
        )


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape") and hasattr(x, "dtype"))
    return {_name(path): f"{x.dtype}{list(x.shape)}" for path, x in leaves if x is not None}


def _name(path: tuple) -> str:
    return "/".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path)
