"""Weights of the program of SAVi and SAVi++ (Kipf et al., 2022; Elsayed et al., 2022)."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from slotjax.convert.weights import Weights

EXAMPLE = "FrameEncoder_0/CNN_0/conv_0/kernel"


def from_savi(weights: Mapping[str, np.ndarray]) -> dict:
    """Parameters of `configs/video.py:savi`'s model, and others of its parts, from the original's weights.

    Args:
      weights: {name: array} with Flax's layouts and the names `FrameEncoder_0/CNN_0/conv_0/kernel`,
        `SlotAttention_0/GRU_0/GRUCell_0/ir/kernel` and so on; a prefix `param/` is allowed, other entries are an error.
        Slots start from cues where there is a `CoordinateEncoderStateInit_0`, from what was learned where there is a
        `ParamStateInit_0`, and else from the standard normal distribution.

    Returns:
      The parameter tree, float32. Of several targets the channels follow each other in the order of the targets' names.

    Raises:
      UserError: a weight is missing or left over.
    """
    source = Weights(weights, "param/", EXAMPLE)
    params = {
        "encoder": _encoder(source),
        "attention": _corrector(source),
        "predictor": _block(source, "TransformerBlock_0"),
        "decoder": _decoder(source),
    }
    source.check_empty()
    return params


def _encoder(source: Weights) -> dict:
    name, positions = "FrameEncoder_0", "FrameEncoder_0/PositionEmbedding_0"
    source.drop(f"{positions}/pos_embedding")  # a constant
    count = source.layers(f"{name}/CNN_0/conv_")
    return {
        **{f"conv{i}": source.dense(f"{name}/CNN_0/conv_{i}") for i in range(count)},
        **(_residual(source, name) if source.layers(f"{name}/ResNet_0/") else {}),
        "position": source.dense(f"{positions}/dense_pe_0"),
        "norm": _norm(source, f"{positions}/MLP_0/LayerNorm_0"),
        **_mlp(source, f"{positions}/MLP_0"),
    }


def _residual(source: Weights, name: str) -> dict:
    """The residual network and the transformer of SAVi++."""
    root, transformer = f"{name}/ResNet_0", f"{name}/Transformer_0"
    found = [re.match(rf"({root}/stage(\d+)/block(\d+))/conv1/kernel", key) for key in source.arrays]
    places = [(int(place[2]) - 1, int(place[3]) - 1, place[1]) for place in found if place]
    count = len({key.split("/")[2] for key in source.arrays if key.startswith(f"{transformer}/")})
    return {
        "conv": {"kernel": source.take(f"{root}/init_conv/kernel", 4)},
        "conv_norm": _norm(source, f"{root}/init_bn"),
        **{f"stage{i}_block{j}": _residual_block(source, block) for i, j, block in places},
        "dense2": source.dense(f"{name}/Dense_0"),
        **{f"block{i}": _block(source, f"{transformer}/TransformerBlock{i}") for i in range(count)},
    }


def _residual_block(source: Weights, name: str) -> dict:
    pairs = [("conv1", "bn1"), ("conv2", "bn2"), ("proj_conv", "proj_bn")]  # the last where the shape changes
    pairs = [(conv, norm) for conv, norm in pairs if f"{name}/{conv}/kernel" in source.arrays]
    convolutions = {
        f"conv{i}": {"kernel": source.take(f"{name}/{conv}/kernel", 4)} for i, (conv, _) in enumerate(pairs)
    }
    return convolutions | {f"norm{i}": _norm(source, f"{name}/{norm}") for i, (_, norm) in enumerate(pairs)}


def _corrector(source: Weights) -> dict:
    name = "SlotAttention_0"
    cell = f"{name}/GRU_0/GRUCell_0"
    inputs, states = ([source.take(f"{cell}/{kind}{gate}/kernel", 2) for gate in "zrn"] for kind in "ih")
    params: dict[str, Any] = {
        "initializer": _initializer(source),
        "norm_slots": _norm(source, f"{name}/LayerNorm_0"),
        "norm_inputs": _norm(source, f"{name}/LayerNorm_1"),
        **{f"project_{x}": _flat(source.take(f"{name}/general_dense_{x}_0/kernel", 2, 3)) for x in "qkv"},
        "gru": {
            "input_kernel": jnp.concatenate(inputs, axis=1),
            "input_bias": jnp.concatenate([source.take(f"{cell}/i{gate}/bias", 1) for gate in "zrn"]),
            "recurrent_kernel": jnp.concatenate(states, axis=1),
            "recurrent_bias": source.take(f"{cell}/hn/bias", 1),
        },
    }
    if source.layers(f"{name}/MLP_0/"):
        params["norm_mlp"] = _norm(source, f"{name}/MLP_0/LayerNorm_0")
        layers = _mlp(source, f"{name}/MLP_0")
        params["mlp"] = {f"{part}{i}": layers[f"dense{i}"][part] for i in range(2) for part in ("kernel", "bias")}
    return params


def _initializer(source: Weights) -> dict:
    if source.layers("CoordinateEncoderStateInit_0/"):
        return _mlp(source, "CoordinateEncoderStateInit_0/MLP_0")
    if "ParamStateInit_0/state_init" in source.arrays:
        return {"mu": source.take("ParamStateInit_0/state_init", 2)[None]}
    zeros = jnp.zeros((1, 1, source.arrays["SlotAttention_0/LayerNorm_0/scale"].size), jnp.float32)
    return {"mu": zeros, "log_sigma": zeros}


def _block(source: Weights, name: str) -> dict:
    attention = f"{name}/MultiHeadDotProductAttention_0"
    heads = {x: _layer(source, f"{attention}/{x}", (3,), (2,)) for x in ("query", "key", "value")}
    return {
        "attention": heads | {"out": _layer(source, f"{attention}/out", (3,), (1,))},
        **{f"norm{i}": _norm(source, f"{name}/LayerNorm_{i}") for i in range(2)},
        **_mlp(source, f"{name}/MLP_0"),
    }


def _decoder(source: Weights) -> dict:
    name = "SpatialBroadcastDecoder_0"
    source.drop(f"{name}/PositionEmbedding_0/pos_embedding")  # a constant
    count = source.layers(f"{name}/CNN_0/conv_")
    readouts = sorted({key.rpartition("/")[0] for key in source.arrays if key.startswith(f"{name}/Readout_0/")})
    drawn = [source.dense(readout) for readout in readouts]
    return {
        "position": source.dense(f"{name}/PositionEmbedding_0/dense_pe_0"),
        **{f"deconv{i}": source.dense(f"{name}/CNN_0/conv_{i}") for i in range(count)},
        "mask": source.dense(f"{name}/alpha_logits"),
        "readout": {part: jnp.concatenate([layer[part] for layer in drawn], axis=-1) for part in ("kernel", "bias")},
    }


def _layer(source: Weights, name: str, kernel: tuple[int, ...], bias: tuple[int, ...]) -> dict:
    return {"kernel": source.take(f"{name}/kernel", *kernel), "bias": source.take(f"{name}/bias", *bias)}


def _norm(source: Weights, name: str) -> dict:
    return {"scale": source.take(f"{name}/scale", 1), "bias": source.take(f"{name}/bias", 1)}


def _mlp(source: Weights, name: str) -> dict:
    return {f"dense{i}": source.dense(f"{name}/dense_mlp_{i}") for i in range(2)}


def _flat(kernel: Any) -> Any:
    """A kernel [d, heads, width] as [d, heads * width]."""
    return kernel.reshape(kernel.shape[0], -1)
