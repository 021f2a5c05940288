"""Trained models by name: a run's directory, a file of weights, or weights that come with the library."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from slotjax.errors import UserError
from slotjax.models import build_model

PACKAGED = Path(__file__).parent / "weights"
CONFIG = "config.json"  # the entry of a weights file that says which model it is for


def load(name: str | Path) -> tuple[nn.Module, Any]:
    """The model and the parameters of a training run or of a weights file.

    Args:
      name: a run's directory, such as "runs/clevr" (its best checkpoint, or the newest where none was evaluated); a
        file that `python -m slotjax.pack` wrote, such as "clevr.npz"; or the name of packaged weights, such as "quick".

    Returns:
      (model, params), for `slotjax.apply`.

    Raises:
      UserError: nothing of that name, no checkpoint in it, or a damaged file.
    """
    path = Path(name)
    if path.is_dir():
        return load_run(path)
    if path.is_file():
        return load_weights(path)
    if str(name) in packaged_names():
        return load_weights(PACKAGED / f"{name}.npz")
    raise UserError(
        f"{name}: no such directory or file, and no packaged weights of that name; give the --workdir of a training "
        f"run, a .npz file of slotjax.pack, or one of {', '.join(packaged_names()) or 'none'}"
    )


def packaged_names() -> list[str]:
    """Names of the weights that come with the library."""
    return sorted(path.stem for path in PACKAGED.glob("*.npz"))


def load_run(workdir: Path) -> tuple[nn.Module, Any]:
    """The best checkpoint of a training run."""
    from slotjax.configuration import load as load_config
    from slotjax.training.run import restore_state  # brings orbax, which importing slotjax does not

    model, state = restore_state(load_config(workdir / "config.json"), workdir, best=True)
    return model, state.best_params


def load_weights(path: Path) -> tuple[nn.Module, Any]:
    """The model and the parameters that `save_weights` wrote."""
    config, entries = load_entries(path)
    if not isinstance(config.get("model"), Mapping):
        raise UserError(f"{path}: says nothing of its model, so it is no file of weights; write it with slotjax.pack")
    return build_model(config["model"]), unflatten(entries)


def load_entries(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The config and the arrays, by their paths, that `save_weights` wrote. Nothing in the file is run.

    Raises:
      UserError: the file is missing, of another kind, or damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            entries = {entry: file[entry] for entry in file.files}
        config = json.loads(str(entries.pop(CONFIG)))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).split(".")[0]
        raise UserError(f"{path}: not a file of weights, or damaged ({reason}); write it with slotjax.pack") from None
    return config, entries


def save_weights(path: Path, config: Mapping[str, Any], params: Any) -> None:
    """Writes parameters and the config that they belong to as one .npz file, whole or not at all.

    Args:
      config: JSON-like, with the model's fields under "model"; what else it holds is kept for readers.
      params: a tree of arrays.
    """
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            entries: dict[str, Any] = {CONFIG: np.array(json.dumps(config, indent=2)), **flatten(params)}
            np.savez(file, **entries)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """A tree of arrays as {"a/b/c": array}."""
    flat = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {prefix + name: np.asarray(value)}
    return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[name] = value
    return tree
