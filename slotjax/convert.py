"""Weights of the original TF2 implementation, for slotjax's models."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from slotjax.errors import UserError


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
    source = _Weights({name.removeprefix("weight/"): np.asarray(array) for name, array in weights.items()})
    params = {"encoder": _encoder(source), "attention": _attention(source)}
    if source.layers("mlp_classifier/"):
        params["head"] = {f"dense{i}": source.dense(f"mlp_classifier/dense{i}") for i in range(2)}
    else:
        params["decoder"] = _decoder(source)
    source.check_empty()
    return params


class _Weights:
    """Hands out each weight once, so that what is left over shows."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def take(self, name: str, *axes: int):
        """The weight, which has one of these numbers of axes."""
        if name not in self.arrays:
            raise UserError(
                f"weights: {name!r} is missing; expected the original's names, encoder_cnn/conv0/kernel and so on"
            )
        array = self.arrays.pop(name)
        if array.dtype.kind not in "fiu" or array.ndim not in axes or 0 in array.shape:
            raise UserError(f"weights: {name!r} is {array.dtype}{list(array.shape)}, unlike the original's")
        return jnp.asarray(array, jnp.float32)

    def dense(self, name: str) -> dict:
        return {"kernel": self.take(f"{name}/kernel", 2, 4), "bias": self.take(f"{name}/bias", 1)}

    def norm(self, name: str) -> dict:
        return {"scale": self.take(f"{name}/gamma", 1), "bias": self.take(f"{name}/beta", 1)}

    def transposed(self, name: str) -> dict:
        return {
            "kernel": self.take(f"{name}/kernel", 4)[::-1, ::-1].transpose(0, 1, 3, 2),
            "bias": self.take(f"{name}/bias", 1),
        }

    def layers(self, prefix: str) -> int:
        return sum(name.startswith(prefix) and name.endswith("/kernel") for name in self.arrays)

    def check_empty(self) -> None:
        if self.arrays:
            raise UserError(f"weights: nothing in the model takes {', '.join(sorted(self.arrays))}")


def _encoder(source: _Weights) -> dict:
    convolutions = {f"conv{i}": source.dense(f"encoder_cnn/conv{i}") for i in range(source.layers("encoder_cnn/conv"))}
    return {
        **convolutions,
        "position": {"dense": source.dense("encoder_pos/dense")},
        "norm": source.norm("layer_norm"),
        "dense0": source.dense("mlp/dense0"),
        "dense1": source.dense("mlp/dense1"),
    }


def _attention(source: _Weights) -> dict:
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


def _decoder(source: _Weights) -> dict:
    prefix = "decoder_cnn/deconv"
    return {
        "position": {"dense": source.dense("decoder_pos/dense")},
        **{f"deconv{i}": source.transposed(f"{prefix}{i}") for i in range(source.layers(prefix))},
    }
