"""The task: figures of an image, their summary, which evaluation is better, and the pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compose, config_of, images_of

from slotjax import losses
from slotjax.api import init, jitted_apply, responsibilities
from slotjax.data.scenes import sprites
from slotjax.drawing import slots as pictures
from slotjax.losses.reconstruction import chroma, mse
from slotjax.models import Output, build_model
from slotjax.tasks import discovery
from slotjax.training.objective import build_objective

segmentation_scores = jax.jit(discovery.segmentation_scores, static_argnums=(2, 3))
attention_segments = jax.jit(discovery.attention_segments, static_argnums=(1, 2))
scores = jax.jit(discovery.scores, static_argnums=(0, 4))


def quarters() -> np.ndarray:
    """An 8x8 picture cut into four quadrants, ids 0 to 3."""
    return np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int))


def test_quadrants_fool_fg_ari_alone():
    """One object inside each quadrant: told apart perfectly, outlined badly."""
    truth = np.zeros((8, 8), int)
    for i, (row, column) in enumerate([(1, 1), (1, 5), (5, 1), (5, 5)], start=1):
        truth[row : row + 2, column : column + 2] = i
    figures = segmentation_scores(truth[None], quarters()[None], 5, 4)
    assert figures["fg_ari"][0] == pytest.approx(1.0)
    assert figures["ari"][0] < 0.1
    assert figures["miou"][0] == pytest.approx(4 / 16)


def test_images_without_objects_have_no_foreground_figures():
    figures = segmentation_scores(np.zeros((1, 8, 8), int), quarters()[None], 5, 4)
    assert np.isnan(figures["fg_ari"][0])
    assert np.isnan(figures["miou"][0])
    assert figures["ari"][0] == pytest.approx(0.0, abs=1e-6)


def test_summary_counts_what_counted():
    figures = {
        "mse": np.array([1.0, 2.0, 3.0]),
        "fg_ari": np.array([0.5, np.nan, 1.0]),
        "ari": np.array([0.0, 0.5, 1.0]),
        "miou": np.array([0.2, np.nan, 0.4]),
    }
    summary = discovery.summary(figures)
    expected = {"fg_ari": 0.75, "ari": 0.5, "miou": 0.3, "mse": 2.0, "num_images": 3, "num_with_objects": 2}
    assert {name: value for name, value in summary.items() if value is not None} == pytest.approx(expected)
    assert summary["posterior_fg_ari"] is None


def test_without_masks_the_lowest_error_is_best():
    first, second = (discovery.summary({"mse": np.array([value])}) for value in (0.2, 0.1))
    assert second["fg_ari"] is None
    assert discovery.is_better(first, None)
    assert discovery.is_better(second, first)
    assert not discovery.is_better(first, second)
    scored = dict(first, fg_ari=0.9, miou=0.5)
    assert discovery.is_better(scored, dict(second, fg_ari=0.8, miou=0.5)) and not discovery.is_better(scored, scored)


def test_outlines_count_for_the_best():
    """Early stripes with an object in each have the highest FG-ARI, and are not what a run should keep."""
    stripes = {"fg_ari": 0.96, "ari": 0.1, "miou": 0.2, "mse": 0.2}
    objects = {"fg_ari": 0.93, "ari": 0.4, "miou": 0.6, "mse": 0.1}
    assert discovery.is_better(objects, stripes) and not discovery.is_better(stripes, objects)
    outlines_alone = {"fg_ari": 0.2, "ari": 0.9, "miou": 0.7, "mse": 0.1}
    assert discovery.is_better(objects, outlines_alone)
    assert discovery.quality(objects) == pytest.approx(0.765)


def test_contact_sheet_shows_slots_where_their_masks_are():
    components = np.stack([np.full((2, 16, 16, 3), value, np.float32) for value in (-1, 1)], 1)
    logits = np.zeros((2, 2, 16, 16), np.float32)
    logits[:, 0, :, :8] = logits[:, 1, :, 8:] = 50
    out = jax.jit(compose)(components, logits)
    truth = np.zeros((2, 16, 16), np.int32)
    truth[:, :, 8:] = 1
    sheet = pictures.sheet(np.zeros((2, 16, 16, 3), np.float32), out, truth)
    assert sheet.dtype == np.uint8
    zoom, frame = 6, pictures.FRAME
    panel = 16 * zoom + 2 * frame + pictures.GAP
    assert sheet.shape == (pictures.HEADING + 2 * panel - pictures.GAP, 7 * panel - pictures.GAP, 3)
    assert (sheet[: pictures.HEADING] < 255).any()  # the columns are named
    rows = slice(pictures.HEADING + frame, pictures.HEADING + frame + 16 * zoom)
    named = ("input", "reconstruction", "truth", "posterior", "masks", "left", "right")
    panels = {name: sheet[rows, i * panel + frame :][:, : 16 * zoom] for i, name in enumerate(named)}
    assert (panels["reconstruction"][:, : 8 * zoom] == 0).all() and (
        panels["reconstruction"][:, 8 * zoom :] == 255
    ).all()
    for found in ("posterior", "masks"):  # in the colours of what is found
        np.testing.assert_array_equal(panels[found], panels["truth"])
    board = pictures.checkerboard(16 * zoom, 16 * zoom)
    np.testing.assert_array_equal(panels["right"][:, : 8 * zoom], board[:, : 8 * zoom])
    assert (panels["right"][:, 8 * zoom :] == 255).all() and len(np.unique(board)) == 2
    frames = [sheet[rows.start, i * panel] for i in (5, 6)]
    np.testing.assert_array_equal(frames, [pictures.BACKGROUND, pictures.PALETTE[0]])


def test_slots_have_the_colours_of_what_they_found():
    truth = np.zeros((4, 6), np.int64)
    truth[:2, :2], truth[2:, 4:] = 1, 2
    found = np.select([truth == 2, truth == 1], [0, 3], 1)  # slot 2 wins nothing
    colours = pictures.matching_colours(found, 4, truth)
    np.testing.assert_array_equal(colours[found], pictures.colour_segments(truth, background=True))
    assert len(np.unique(colours, axis=0)) == 4
    np.testing.assert_array_equal(pictures.matching_colours(found, 4), pictures.PALETTE[:4])


def test_overlay_draws_borders_between_segments():
    tinted = pictures.overlay(np.zeros((8, 8, 3), np.uint8), np.asarray(quarters()), pictures.PALETTE)
    assert (tinted[3, :] == 255).all() and (tinted[:, 3] == 255).all()
    assert not tinted[2, :3].any() and not tinted[4, 4:].any()  # their rims are black
    assert tinted[1, 1].any() and not (tinted[1, 1] == 255).all()


def test_overlays_have_the_colours_of_segments_alone():
    """However colourful the picture: the difference in hue within a segment is none, that between segments is large."""
    red, blue = np.array((200, 0, 0)), np.array((0, 0, 200))
    picture = np.where(np.arange(12)[:, None, None] < 6, red, blue).astype(np.uint8).repeat(12, 1)
    tinted = pictures.overlay(picture, np.repeat(np.arange(2), 6)[None].repeat(12, 0), pictures.PALETTE).astype(int)
    hue = tinted - tinted.mean(-1, keepdims=True)
    for column in (1, 10):
        assert np.abs(hue[1, column] - hue[10, column]).max() <= 1
    assert np.abs(hue[1, 1] - hue[1, 10]).max() > 50


def drawn(reconstruction, images) -> Output:
    return Output(reconstruction=jnp.asarray(reconstruction), target=jnp.asarray(images))


def test_loss_is_the_mean_squared_error_of_each_image():
    images = jnp.stack([jnp.ones((4, 4, 3)), jnp.full((4, 4, 3), -0.5)])
    np.testing.assert_allclose(mse(drawn(jnp.zeros((2, 4, 4, 3)), images)), [1.0, 0.25], atol=1e-6)


def test_errors_of_brightness_and_of_colour_add_up():
    images, others = (jax.random.uniform(jax.random.key(i), (2, 5, 4, 3), minval=-1) for i in range(2))
    out = drawn(others, images)
    # Another form: coordinates along grey and along two directions across it.
    grey, across = [1, 1, 1] / np.sqrt(3), np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    errors = np.asarray(others - images)
    brightness, colour = ((errors @ grey) ** 2).mean((1, 2)), ((errors @ across.T) ** 2).sum(-1).mean((1, 2))
    np.testing.assert_allclose(chroma(out), colour / 3, rtol=1e-5)
    np.testing.assert_allclose(mse(out), (brightness + colour) / 3, rtol=1e-5)
    np.testing.assert_allclose(chroma(drawn(images - 0.3, images)), 0, atol=1e-12)  # darker: no error of colour


def test_losses_are_weighed_by_name_and_step():
    images, others = (jax.random.uniform(jax.random.key(i), (2, 5, 4, 3), minval=-1) for i in range(2))
    out = drawn(others, images)
    plain, colour = float(mse(out).mean()), float(chroma(out).mean())
    metrics = losses.weigh({"mse": 1.0, "chroma": ((10, 0.0), (20, 8.0))}, out, {}, jnp.int32(15))
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {"loss": plain + 4 * colour, "mse": plain, "chroma": colour}
    )
    weights = [float(losses.weight_at(((10, 0.0), (20, 8.0)), step)) for step in (0, 10, 18, 99)]
    assert weights == pytest.approx([0, 0, 6.4, 8])
    alone = losses.weigh({"mse": 2.0, "chroma": 0.0}, out, {}, jnp.int32(0))
    assert list(alone) == ["loss"] and float(alone["loss"]) == pytest.approx(2 * plain)


def test_a_loss_counts_in_the_steps_in_which_it_weighs_something():
    weights = {"mse": 1.0, "sse": 0.0, "entropy": ((10, 0.0), (20, 1.0)), "expected": ((5, 0.0), (6, 1.0), (7, 0.0))}
    counting = {steps: set(losses.during(weights, *steps)) for steps in ((0, 5), (0, 9), (7, 10), (10, 11))}
    assert counting == {
        (0, 5): {"mse"},
        (0, 9): {"mse", "expected"},
        (7, 10): {"mse"},
        (10, 11): {"mse", "entropy"},
    }


def test_training_minimises_the_weighed_loss_and_evaluation_scores_the_plain_one():
    config = config_of("quick:tiny")
    model = build_model(config.model)
    images, keys = images_of(model), jax.random.split(jax.random.key(1))
    params = init(model, jax.random.key(2), images)
    objective = build_objective(model, {"mse": 1.0, "chroma": 8.0})
    value, metrics = jax.jit(objective)(params, {"image": images}, keys, jnp.int32(0))
    out = jitted_apply(model, params, images, keys)
    assert float(value) == pytest.approx(float((mse(out) + 8 * chroma(out)).mean()), rel=1e-5)
    scored = scores(model, params, {"image": images}, keys, None)["mse"]
    np.testing.assert_allclose(scored, mse(out), rtol=1e-5)
    assert float(metrics["mse"]) == pytest.approx(float(scored.mean()), rel=1e-5)


def test_segments_of_masks_responsibilities_and_attention_are_scored_apart():
    config = config_of("quick:tiny")
    model = build_model(config.model)
    scene = jax.jit(jax.vmap(sprites))(jax.random.split(jax.random.key(0), 2))
    keys = jax.random.split(jax.random.key(1))
    params = init(model, jax.random.key(2), scene.image)
    batch = {"image": scene.image, "segments": scene.segments}
    figures, out = scores(model, params, batch, keys, 5), jitted_apply(model, params, scene.image, keys)
    found = {
        "": np.asarray(out.masks).argmax(1),
        "posterior_": np.asarray(jax.jit(responsibilities)(out, scene.image)).argmax(1),
        "attention_": np.asarray(attention_segments(out.attention, model.token_grid, (32, 32))),
    }
    for kind, segments in found.items():
        own = segmentation_scores(scene.segments, segments, 5, 5)
        for name, values in own.items():
            np.testing.assert_allclose(figures[kind + name], values, atol=1e-6)
    summary = discovery.summary({name: np.asarray(values) for name, values in figures.items()})
    assert list(summary)[:8] == list(discovery.SEGMENTATION) and 0 <= summary["mask_entropy"] <= 1


@pytest.mark.parametrize(("resolution", "stride"), [((32, 32), 4), ((35, 35), 2), ((24, 40), 8), ((35, 35), 1)])
def test_every_pixel_belongs_to_the_slot_that_wins_its_token(resolution, stride):
    rows, columns = (-(-side // stride) for side in resolution)
    attention = np.random.default_rng(0).uniform(size=(2, 3, rows * columns))
    found = np.asarray(attention_segments(attention, (rows, columns), resolution))
    assert found.shape == (2, *resolution)
    for row, column in ((0, 0), (resolution[0] - 1, resolution[1] - 1), (stride, 2 * stride)):
        token = row // stride * columns + column // stride
        np.testing.assert_array_equal(found[:, row, column], attention[:, :, token].argmax(1))


def test_tokens_of_halves_that_are_rounded_up_are_spread_over_the_picture():
    found = np.asarray(attention_segments(np.eye(25)[None], (5, 5), (36, 36)))  # strides of 1, 2, 2 and 2
    assert found.shape == (1, 36, 36) and set(found.ravel()) == set(range(25))


def test_collapse_is_told():
    slots = jax.random.normal(jax.random.key(0), (2, 1, 8)) + 0.01 * jax.random.normal(jax.random.key(1), (2, 4, 8))
    assert discovery.relative_distance(slots).max() < 0.02
    assert "alike" in discovery.collapse({"slot_distance": 0.02, "slot_largest": 0.3})
    masks = jnp.zeros((2, 4, 8, 8)).at[:, 1].set(1.0)
    np.testing.assert_array_equal(discovery.shares_won(masks), [[0, 1, 0, 0]] * 2)
    assert "one slot takes 100%" in discovery.collapse({"slot_distance": 0.5, "slot_largest": 1.0})
    assert discovery.collapse({"slot_distance": 0.5, "slot_largest": 0.7}) is None
