"""Where tokens, pixels and slots are, against definitions; a relative decoder draws an object alike wherever it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slotjax
from slotjax.api import jitted_apply
from slotjax.nn.decoders import MLPBroadcastDecoder, SpatialBroadcastDecoder
from slotjax.nn.decoders.mlp import OwnPlaceLayer
from slotjax.nn.frames import LEAST_SPREAD, SlotFrame, attended
from slotjax.nn.layers import pixels
from slotjax.nn.positions import centers, fourier

decode = jax.jit(slotjax.decode, static_argnames="model")
DECODERS = {
    "mlp": {"name": "mlp", "hidden": (8, 8), "patch": 2, "frequencies": 2},
    "spatial_broadcast": {"name": "spatial_broadcast", "channels": (8,), "kernels": (3,), "strides": (2,)},
}


def build(decoder: str):
    encoder = {"name": "cnn", "channels": (8,), "kernels": (3,), "strides": (2,), "mlp_dim": 8}
    own = DECODERS[decoder] | {"frame": "slot"}
    fields = {"resolution": (8, 12), "num_slots": 3, "slot_dim": 8, "mlp_dim": 8, "encoder": encoder, "decoder": own}
    return slotjax.build_model(fields)


@pytest.fixture(scope="module", params=DECODERS)
def trained(request):
    model, random = build(request.param), np.random.default_rng(0)
    images = jnp.asarray(random.uniform(-1, 1, (2, 8, 12, 3)), jnp.float32)
    params = slotjax.init(model, jax.random.key(0), images)
    return model, jax.tree.map(lambda x: x + 0.1 * random.normal(size=x.shape).astype(x.dtype), params), images


def test_centres_are_half_a_pixel_from_the_edges():
    np.testing.assert_allclose(centers(2, 4)[..., 0], [[-0.5] * 4, [0.5] * 4])
    np.testing.assert_allclose(centers(2, 4)[..., 1], [[-0.75, -0.25, 0.25, 0.75]] * 2)


def test_fourier_features_are_octaves_of_both_coordinates():
    point = np.array([0.3, -0.8], np.float32)
    angles = np.pi / 2 * np.array([[0.3, 0.6, 1.2], [-0.8, -1.6, -3.2]])
    waves = np.concatenate([np.sin(angles), np.cos(angles)], -1).ravel()
    np.testing.assert_allclose(fourier(point, 3), np.concatenate([point, waves]), atol=1e-6)


def test_a_frame_is_the_mean_and_the_deviation_of_what_a_slot_attends_to():
    attention = np.random.default_rng(0).uniform(size=(2, 3, 24)).astype(np.float32)
    grid, found_frames = centers(4, 6).reshape(-1, 2), np.asarray(attended(attention, 4, 6))
    for found, weights in zip(found_frames.reshape(-1, 4), attention.reshape(-1, 24), strict=True):
        mean = np.average(grid, axis=0, weights=weights)
        variance = np.average((grid - mean) ** 2, axis=0, weights=weights)
        np.testing.assert_allclose(found, [*mean, *np.sqrt(variance + LEAST_SPREAD**2)], rtol=1e-5, atol=1e-6)


def test_frames_of_a_single_token_and_of_none():
    attention = jnp.zeros((1, 2, 24)).at[0, 0, 8].set(1.0)
    token, nothing = np.asarray(attended(attention, 4, 6))[0]
    np.testing.assert_allclose(token[:2], centers(4, 6)[1, 2], atol=1e-5)
    np.testing.assert_allclose(token[2:], LEAST_SPREAD, atol=1e-3)
    np.testing.assert_allclose(nothing[:2], 0, atol=1e-5)
    flow = jax.grad(lambda attention: attended(attention, 4, 6).sum())(attention)
    assert np.isfinite(flow).all()


def test_relative_coordinates():
    frame = jnp.array([[0.25, -0.5, 0.25, 0.5]])
    found = SlotFrame().coordinates(frame, 4, 2)  # rows at -0.75 to 0.75, columns at -0.5 and 0.5
    np.testing.assert_allclose(found[0, 2], [[0, 0], [0, 2 / 3]], atol=1e-6)
    np.testing.assert_allclose(found[0, 3, 0], [2 / 3, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("decoder", "step"),
    [
        (MLPBroadcastDecoder((16, 16), hidden=(8, 8), patch=2, frequencies=2, frame=SlotFrame()), 2),
        (
            MLPBroadcastDecoder(
                (16, 16), hidden=(8, 8), patch=2, frequencies=2, frame=SlotFrame(), position=OwnPlaceLayer()
            ),
            2,
        ),
        (SpatialBroadcastDecoder((16, 16), (8,), (3,), (1,), frame=SlotFrame()), 1),
    ],
)
def test_a_slot_that_moves_is_drawn_alike_elsewhere(decoder, step):
    slot, inner = np.random.default_rng(0).normal(size=8), slice(5, 11)
    at = np.array([[*slot, 0, 0, 0.2, 0.3], [*slot, 2 * step / 16, -2 * step / 16, 0.2, 0.3]], np.float32)
    params = jax.jit(decoder.init)(jax.random.key(0), at)
    drawn = jax.jit(lambda params: decoder.apply(params, at, None, None, False, method="draw"))(params)
    here, there = np.asarray(pixels(jnp.concatenate([drawn.components, drawn.mask_logits], -2)))
    assert here.std() > 1e-3
    moved = np.roll(here, (step, -step), axis=(0, 1))  # its edges come from the other side, or from SAME padding
    np.testing.assert_allclose(there[inner, inner], moved[inner, inner], atol=1e-5)
    assert np.abs(there - here)[inner, inner].max() > 1e-3


def test_slots_end_in_where_they_attend(trained):
    model, params, images = trained
    out = jitted_apply(model, params, images, jax.random.key(1), return_history=True)
    assert out.slots.shape == (2, 3, 12)
    np.testing.assert_allclose(out.slots[..., 8:], attended(out.attention, 4, 6), atol=1e-6)
    np.testing.assert_allclose(out.slots_history[:, -1], out.slots, atol=1e-6)
    np.testing.assert_allclose(decode(model, params, out.slots).masks, out.masks, atol=1e-6)


def test_slots_of_one_picture_start_those_of_the_next(trained):
    model, params, images = trained
    first = jitted_apply(model, params, images, jax.random.key(1)).slots
    whole, bare = (jitted_apply(model, params, images, initial_slots=slots) for slots in (first, first[..., :8]))
    np.testing.assert_array_equal(whole.masks, bare.masks)
    with pytest.raises(ValueError, match=r"slots of shape \(2, 3, 9\): expected \[2, k, 8\] or \[2, k, 12\]"):
        slotjax.apply(model, params, images, initial_slots=first[..., :9])
    with pytest.raises(ValueError, match=r"slots of shape \(2, 3, 8\): expected \[2, k, 12\]"):
        slotjax.decode(model, params, first[..., :8])
    with pytest.raises(ValueError, match=r"\(2, 3, 9\)|got .*shapes"):  # not cut down to what fits
        model.apply({"params": params}, images, first[..., :9])


@pytest.mark.parametrize(("frame", "remat"), [("slot", False), ("picture", True)])
def test_a_decoder_that_samples_draws_a_part_of_what_it_would_draw_in_training_alone(frame, remat):
    fields = {"resolution": (8, 12), "num_slots": 3, "slot_dim": 8, "mlp_dim": 8, "remat": remat}
    fields["encoder"] = {"name": "cnn", "channels": (8,), "kernels": (3,), "strides": (2,), "mlp_dim": 8}
    whole = slotjax.build_model(fields | {"decoder": DECODERS["mlp"] | {"frame": frame}})
    model = slotjax.build_model(fields | {"decoder": DECODERS["mlp"] | {"frame": frame, "sample": 2}})
    images = jax.random.uniform(jax.random.key(0), (2, 8, 12, 3), minval=-1)
    params, key = slotjax.init(model, jax.random.key(1), images), jax.random.key(2)
    expected = jitted_apply(whole, params, images, key)
    np.testing.assert_array_equal(jitted_apply(model, params, images, key).reconstruction, expected.reconstruction)
    out = jitted_apply(model.in_training(), params, images, key)
    assert out.target.shape == out.reconstruction.shape == (2, 4, 6, 3)
    chosen = []
    for example in range(2):  # which rows and columns of patches: the target tells
        patches = np.asarray(images[example]).reshape(4, 2, 6, 2, 3).swapaxes(1, 2)
        found = np.asarray(out.target[example]).reshape(2, 2, 3, 2, 3).swapaxes(1, 2)
        places = [[np.argwhere((patches == one).all((2, 3, 4)))[0] for one in row] for row in found]
        rows, columns = [place[0][0] for place in places], [place[1] for place in places[0]]
        assert rows == sorted(set(rows)) and columns == sorted(set(columns))
        pixels = np.ix_(range(3), *(np.repeat(np.multiply(x, 2), 2) + np.tile([0, 1], len(x)) for x in (rows, columns)))
        np.testing.assert_allclose(out.masks[example], np.asarray(expected.masks[example])[pixels], atol=1e-6)
        components = np.asarray(expected.components[example])[pixels]
        np.testing.assert_allclose(out.components[example], components, atol=1e-6)
        chosen.append((*rows, *columns))
    assert chosen[0] != chosen[1]


def test_background_is_a_head_start_of_the_first_slots_masks():
    fields = {"resolution": (8, 12), "num_slots": 3, "slot_dim": 8, "mlp_dim": 8, "decoder": DECODERS["mlp"]}
    fields["encoder"] = {"name": "cnn", "channels": (8,), "kernels": (3,), "strides": (2,), "mlp_dim": 8}
    plain, model = slotjax.build_model(fields), slotjax.build_model(fields | {"background": 2.0})
    images = jax.random.uniform(jax.random.key(0), (2, 8, 12, 3), minval=-1)
    params, key = slotjax.init(plain, jax.random.key(1), images), jax.random.key(2)
    out, expected = (jitted_apply(x, params, images, key) for x in (model, plain))
    weighed = expected.masks * jnp.array([np.exp(2.0), 1, 1])[:, None, None]
    np.testing.assert_allclose(out.masks, weighed / weighed.sum(1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("frame", ["picture", "slot"])
def test_a_common_background_is_the_same_in_every_picture_and_objects_are_as_before(frame):
    fields = {"resolution": (8, 12), "num_slots": 3, "slot_dim": 8, "mlp_dim": 8}
    fields["encoder"] = {"name": "cnn", "channels": (8,), "kernels": (3,), "strides": (2,), "mlp_dim": 8}
    fields["decoder"] = DECODERS["mlp"] | {"frame": frame}
    plain, model = slotjax.build_model(fields), slotjax.build_model(fields | {"common_background": True})
    images = jax.random.uniform(jax.random.key(0), (2, 8, 12, 3), minval=-1)
    params, key = slotjax.init(plain, jax.random.key(1), images), jax.random.key(2)
    out, expected = (jitted_apply(x, params, images, key) for x in (model, plain))
    np.testing.assert_array_equal(out.slots[:, 1:], expected.slots[:, 1:])
    np.testing.assert_allclose(out.components[:, 1:], expected.components[:, 1:], atol=1e-6)
    assert not out.slots[:, 0, :8].any() and (out.slots[:, 0, 8:] == expected.slots[:, 0, 8:]).all()
    again = slotjax.decode(model, params, out.slots)
    np.testing.assert_allclose(again.components, out.components, atol=1e-6)
    if frame == "picture":
        np.testing.assert_allclose(out.components[0, 0], out.components[1, 0], atol=1e-6)
        assert np.abs(expected.components[0, 0] - expected.components[1, 0]).max() > 1e-4
