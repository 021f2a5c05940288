"""Trained models by name: a run's directory, a file of weights, or weights that come with the library."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from slotjax.api import init
from slotjax.errors import UserError, shown
from slotjax.models import build_model
from slotjax.system.reading import parse_json, read_arrays

PACKAGED = Path(__file__).parent / "pretrained"
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


def packaged_or_file(name: str) -> Path:
    """The file of the packaged weights of that name, or else the path itself.

    Raises:
      UserError: there is neither.
    """
    if name in packaged_names():
        return PACKAGED / f"{name}.npz"
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"--weights {name}: is a directory; give a training run's as --workdir {name}")
    raise UserError(
        f"--weights {name}: no such file, and no packaged weights of that name; give a .npz file of slotjax.pack, or "
        f"one of {', '.join(packaged_names()) or 'none'} (--list says what they are)"
    )


def describe(path: Path) -> str:
    """What weights were trained on and how they scored, on one line."""
    from slotjax.tasks import TASKS  # knows what the figures are called

    config, _ = load_entries(path)
    try:
        data, model, scored = config["data"]["name"], config["model"], config.get("evaluation", {})
        height, width = model["resolution"]
        titles = {name: x for name, x in TASKS[model["name"]].TITLES.items() if not name.startswith("attention_")}
        figures = [f"{title} {scored[name]:.3f}" for name, title in titles.items() if scored.get(name) is not None]
        told = f"{', '.join(figures)} ({scored['num_images']} held-out images)" if figures else "not evaluated"
        return f"{model['name']} on {data}, {width}x{height}, {model['num_slots']} slots: {told}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_weights(path, error) from None


def load_run(workdir: Path) -> tuple[nn.Module, Any]:
    """The best checkpoint of a training run."""
    from slotjax.configuration import load_single
    from slotjax.training.run import restore_state  # brings orbax, which importing slotjax does not

    model, state = restore_state(load_single(workdir / "config.json"), workdir, best=True)
    return model, state.best_params


def load_weights(path: Path) -> tuple[nn.Module, Any]:
    """The model and the parameters that `save_weights` wrote."""
    config, entries = load_entries(path)
    try:
        model = build_model(config["model"])
        params = unflatten({name: widened(array) for name, array in entries.items()})
        check_parameters(model, params)
    except (ValueError, KeyError, TypeError) as error:
        raise _not_weights(path, error) from None
    return model, params


def widened(array: np.ndarray) -> np.ndarray:
    """float16, which only saves space in the file, as float32; anything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def load_entries(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The config and the arrays, by their paths, that `save_weights` wrote.

    Arrays and JSON only: nothing in the file is run, and its sizes are not believed.

    Raises:
      UserError: the file is of another kind, or damaged.
    """
    try:
        with path.open("rb") as stream:
            entries = read_arrays(stream)
        config = parse_json(str(entries.pop(CONFIG)))
        if not isinstance(config, dict):
            raise ValueError("its config holds no fields")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_weights(path, error) from None
    return config, entries


def _not_weights(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{path}: not a file of weights, or damaged ({reason}); write it with slotjax.pack")


def check_parameters(model: nn.Module, params: Any) -> None:
    """Raises a `UserError` where the parameters are not those of `model`, of which only the shapes are computed."""
    shapes = jax.eval_shape(lambda: init(model, jax.random.key(0), jnp.zeros((1, *model.resolution, 3))))
    needed, given = (
        {name: f"{x.dtype}{list(x.shape)}" for name, x in flatten(tree, leaf=lambda x: x).items()}
        for tree in (shapes, params)
    )
    different = [name for name in sorted(needed | given) if needed.get(name) != given.get(name)]
    if different:
        name = different[0]
        raise UserError(
            f"{len(different)} parameters are not the model's: {shown(name)} is {given.get(name, 'absent')}, "
            f"not {needed.get(name, 'absent')}"
        )


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


def flatten(tree: Mapping[str, Any], prefix: str = "", leaf: Callable[[Any], Any] = np.asarray) -> dict[str, Any]:
    """A tree of arrays as {"a/b/c": array}."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/", leaf)
        else:
            flat[prefix + name] = leaf(value)
    return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `flatten`. Raises ValueError where one name is both an array and a branch."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise ValueError(f"{shown(path)} lies within an array")
        if name in branch:
            raise ValueError(f"{shown(path)} is an array and a branch")
        branch[name] = value
    return tree
