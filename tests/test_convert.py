"""Weights of the original, in its layouts, become parameters of our models, or an error says which does not."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import config_of, images_of

import slotjax
from slotjax import convert, pack
from slotjax.api import jitted_apply
from slotjax.config.command_line import read_config
from slotjax.errors import UserError
from slotjax.nn.cpu.convolution import conv_transpose

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def keras_shapes() -> dict[str, tuple[int, ...]]:
    """The original's weights for `configs/clevr.py`."""
    shapes = {f"encoder_cnn/conv{i}": (5, 5, 64 if i else 3, 64) for i in range(4)}
    shapes |= {
        "encoder_pos/dense": (4, 64),
        "mlp/dense0": (64, 64),
        "mlp/dense1": (64, 64),
        "decoder_pos/dense": (4, 64),
    }
    shapes |= {"slot_attention/mlp/dense0": (64, 128), "slot_attention/mlp/dense1": (128, 64)}
    biases = {f"{name}/bias": shape[-1:] for name, shape in shapes.items()}
    shapes |= {f"decoder_cnn/deconv{i}": (5, 5, 64, 64) for i in range(5)} | {"decoder_cnn/deconv5": (3, 3, 4, 64)}
    biases |= {f"decoder_cnn/deconv{i}/bias": (64,) for i in range(5)} | {"decoder_cnn/deconv5/bias": (4,)}
    shapes |= {f"slot_attention/project_{x}": (64, 64) for x in "qkv"}
    kernels = {f"{name}/kernel": shape for name, shape in shapes.items()}
    norms = ["layer_norm", *(f"slot_attention/norm_{x}" for x in ("inputs", "slots", "mlp"))]
    other = {f"{name}/{part}": (64,) for name in norms for part in ("gamma", "beta")}
    other |= {f"slot_attention/{name}": (1, 1, 64) for name in ("slots_mu", "slots_log_sigma")}
    other |= {f"slot_attention/gru/{name}": (64, 192) for name in ("kernel", "recurrent_kernel")}
    return kernels | biases | other | {"slot_attention/gru/bias": (2, 192)}


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in keras_shapes().items()}


@pytest.mark.parametrize("prefix", ["", "weight/"])
def test_gives_the_parameters_of_the_clevr_model(weights, prefix):
    model = slotjax.build_model(config_of("clevr").model)
    images = jnp.zeros((1, 128, 128, 3))
    expected = jax.eval_shape(lambda key: slotjax.init(model, key, images), jax.random.key(0))
    params = convert.from_tf2({prefix + name: array for name, array in weights.items()})
    ours = jax.tree.map(lambda x: (x.shape, str(x.dtype)), params)
    assert ours == jax.tree.map(lambda x: (x.shape, str(x.dtype)), expected)


def test_gives_the_parameters_of_the_set_prediction_model(weights):
    model = slotjax.build_model(config_of("clevr_set").model)
    shapes = {"dense0/kernel": (64, 64), "dense0/bias": (64,), "dense1/kernel": (64, 19), "dense1/bias": (19,)}
    of_set = {name: array for name, array in weights.items() if not name.startswith("decoder")}
    of_set |= {f"mlp_classifier/{name}": np.ones(shape) for name, shape in shapes.items()}
    expected = jax.eval_shape(lambda key: slotjax.init(model, key, jnp.zeros((1, 128, 128, 3))), jax.random.key(0))
    ours = jax.tree.map(lambda x: (x.shape, str(x.dtype)), convert.from_tf2(of_set))
    assert ours == jax.tree.map(lambda x: (x.shape, str(x.dtype)), expected)
    with pytest.raises(ValueError, match="mlp_classifier/dense1/bias' is missing"):
        convert.from_tf2({name: array for name, array in of_set.items() if name != "mlp_classifier/dense1/bias"})
    with pytest.raises(ValueError, match="nothing in the model takes decoder_cnn"):
        convert.from_tf2(weights | of_set)


def test_every_number_arrives(weights):
    params = convert.from_tf2(weights)
    ours = np.sort(np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)]))
    np.testing.assert_array_equal(ours, np.sort(np.concatenate([x.ravel() for x in weights.values()])))


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_kernels_mean_what_they_meant_to_keras(weights, stride):
    """Keras' layer is the gradient of a SAME convolution with the same kernel [h, w, out, in]."""
    kernel = convert.from_tf2(weights)["decoder"]["deconv5"]["kernel"]
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(1, 6, 5, 64)), jnp.float32)

    def convolution(x):
        original = weights["decoder_cnn/deconv5/kernel"]
        return jax.lax.conv_general_dilated(x, original, (stride, stride), "SAME", dimension_numbers=DIMENSIONS)

    (expected,) = jax.vjp(convolution, jnp.zeros((1, 6 * stride, 5 * stride, 4)))[1](inputs)
    np.testing.assert_allclose(conv_transpose(inputs, kernel, stride), expected, atol=1e-3)


