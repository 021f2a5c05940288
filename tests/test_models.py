"""Models built from configs: equal when their numbers are, counted, and refused where they cannot work."""

import copy
import json
import subprocess
import sys
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT, compose, config_file, config_of, images_of
from ml_collections import ConfigDict

import slotjax
from slotjax.config import disk
from slotjax.errors import UserError
from slotjax.models import ObjectDiscovery
from slotjax.models.build import fields_of
from slotjax.nn import cpu
from slotjax.nn.decoders.mlp import OwnPlaceLayer
from slotjax.nn.encoders import ENCODERS, CNNEncoder

PARAMETERS = {  # per config and variant; a change of a model shows here
    "clevr": 890_308,
    "clevr:clevr10": 890_308,
    "clevr:small": 600_576,
    "clevr:clevr10,small": 600_832,
    "clevr:small,tiny": 15_584,
    "clevr:isa": 907_524,
    "clevr:isa,tiny": 16_956,
    "clevr:textured,small": 600_832,
    "clevr:tiny": 12_556,
    "clevr_set": 380_755,
    "clevr_set:small": 124_627,
    "clevr_set:tiny": 6_355,
    "features": 98_775_041,
    "features:autoregressive": 127_052_544,
    "features:spot,tiny": 31_152,
    "features:mixer": 93_928_960,
    "features:mixer,tiny": 28_832,
    "features:student,tiny": 25_073,
    "features:vits14": 33_965_825,
    "features:small": 86_241_601,
    "features:tiny": 24_993,
    "folder": 787_844,
    "folder:small": 304_736,
    "folder:tiny": 12_556,
    "multi_dsprites": 235_812,
    "multi_dsprites:tiny": 9_340,
    "multi_dsprites:binarized": 235_812,
    "multi_dsprites:small": 527_328,
    "multi_dsprites:small,tiny": 13_008,
    "quick": 300_000,
    "quick:tiny": 12_384,
    "video": 854_180,
    "video:movi,savipp": 23_131_525,
    "video:movi": 886_948,
    "video:movi,savipp,tiny": 156_613,
    "video:savi": 886_948,  # the original keeps its two grids, 8,320 numbers, as parameters too
    "video:savi,tiny": 34_292,
    "video:small": 300_000,
    "video:small,clevr": 304_736,
    "video:small,clevr,tiny": 12_992,
    "video:small,tiny": 12_384,
    "video:tiny": 29_076,
    "tetrominoes": 235_812,
    "tetrominoes:isa": 252_836,
    "tetrominoes:small": 304_580,
    "tetrominoes:small,tiny": 12_980,
    "tetrominoes:tiny": 9_340,
}


def model_config(name: str) -> ConfigDict:
    return config_of(name).model


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    model = slotjax.build_model(model_config(name))
    params = jax.eval_shape(lambda key: slotjax.init(model, key, images_of(model)), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[name]


@pytest.mark.parametrize("variants", ["masks,clevr10", "small,clevr10", "bf16,small,masks"])
def test_the_order_of_variants_does_not_matter(variants):
    file = config_file("clevr")
    one, other = (file.get_config(",".join(names)) for names in (variants.split(","), variants.split(",")[::-1]))
    assert one.to_dict() == other.to_dict() != file.get_config(variants.split(",")[0]).to_dict()


def test_every_config_has_its_counts_pinned():
    names = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"__init__"}
    assert {f"{name}{variant}" for name in names for variant in ("", ":tiny")} <= set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_equals_itself_rebuilt_from_json(name):
    config = model_config(name)
    model = slotjax.build_model(config)
    again = slotjax.build_model(json.loads(json.dumps(config.to_dict())))
    assert model == again and hash(model) == hash(again)
    assert slotjax.build_model(fields_of(model)) == model
    other = copy.deepcopy(config)
    other.num_slots += 1
    assert slotjax.build_model(other) != model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slot_size": 4}, "slot_size"),
        ({"encoder.widths": (4,)}, "model.encoder.widths=.*no such field; it has channels, "),
        ({"decoder.name": "diffusion"}, "model.decoder.name='diffusion': choose one of spatial_broadcast, mlp"),
        ({"name": "unheard_of"}, "model.name='unheard_of': choose one of"),
        ({"dtype": "float8"}, "model.dtype='float8': choose one of float32, bfloat16"),
        ({"initializer.name": "zeros"}, "model.initializer.name='zeros'"),
        ({"resolution": (34, 32)}, r"model.resolution=\(34, 32\): .* multiples of 4; take "),
        ({"encoder.kernel_init": "zeros"}, "model.encoder.kernel_init='zeros': choose one of glorot, he"),
        ({"encoder.groups": 3}, r"model.encoder.groups=3: must divide each of model.encoder.channels=\(8, 8\); 0 for"),
        ({"encoder.groups": -4}, "model.encoder.groups=-4: must be at least 0"),
        ({"num_slots": 0}, "model.num_slots=0: must be at least 1"),
        ({"num_iterations": 0}, "model.num_iterations=0"),
        ({"normalize": "pixels"}, "normalize='pixels'"),
    ],
)
def test_impossible_models_are_named(change, message):
    config = model_config("clevr:tiny")
    with config.unlocked():
        config.update_from_flattened_dict(change)
    with pytest.raises(ValueError, match=message):
        slotjax.build_model(config)


