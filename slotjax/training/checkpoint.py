"""Saving and restoring what training carries. The only file that imports orbax."""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from slotjax.errors import UserError

FORMAT_VERSION = 1


class Checkpoints:
    """The checkpoints of one workdir, in `DIR/checkpoints/STEP`, and the best one so far, in `DIR/best/STEP`.

    Saving is asynchronous. A save that was cut off leaves only a temporary folder, which is never restored from.
    """

    def __init__(self, workdir: Path, keep: int = 3):
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save, and every wait for one
        self.workdir = workdir
        self._latest = _manager(workdir / "checkpoints", keep)
        self._best = _manager(workdir / "best", 1)

    @property
    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, or None."""
        return self._latest.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint, or None."""
        return self._best.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Saves `state` as the newest; does nothing if that step was saved before."""
        _save(self._latest, step, state)

    def save_best(self, step: int, state: Any) -> None:
        """Saves `state` as the best, in place of the one before."""
        _save(self._best, step, state)

    def restore(self, target: Any, *, best: bool = False) -> Any:
        """The newest (or best) checkpoint as a tree like `target`, on its devices.

        Raises:
          UserError: there is none, it cannot be read, or it holds another model.
        """
        manager = self._best if best and self.best_step is not None else self._latest
        step = manager.latest_step()
        if step is None:
            raise UserError(f"{self.workdir}: no checkpoint yet; train with --workdir {self.workdir} first")
        path = manager.directory / str(step)
        try:
            _check_same_tree(path, manager.item_metadata(step)["state"], target)
            restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))
        except UserError:
            raise
        except Exception as error:  # orbax and tensorstore raise bare exceptions for damaged files
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"{path}: the checkpoint cannot be read ({reason}); delete that folder to use the one before"
            ) from error
        return restored["state"]

    def wait(self) -> None:
        """Returns when every save is on disk."""
        self._latest.wait_until_finished()
        self._best.wait_until_finished()

    def close(self) -> None:
        self._latest.close()
        self._best.close()


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
    metadata = {"format_version": FORMAT_VERSION}
    handlers = {"state": ocp.StandardCheckpointHandler()}
    return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers, metadata=metadata)


def _save(manager: ocp.CheckpointManager, step: int, state: Any) -> None:
    if manager.latest_step() != step:
        manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))


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