def test_a_missing_weight_is_named(weights):
    short = {name: array for name, array in weights.items() if name != "mlp/dense1/bias"}
    with pytest.raises(ValueError, match="weights: 'mlp/dense1/bias' is missing"):
        convert.from_tf2(short)


def test_a_weight_left_over_is_named(weights):
    with pytest.raises(ValueError, match="nothing in the model takes decoder_cnn/extra"):
        convert.from_tf2(weights | {"decoder_cnn/extra": np.zeros(3)})


TF2 = Path(__file__).parent / "data" / "tf2"  # write.py there wrote it, with TensorFlow


@pytest.mark.parametrize("name", ["discovery", "set_prediction"])
def test_a_checkpoint_of_tensorflow_is_read(name):
    weights = convert.read_tf2(TF2 / f"{name}-1")
    with np.load(TF2 / f"{name}.npz") as expected:
        assert weights.keys() == set(expected)
        for key, array in weights.items():
            np.testing.assert_array_equal(array, expected[key], strict=True)
    for path in (f"{TF2}/{name}-1.index", f"{TF2}/{name}-1.data-00000-of-00001"):
        assert convert.read_tf2(path).keys() == weights.keys()


def test_a_checkpoint_in_shards_and_one_of_several_types():
    whole, sharded, types = (convert.read_tf2(TF2 / f"{name}-1") for name in ("set_prediction", "sharded", "types"))
    assert whole.keys() == sharded.keys() == types.keys()
    for key, array in whole.items():
        np.testing.assert_array_equal(sharded[key], array, strict=True)
        np.testing.assert_array_equal(types[key], array.astype(types[key].dtype), strict=True)
    assert {str(array.dtype) for array in types.values()} == {"float32", "bfloat16", "float16", "float64"}
    widened = jax.tree.map(
        lambda x, y: (x.dtype == y.dtype, np.allclose(x, y, rtol=2**-8)), *map(convert.from_tf2, (whole, types))
    )
    assert all(jax.tree.leaves(widened))


CONFIG = """
from slotjax.config.variants import experiment

ENCODER = {"name": "cnn", "channels": (4, 4), "kernels": (3, 3), "strides": (1, 2), "mlp_dim": 8}
DECODER = {"name": "spatial_broadcast", "channels": (4,), "kernels": (3,), "strides": (2,), "last_kernel": 3}
KINDS = {
    "discovery": {"name": "object_discovery", "decoder": DECODER},
    "set_prediction": {"name": "set_prediction", "head": {"name": "mlp", "hidden": (10,)}},
}

def get_config(kind):
    sizes = {"resolution": (16, 16), "num_slots": 3, "slot_dim": 6, "mlp_dim": 10}
    return experiment({**sizes, "encoder": ENCODER, **KINDS[kind]}, data={"name": "clevr"})
"""


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Packs one of the checkpoints with one of the configs: the file."""
    (tmp_path / "small.py").write_text(CONFIG)

    def run(name, kind, *flags):
        output = tmp_path / "x.safetensors"
        given = ["--tf2", f"{TF2}/{name}-1", "--config", f"{tmp_path}/small.py:{kind}", "--output", str(output)]
        monkeypatch.setattr(sys, "argv", ["pack", *given, *flags])
        pack.main()
        return output

    return run


@pytest.mark.parametrize("kind", ["discovery", "set_prediction"])
def test_a_packed_checkpoint_computes_what_its_weights_do(packed, tmp_path, kind):
    model, params = slotjax.load(packed(kind, kind))
    assert model == slotjax.build_model(read_config(tmp_path / "small.py", kind).model)
    with np.load(TF2 / f"{kind}.npz") as arrays:
        expected = convert.from_tf2(dict(arrays))
    images, key = images_of(model), jax.random.key(0)
    ours, theirs = (jitted_apply(model, tree, images, key) for tree in (params, expected))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert np.ptp(ours.reconstruction if kind == "discovery" else ours.predictions) > 0.01


def test_what_cannot_be_packed(packed, monkeypatch):
    with pytest.raises(UserError, match="--tf2 .*discovery-1: .* are not the model's: .*and the --config of its model"):
        packed("discovery", "set_prediction")
    with pytest.raises(UserError, match="gone-1: no such checkpoint"):
        packed("gone", "discovery")
    for flags in (["--tf2", "x"], ["--workdir", "x", "--config", "y"]):
        monkeypatch.setattr(sys, "argv", ["pack", "--output", "x.safetensors", *flags])
        with pytest.raises(UserError, match="--tf2 and --config go together"):
            pack.main()


def test_many_weights_left_over_are_counted(weights):
    with pytest.raises(ValueError, match="nothing in the model takes x0, x1, x2, x3, x4 and 2 more"):
        convert.from_tf2(weights | {f"x{i}": np.zeros(3) for i in range(7)})