def test_a_part_of_ones_own_that_lacks_something_is_named(monkeypatch):
    class Flat(nn.Module):
        dtype: Any = jnp.float32

        def __call__(self, images):
            return images.reshape(images.shape[0], -1, 3)

    monkeypatch.setitem(ENCODERS, "flat", Flat)
    config = model_config("clevr:tiny")
    config.encoder = ConfigDict({"name": "flat"})
    with pytest.raises(ValueError, match=r"model.encoder: Flat has no grid, check; see slotjax.nn.encoders.Encoder"):
        slotjax.build_model(config)


def test_a_part_of_ones_own_cannot_be_built_again_by_name():
    class Mine(CNNEncoder):
        pass

    model = slotjax.build_model(config_of("clevr:tiny").model)
    with pytest.raises(UserError, match="model.encoder: Mine is not in the library, which has cnn"):
        fields_of(model.clone(encoder=Mine(channels=(8,), kernels=(5,), strides=(1,), mlp_dim=8)))
    default = fields_of(model.clone(attention=model.attention.clone(initializer=None)))
    assert slotjax.build_model(default) == model


def test_composition_weighs_components_with_a_softmax():
    components = np.stack([np.full((1, 2, 2, 3), value, np.float32) for value in (-1, 0.5)], 1)
    logits = np.zeros((1, 2, 2, 2), np.float32)
    logits[:, 1, 0, 0] = np.log(3)
    out = jax.device_get(jax.jit(compose)(components, logits))
    np.testing.assert_allclose(out.masks.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(out.masks[0, 1], [[0.75, 0.5], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(out.reconstruction[0, ..., 0], [[0.125, -0.25], [-0.25, -0.25]], atol=1e-6)


def test_the_mlp_decoder_draws_at_full_resolution():
    config = model_config("clevr:tiny")
    config.decoder = ConfigDict({"name": "mlp", "hidden": (8, 8), "patch": 4, "frequencies": 2})
    model = slotjax.build_model(config)
    assert isinstance(model, ObjectDiscovery)
    params = slotjax.init(model, jax.random.key(0), images_of(model))
    out = slotjax.api.jitted_apply(model, params, images_of(model), jax.random.key(1))
    assert out.reconstruction.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(np.asarray(out.masks).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False], ids=["one grid", "a grid for each slot"])
def test_places_are_mapped_by_each_slots_own_kernel(shared):
    random = np.random.default_rng(0)
    slots, sizes = random.normal(size=(2, 5)).astype(np.float32), random.normal(size=(2, 1)).astype(np.float32)
    grid = random.normal(size=(2, 3, 4, 6)[shared:]).astype(np.float32)
    layer = OwnPlaceLayer()
    params = jax.device_get(jax.jit(layer.init, static_argnums=4)(jax.random.key(0), grid, slots, sizes, 7)["params"])
    params = jax.tree.map(lambda x: x + np.float32(0.1) * random.normal(size=x.shape).astype(np.float32), params)
    found = np.asarray(jax.jit(layer.apply, static_argnums=4)({"params": params}, grid, slots, sizes, 7))
    assert found.shape == (2, 3, 4, 7)
    for i in range(2):
        deviations = (slots[i] - slots[i].mean()) / np.sqrt(slots[i].var() + 1e-6)
        said = np.append(deviations * params["norm"]["scale"] + params["norm"]["bias"], sizes[i])
        kernel = params["kernel"] + (said @ params["own"]["kernel"] + params["own"]["bias"]).reshape(6, 7)
        np.testing.assert_allclose(found[i], (grid if shared else grid[i]) @ kernel, rtol=1e-4, atol=1e-5)


def test_a_config_that_leaves_fields_out_has_their_defaults():
    fields = config_of("clevr:small").to_dict()
    del fields["model"]["decoder"]["frame"], fields["model"]["encoder"]["kernel"], fields["train"]["on_nonfinite"]
    config = disk.from_fields(fields)
    assert config.model.decoder.frame == "picture" and config.model.encoder.kernel == 3
    assert config.train.on_nonfinite == "stop" and config.train.losses.chroma == 0.0 != config.train.losses.mse


def test_models_say_what_they_take():
    for name, side in (("quick", 32), ("clevr_set", 128)):
        model = slotjax.build_model(model_config(name))
        assert model.inputs == {"image": jax.ShapeDtypeStruct((side, side, 3), jnp.float32)}


def test_plain_layers_have_forward_derivatives_and_equal_the_fast_ones():
    model = slotjax.build_model(model_config("clevr:tiny"))
    params, images = slotjax.init(model, jax.random.key(0), images_of(model)), images_of(model)

    def loss(scale):
        out = slotjax.apply(model, jax.tree.map(lambda x: scale * x, params), images, jax.random.key(1))
        return ((out.reconstruction - out.target) ** 2).mean()

    fast, backward = jax.jit(jax.value_and_grad(loss))(1.0)
    with cpu.plain():
        plain, forward = jax.jit(lambda x: jax.jvp(loss, (x,), (1.0,)))(1.0)
    np.testing.assert_allclose((plain, forward), (fast, backward), rtol=2e-4)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jit(lambda x: jax.jvp(loss, (x,), (x,))).lower(1.0)


@partial(jax.jit, static_argnums=0)
def jitted_look(encoder, params, images):
    out, seen = encoder.apply(params, images, capture_intermediates=lambda module, _: module.name != "position")
    return out, seen["intermediates"]


def looked_into(encoder, params, images):
    """What an encoder returns, and what its layers do, by their names."""
    return jax.device_get(jitted_look(encoder, params, images))


def test_groups_are_measured_against_their_own_picture():
    images = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    encoder = CNNEncoder((6,), (3,), (1,), mlp_dim=4, groups=2)
    params = jax.jit(encoder.init)(jax.random.key(0), images)
    out, seen = looked_into(encoder, params, images)
    before, after = (seen[name]["__call__"][0] for name in ("conv0", "group_norm0"))
    groups = before.reshape(2, 8, 8, 2, 3)
    plain = (groups - groups.mean((1, 2, 4), keepdims=True)) / np.sqrt(groups.var((1, 2, 4), keepdims=True) + 1e-3)
    np.testing.assert_allclose(after.reshape(groups.shape), plain, atol=1e-5)
    np.testing.assert_allclose(out[1:], jax.jit(encoder.apply)(params, images[1:]), atol=1e-5)


def test_he_kernels_keep_the_strength_of_the_picture():
    """Glorot's let it fade, so that tokens begin as places."""

    def strength(kernel_init):
        config = model_config("quick")
        config.encoder.kernel_init = kernel_init
        encoder = slotjax.build_model(config).encoder
        images = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
        _, seen = looked_into(encoder, jax.jit(encoder.init)(jax.random.key(0), images), images)
        features = np.maximum(seen["conv2"]["__call__"][0], 0)
        return np.sqrt((features**2).mean() / (images**2).mean())

    assert strength("glorot") < 0.3
    assert 0.7 < strength("he") < 1.5


@pytest.mark.parametrize("name", [pytest.param("clevr:tiny", marks=pytest.mark.slow), "quick:tiny"])
def test_rematerialising_changes_memory_only(name):
    config = model_config(name)
    plain = slotjax.build_model(config)
    config.remat = True
    thrifty, images = slotjax.build_model(config), images_of(plain)
    params = slotjax.init(thrifty, jax.random.key(0), images)
    assert jax.tree.structure(params) == jax.tree.structure(slotjax.init(plain, jax.random.key(0), images))

    def run(model):
        def loss(params):
            out = slotjax.apply(model, params, images, jax.random.key(1))
            return ((out.reconstruction - images) ** 2).mean()

        residuals = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
        kept = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(residuals))
        return jax.jit(jax.value_and_grad(loss))(params), kept

    (a, kept), (b, kept_less) = run(plain), run(thrifty)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)
    assert kept_less < kept


def test_bfloat16_outputs_are_close_to_float32():
    config = model_config("clevr:tiny")
    exact = slotjax.build_model(config)
    config.dtype = "bfloat16"
    rough = slotjax.build_model(config)
    params, images = slotjax.init(exact, jax.random.key(0), images_of(exact)), images_of(exact)
    apply = jax.jit(slotjax.apply, static_argnames="model")
    a, b = (apply(model, params, images, jax.random.key(1)) for model in (exact, rough))
    for name in ("slots", "attention", "masks", "reconstruction"):
        assert getattr(b, name).dtype == jnp.float32
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), atol=0.06, err_msg=name)


def test_importing_slotjax_brings_no_data_or_checkpoint_libraries():
    """Those are slow to import, and whoever only applies a model should not wait for them."""
    heavy = ("tensorflow_datasets", "tensorflow", "grain", "orbax", "matplotlib", "tensorboardX")
    code = f"import sys, slotjax; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
