"""Files of weights: a model and its parameters as safetensors, and those that come with the library."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from slotjax.api import init
from slotjax.errors import UserError, first_line, shown
from slotjax.models import Model, build_model
from slotjax.system import packaged, writing
from slotjax.system.paths import given
from slotjax.system.reading import parse_json

SUFFIX = ".safetensors"
find = packaged.find_weights
CONFIG = "slotjax"  # the entry of the metadata that says which model it is for


def packaged_names() -> list[str]:
    """Names of the weights that come with the library."""
    return list(packaged.weights())


def load(path: Path, backbone: str | Path | None = None) -> tuple[Model, Any]:
    """The model and the parameters that `save` wrote, in float32, and those of a pretrained backbone from its file."""
    config, arrays = read(path)
    if "model" not in config:
        raise _not_weights(path, "its config names no model")
    try:
        model = build_model(with_backbone(config["model"], backbone))
        params = unflatten({name: widened(array) for name, array in arrays.items()})
    except UserError as error:
        raise _not_weights(path, error) from None
    params |= model.pretrained()
    try:
        check_parameters(model, params)
    except UserError as error:
        raise _not_weights(path, error) from None
    return model, params


def with_backbone(fields: Any, path: str | Path | None) -> Any:
    """The fields of `config.model` with the file of the backbone's weights at another place.

    Raises:
      UserError: the model has no backbone of which a file holds the weights.
    """
    if path is None:
        return fields
    if not isinstance(fields, Mapping) or not fields.get("backbone", {}).get("weights"):
        raise UserError(f"backbone={path}: this model has no pretrained backbone; leave it out")
    return {**fields, "backbone": {**fields["backbone"], "weights": str(path)}}


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The config and the arrays, by their paths, that `save` wrote.

    Arrays and JSON only: nothing in the file is run, and its sizes are not believed.

    Raises:
      UserError: the file is of another kind, or damaged.
    """
    from safetensors import SafetensorError, numpy, safe_open

    try:
        if path.exists() and not path.is_file():
            raise _not_weights(path, "no regular file")
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
        arrays = numpy.load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:  # the last three: foreign dtypes
        raise _not_weights(path, error) from None
    if CONFIG not in metadata:
        raise _not_weights(path, "it does not say which model it is for")
    try:
        config = parse_json(metadata[CONFIG])
    except ValueError as error:
        raise _not_weights(path, error) from None
    if not isinstance(config, dict):
        raise _not_weights(path, "its config holds no fields")
    return config, arrays


def of_backbone(name: str | Path) -> bool:
    """Whether this is an intact file of arrays that does not say for which model of the library: a backbone's."""
    from safetensors import SafetensorError, safe_open

    path = given(name, "weights")
    try:
        with safe_open(path, "numpy") as file:
            return CONFIG not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _not_weights(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: not a file of weights, or damaged ({first_line(reason)}); write it with slotjax.pack")


def save(path: Path, config: Mapping[str, Any], params: Any, *, half: bool = False) -> None:
    """Writes parameters and the config that they belong to as one safetensors file, whole or not at all.

    Args:
      config: JSON-like, with the model's fields under "model"; what else it holds is kept for readers.
      params: a tree of arrays.
      half: 16 bits a number: half the size, rounded to three digits.

    Raises:
      UserError: the file cannot be written, or a parameter is too large for 16 bits.
    """
    from safetensors.numpy import save as to_bytes

    arrays = flatten(params)
    if half and not all(np.abs(x).max(initial=0) <= np.finfo(np.float16).max for x in arrays.values()):
        raise UserError(f"{path}: the model has parameters beyond 65,504, or NaN; write it in 32 bits")
    dtype = np.float16 if half else np.float32
    arrays = {name: np.ascontiguousarray(x, dtype) for name, x in arrays.items()}
    try:
        writing.write_bytes(path, to_bytes(arrays, {CONFIG: json.dumps(config)}))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def widened(array: np.ndarray) -> np.ndarray:
    """float16, which only saves space in the file, as float32; anything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def check_parameters(model: Model, params: Any) -> None:
    """Raises a `UserError` where the parameters are not those of `model`, of which only the shapes are computed."""
    example = next(iter(model.inputs.values()))
    images = jax.ShapeDtypeStruct((1, *example.shape), example.dtype)
    shapes = jax.eval_shape(lambda x: init(model, jax.random.key(0), x), images)
    needed, given = (
        {name: f"{x.dtype}{list(x.shape)}" for name, x in traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (shapes, params)
    )
    different = [name for name in sorted(needed | given) if needed.get(name) != given.get(name)]
    if different:
        name = different[0]
        raise UserError(
            f"{len(different)} parameters are not the model's: {shown(name)} is {given.get(name, 'absent')}, "
            f"not {needed.get(name, 'absent')}"
        )


def flatten(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A tree of arrays as {"a/b/c": array}."""
    return {name: np.asarray(x) for name, x in traverse_util.flatten_dict(tree, sep="/").items()}


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`. Raises a `UserError` where one name is both an array and a branch."""
    branches = {path[:i] for path in (tuple(name.split("/")) for name in flat) for i in range(1, len(path))}
    if both := [name for name in flat if tuple(name.split("/")) in branches]:
        raise UserError(f"{shown(both[0])} is an array and a branch")
    return traverse_util.unflatten_dict(dict(flat), sep="/")
