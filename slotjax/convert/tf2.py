"""Weights of the TF2 program of Slot Attention (Locatello et al., 2020)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from slotjax.convert.weights import Weights
from slotjax.errors import UserError, shown
from slotjax.system.paths import given
from slotjax.system.reading import read_bytes
from slotjax.system.tensor_bundle import read_bundle

_VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"  # ends the names of what a checkpoint restores; others describe its objects
_TRAINING = re.compile(r"optimizer/|.*/\.OPTIMIZER_SLOT/|(save_counter|global_step)$")
_LAYER = re.compile(r"\b(encoder_cnn|decoder_cnn|mlp|mlp_classifier)/layer_with_weights-(?=\d+/)")
_LAYERS = {"encoder_cnn": "conv", "decoder_cnn": "deconv", "mlp": "dense", "mlp_classifier": "dense"}
_FILE = re.compile(r"(?<=.)\.(index|data-\d{5}-of-\d{5})$")
_WANTED = (
    "give the PREFIX of files PREFIX.index and PREFIX.data-00000-of-00001, or the directory of one checkpoint; "
    "HDF5 files, SavedModels and checkpoints of TensorFlow 1 are not read"
)
_MAX_LIST_BYTES = 2**20
EXAMPLE = "encoder_cnn/conv0/kernel"


def read_tf2(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The weights in a checkpoint of the original's training programs, by the names that `from_tf2` takes.

    What belongs to training, the optimizer's state and the counters, is left out; a variable that the original does
    not have keeps its name in the checkpoint.

    Args:
      path: PREFIX, where PREFIX.index and PREFIX.data-00000-of-00001 are the files; or one of them; or a directory
        that holds one checkpoint, or several and TensorFlow's list, which names the newest.

    Returns:
      Keras' layouts, in the types that are stored. TensorFlow is not needed.

    Raises:
      UserError: a file is missing, damaged or of another kind.
    """
    prefix = _prefix(given(path, "checkpoint"))
    tensors = read_bundle(prefix)
    variables = {key.removesuffix(_VARIABLE): array for key, array in tensors.items() if key.endswith(_VARIABLE)}
    if not variables:
        raise UserError(f"{prefix}.index: holds no objects of TensorFlow 2; {_WANTED}")
    weights: dict[str, np.ndarray] = {}
    for key, array in variables.items():
        if _TRAINING.match(key):
            continue
        if (name := _name(key)) in weights:
            raise UserError(f"{prefix}.index: two variables are {shown(name)}; give a checkpoint of the original's")
        weights[name] = array
    return weights


def _name(key: str) -> str:
    """`encoder_cnn/conv0/kernel` of `network/layer_with_weights-0/encoder_cnn/layer_with_weights-0/kernel`."""
    name = key.removeprefix("network/layer_with_weights-0/")
    return name if name == key else _LAYER.sub(lambda found: f"{found[1]}/{_LAYERS[found[1]]}", name)


def _prefix(path: Path) -> Path:
    """The prefix of the checkpoint that a path means; what its files hold is not looked at."""
    prefix = path.with_name(_FILE.sub("", path.name)) if path.name else path
    if os.path.isfile(f"{prefix}.index"):
        return prefix
    if path.is_dir():
        return path / _newest(path)
    raise UserError(f"{path}: {'no TensorFlow 2 checkpoint' if path.exists() else 'no such checkpoint'}; {_WANTED}")


def _newest(directory: Path) -> str:
    """The name of the only checkpoint in a directory, else of the one that TensorFlow's list there calls newest."""
    names = [path.name.removesuffix(".index") for path in directory.glob("*.index")]
    if len(names) == 1:
        return names[0]
    try:
        text = read_bytes(directory / "checkpoint", _MAX_LIST_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        text = ""
    listed = re.match(r'model_checkpoint_path: "(.*)"', text)
    if listed is None or Path(listed[1]).name not in names:
        have = "several checkpoints and no list that names the newest" if names else "no TensorFlow 2 checkpoint"
        raise UserError(f"{directory}: holds {have}; {_WANTED}")
    return Path(listed[1]).name


def from_tf2(weights: Mapping[str, np.ndarray]) -> dict:
    """Parameters of `configs/clevr.py`'s or `configs/clevr_set.py`'s model from the original's Keras weights.

    Args:
      weights: {name: array} with Keras' layouts and the names `encoder_cnn/conv0/kernel`,
        `slot_attention/project_q/kernel` and so on; a prefix `weight/` is allowed, other entries are an error.
        With `mlp_classifier/...` in place of the decoder they are those of set prediction.

    Returns:
      The parameter tree, float32. Transposed convolutions are turned from Keras' [h, w, out, in] to [h, w, in, out],
      with the taps reversed, as `slotjax.nn.cpu.convolution` takes them.

    Raises:
      UserError: a weight is missing or left over.
    """
    source = Weights(weights, "weight/", EXAMPLE)
    params = {"encoder": _encoder(source), "attention": _attention(source)}
    if source.layers("mlp_classifier/"):
        params["head"] = {f"dense{i}": source.dense(f"mlp_classifier/dense{i}") for i in range(2)}
    else:
        params["decoder"] = _decoder(source)
    source.check_empty()
    return params


def _encoder(source: Weights) -> dict:
    convolutions = {f"conv{i}": source.dense(f"encoder_cnn/conv{i}") for i in range(source.layers("encoder_cnn/conv"))}
    return {
        **convolutions,
        "position": {"dense": source.dense("encoder_pos/dense")},
        "norm": source.norm("layer_norm"),
        "dense0": source.dense("mlp/dense0"),
        "dense1": source.dense("mlp/dense1"),
    }


def _attention(source: Weights) -> dict:
    name = "slot_attention"
    bias = source.take(f"{name}/gru/bias", 2)
    mlp = [source.dense(f"{name}/mlp/dense{i}") for i in range(2)]
    return {
        "initializer": {
            "mu": source.take(f"{name}/slots_mu", 3),
            "log_sigma": source.take(f"{name}/slots_log_sigma", 3),
        },
        **{norm: source.norm(f"{name}/{norm}") for norm in ("norm_inputs", "norm_slots", "norm_mlp")},
        **{f"project_{x}": source.take(f"{name}/project_{x}/kernel", 2) for x in "qkv"},
        "gru": {
            "input_kernel": source.take(f"{name}/gru/kernel", 2),
            "input_bias": bias[0],
            "recurrent_kernel": source.take(f"{name}/gru/recurrent_kernel", 2),
            "recurrent_bias": bias[1],
        },
        "mlp": {f"{part}{i}": layer[part] for i, layer in enumerate(mlp) for part in ("kernel", "bias")},
    }


def _decoder(source: Weights) -> dict:
    prefix = "decoder_cnn/deconv"
    return {
        "position": {"dense": source.dense("decoder_pos/dense")},
        **{f"deconv{i}": source.transposed(f"{prefix}{i}") for i in range(source.layers(prefix))},
    }
