"""The pure functions over a model: shapes, transforms, and errors before compilation."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import config_of
from PIL import Image

import slotjax
from slotjax import clustering

apply = jax.jit(slotjax.apply, static_argnames=slotjax.STATIC)
BATCH, SLOTS, DIM, SIDE = 4, 7, 16, 32
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def model():
    return slotjax.build_model(config_of("clevr:tiny").model)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (BATCH, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def params(model, images):
    return slotjax.init(model, jax.random.key(0), images)


def normal(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def close(a, b):
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), a, b)


def test_shapes_and_sums(model, params, images):
    out = jax.device_get(apply(model, params, images, KEY))
    tokens = 16 * 16
    assert out.slots.shape == (BATCH, SLOTS, DIM)
    assert out.attention.shape == (BATCH, SLOTS, tokens)
    assert out.masks.shape == (BATCH, SLOTS, SIDE, SIDE)
    assert out.components.shape == (BATCH, SLOTS, SIDE, SIDE, 3)
    assert out.reconstruction.shape == images.shape
    assert out.slots_history is None and out.predictions is None
    np.testing.assert_allclose(out.masks.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(out.attention.sum(1), 1, atol=1e-5)
    close(out.reconstruction, (out.masks[..., None] * out.components).sum(1))


def test_other_numbers_than_in_training_and_their_history(model, params, images):
    out = jax.device_get(apply(model, params, images, KEY, num_slots=4, num_iterations=5, return_history=True))
    assert out.slots_history.shape == (BATCH, 5, 4, DIM)
    assert out.attention_history.shape == (BATCH, 5, 4, 256)
    close(out.slots_history[:, -1], out.slots)
    close(out.attention_history[:, -1], out.attention)
    shorter = apply(model, params, images, KEY, num_slots=4, num_iterations=2)
    close(out.slots_history[:, 1], shorter.slots)


def test_initial_slots_replace_the_draw_and_permute_with_the_output(model, params, images):
    start = normal(BATCH, 3, DIM)
    order = np.array([2, 0, 1])
    starts = start, start[:, order]
    out, permuted = (jax.device_get(apply(model, params, images, initial_slots=slots)) for slots in starts)
    for name in ("slots", "attention", "masks", "components"):
        close(getattr(permuted, name), getattr(out, name)[:, order])
    close(permuted.reconstruction, out.reconstruction)
    with_key = apply(model, params, images, KEY, initial_slots=start)
    close(with_key, out)


def test_the_draw_follows_the_key(model, params, images):
    first, again, other = (np.asarray(apply(model, params, images, jax.random.key(i)).slots) for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_one_key_for_each_image_makes_images_independent_of_their_batch(model, params, images):
    keys = jax.random.split(KEY, BATCH)
    whole = jax.device_get(apply(model, params, images, keys))
    half = apply(model, params, images[2:], keys[2:])
    close(half, jax.tree.map(lambda x: x[2:], whole))


def test_encode_and_decode_are_the_halves_of_apply(model, params, images):
    start = normal(BATCH, SLOTS, DIM)
    tokens = jax.jit(slotjax.encode, static_argnames="model")(model, params, images)
    attend = jax.jit(slotjax.slot_attention, static_argnums=3)
    slots, attention = attend(params["attention"], tokens, start, model.attention.num_iterations)
    decoded = jax.jit(slotjax.decode, static_argnames="model")(model, params, slots)
    out = apply(model, params, images, initial_slots=start)
    assert tokens.shape == (BATCH, 256, 16)
    close((slots, attention, decoded.masks), (out.slots, out.attention, out.masks))
    close((decoded.components, decoded.reconstruction), (out.components, out.reconstruction))


def jitted_vmap(function, in_axes):
    return jax.jit(jax.vmap(function, in_axes))


def test_pmap_and_vmap_equal_one_call(model, params, images):
    keys = jax.random.split(KEY, BATCH)
    expected = apply(model, params, images, keys, num_slots=5, return_history=True)
    function = partial(slotjax.apply, model, num_slots=5, return_history=True)
    for transform in (jax.pmap, jitted_vmap):
        out = jax.device_get(transform(function, in_axes=(None, 0, 0))(params, images[:, None], keys[:, None]))
        close(jax.tree.map(lambda x: x[:, 0], out), expected)
        tokens = transform(partial(slotjax.encode, model), in_axes=(None, 0))(params, images[:, None])
        slots = np.asarray(expected.slots)[:, None]
        decoded = transform(partial(slotjax.decode, model), in_axes=(None, 0))(params, slots)
        close(np.asarray(decoded.masks)[:, 0], expected.masks)
        assert tokens.shape == (BATCH, 1, 256, 16)


def test_every_parameter_has_a_gradient(model, params, images):
    def loss(params):
        out = slotjax.apply(model, params, images, KEY)
        return ((out.reconstruction - images) ** 2).mean()

    gradients = jax.device_get(jax.jit(jax.grad(loss))(params))
    gradients["attention"]["norm_slots"].pop("bias")  # a shift common to all slots cancels in the softmax
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(gradient).max() > 1e-9, jax.tree_util.keystr(path)


def test_slots_may_be_lists(model, params, images):
    start = normal(BATCH, 3, DIM)
    decoded = jax.jit(lambda params: slotjax.decode(model, params, start.tolist()))(params)
    out = jax.jit(lambda params: slotjax.apply(model, params, images, initial_slots=start.tolist()))(params)
    assert decoded.masks.shape == out.masks.shape == (BATCH, 3, SIDE, SIDE)


IMAGES = jnp.zeros((2, SIDE, SIDE, 3))


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        (IMAGES, {}, r"key=None: pass a jax.random.key .* or initial_slots \[b, k, d\]"),
        (IMAGES, {"key": KEY, "num_slots": 0}, "num_slots=0: must be at least 1"),
        (IMAGES, {"key": KEY, "num_iterations": 0}, "num_iterations=0: must be at least 1"),
        (IMAGES, {"num_slots": 4, "initial_slots": jnp.zeros((2, 3, DIM))}, "num_slots=4: initial_slots holds 3"),
        (IMAGES, {"initial_slots": jnp.zeros((2, 3, 8))}, r"slots of shape \(2, 3, 8\): expected \[2, k, 16\]"),
        (IMAGES, {"initial_slots": jnp.zeros((1, 3, DIM))}, r"expected \[2, k, 16\]"),
        (IMAGES[:, :16], {"key": KEY}, r"images of shape \(2, 16, 32, 3\): this model takes \[b, 32, 32, 3\]"),
        (IMAGES[0], {"key": KEY}, r"images of shape \(32, 32, 3\)"),
        (IMAGES, {"key": jax.random.split(KEY, 3)}, "key: holds 3 keys for 2 images"),
    ],
)
def test_impossible_requests_are_named_before_compilation(model, params, pictures, options, message):
    with pytest.raises(ValueError, match=message):
        apply(model, params, pictures, **options)


@pytest.mark.parametrize("name", ["clevr:tiny", "clevr:small,tiny", "clevr_set:tiny"])
def test_no_images_give_no_outputs(name):
    model = slotjax.build_model(config_of(name).model)
    params, nothing = slotjax.init(model, jax.random.key(0), IMAGES), IMAGES[:0]
    out = apply(model, params, nothing, KEY)
    assert out.slots.shape[0] == 0
    assert jax.jit(slotjax.encode, static_argnums=0)(model, params, nothing).shape[0] == 0
    if out.masks is not None:
        assert out.masks.shape == (0, 7, SIDE, SIDE)
        assert jax.jit(slotjax.responsibilities)(out, nothing).shape == (0, 7, SIDE, SIDE)


def test_a_number_is_no_key(model):
    with pytest.raises(slotjax.errors.UserError, match=r"key=0: pass one key, such as jax.random.key\(0\)"):
        slotjax.init(model, 0, IMAGES)


def test_responsibilities_are_the_e_step_of_a_mixture(model, params, images):
    out = apply(model, params, images, KEY)
    sigma = 0.4
    likelihood = np.exp(-((np.asarray(images)[:, None] - np.asarray(out.components)) ** 2).sum(-1) / (2 * sigma**2))
    expected = np.asarray(out.masks) * likelihood
    expected /= expected.sum(1, keepdims=True)
    responsibilities = jax.jit(slotjax.responsibilities)
    found = np.asarray(responsibilities(out, images, sigma=sigma))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    close(responsibilities(out, images, sigma=1e6), out.masks)
    close(responsibilities(out.replace(mask_logits=None), images, sigma=sigma), found)


def test_equal_masks_give_the_shares_of_soft_k_means():
    """The mixture whose means the slots draw, each of one colour: its E-step is that of soft k-means."""
    colours, sigma = jnp.asarray([[-0.5, 0.0, 0.2], [0.3, 0.1, -0.2], [0.9, -0.9, 0.0]]), 0.4
    images = normal(1, 4, 5, 3) / 3
    components = jnp.broadcast_to(colours[None, :, None, None], (1, 3, 4, 5, 3))
    out = slotjax.Output(masks=jnp.full((1, 3, 4, 5), 1 / 3), components=components)
    shares = clustering.responsibilities(images.reshape(-1, 3), colours, 2 * sigma**2)
    found = np.asarray(jax.jit(slotjax.responsibilities)(out, images, sigma=sigma))
    np.testing.assert_allclose(found[0].reshape(3, -1).T, shares, atol=1e-5)


def test_segments_are_at_the_pictures_own_size(model, params, images):
    large = images.repeat(2, 1).repeat(2, 2)
    out = apply(model, params, images, KEY)
    shares = jax.jit(slotjax.responsibilities)
    assert shares(out, large).shape == (BATCH, SLOTS, 2 * SIDE, 2 * SIDE)
    segments = jax.jit(slotjax.segments, static_argnames="model")
    found = segments(model, params, large, KEY)
    assert found.shape == (BATCH, 2 * SIDE, 2 * SIDE) and found.dtype == np.int32
    same = segments(model, params, images, KEY)
    np.testing.assert_array_equal(same, np.asarray(shares(out, images)).argmax(1))


GREY = slotjax.Output(masks=IMAGES[..., 0][:, None], components=IMAGES[:, None])


@pytest.mark.parametrize(
    ("out", "pictures", "sigma", "message"),
    [
        (slotjax.Output(), IMAGES, 0.3, "out.masks: this model has none"),
        (GREY, IMAGES[:1], 0.3, "images of shape"),
        (GREY, IMAGES, 0.0, "sigma=0.0: must be above 0"),
        (GREY, IMAGES, float("nan"), "sigma=nan"),
    ],
)
def test_impossible_responsibilities_are_named(out, pictures, sigma, message):
    with pytest.raises(ValueError, match=message):
        slotjax.responsibilities(out, pictures, sigma=sigma)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((2, SIDE, SIDE, 3), np.uint8), r"images of dtype uint8: give floats in \[-1, 1\]"),
        (np.full((2, SIDE, SIDE, 3), 200.0), "images from 200 to 200: give floats"),
        ([["a"]], "images of dtype <U1: expected real numbers"),
        (0.5, "images of shape"),
    ],
)
def test_pictures_of_another_kind_are_named(model, params, pictures, message):
    for function in (partial(slotjax.apply, key=KEY), slotjax.encode, partial(slotjax.segments, key=KEY)):
        with pytest.raises(ValueError, match=message):
            function(model, params, pictures)


def test_pictures_between_0_and_1_are_remarked(model, params, images):
    with pytest.warns(UserWarning, match=r"models take \[-1, 1\]; pictures in \[0, 1\] are images \* 2 - 1"):
        slotjax.apply(model, params, (images + 1) / 2, KEY)


def test_a_picture_from_a_file_is_what_apply_takes(model, params, tmp_path):
    """The whole of it, squashed; or the middle of it."""
    pixels = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    pixels[:, : SIDE // 2] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    images = slotjax.load_image(tmp_path / "photo.png", model)
    assert images.shape == (1, SIDE, SIDE, 3) and images.dtype == jnp.float32
    assert (images[0, :, 1], images[0, :, -1]) == pytest.approx((1.0, -1.0))
    assert apply(model, params, images, KEY).masks.shape == (1, SLOTS, SIDE, SIDE)
    assert slotjax.load_image(str(tmp_path / "photo.png"), model, crop=True).max() == -1
    with pytest.raises(slotjax.errors.UserError, match="none.png cannot be read"):
        slotjax.load_image(tmp_path / "none.png", model)


def test_what_was_found_is_shown(model, params, images):
    """A row an image, at most so many; of decoded slots what there is."""
    out = apply(model, params, images, KEY)
    whole, two = slotjax.show(out), slotjax.show(out, most=2)
    assert whole.width == two.width and whole.height > 1.9 * two.height
    with_truth = slotjax.show(out, truth=np.zeros((BATCH, SIDE, SIDE), int))
    assert with_truth.width * (4 + SLOTS) == pytest.approx(whole.width * (5 + SLOTS), abs=20)
    decoded = slotjax.show(slotjax.decode(model, params, out.slots[:, 1:]))
    assert decoded.width * (4 + SLOTS) == pytest.approx(whole.width * (2 + SLOTS - 1), abs=40)
    video = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), out)
    assert np.array_equal(np.asarray(slotjax.show(video)), np.asarray(whole))
    assert len(whole._repr_png_()) > 1000  # what a notebook asks for
    with pytest.raises(slotjax.errors.UserError, match="out.masks: this model has none"):
        slotjax.show(slotjax.Output(slots=out.slots))


def test_an_output_can_be_exported(model, params, images):
    run = partial(slotjax.apply, model)
    exported = jax.export.export(jax.jit(run))(params, images, jax.random.key_data(KEY))
    again = jax.export.deserialize(exported.serialize())
    close(again.call(params, images, jax.random.key_data(KEY)).masks, apply(model, params, images, KEY).masks)


def test_more_slots_than_were_learned_is_an_error():
    config = config_of("clevr:tiny").model
    config.initializer.name = "learned"
    model = slotjax.build_model(config)
    params = slotjax.init(model, jax.random.key(0), IMAGES)
    assert apply(model, params, IMAGES, KEY, num_slots=3).slots.shape == (2, 3, DIM)
    with pytest.raises(ValueError, match="num_slots=8: this model learned a start for each of 7 slots"):
        apply(model, params, IMAGES, KEY, num_slots=8)
    out = apply(model, params, IMAGES, initial_slots=jnp.ones((2, 9, DIM)))
    assert out.slots.shape == (2, 9, DIM)


def test_what_is_imported_late_completes_with_tab():
    assert {"apply", "load", "SlotAttention", "STATIC"} <= set(dir(slotjax))
    assert {"scenes", "stored", "batches"} <= set(dir(slotjax.data))
    assert slotjax.data.batches.__name__ == "slotjax.data.batches"
    assert {"from_tf2", "from_torch"} <= set(dir(slotjax.convert))
    with pytest.raises(AttributeError, match="no attribute 'quack'"):
        slotjax.data.quack  # noqa: B018
    for static in slotjax.STATIC:
        assert static in inspect.signature(slotjax.apply).parameters
