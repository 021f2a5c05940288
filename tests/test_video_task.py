"""How videos are judged and drawn."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import module as benchmark
from helpers import config_of
from test_video import FRAMES, KEY, MODEL, SIDE, VIDEO, apply, built

import slotjax
from slotjax.drawing import strips
from slotjax.errors import UserError
from slotjax.models import Output
from slotjax.models.targets import flow_of, flow_picture
from slotjax.reporting import player
from slotjax.tasks import discovery

segmentation_scores = jax.jit(discovery.segmentation_scores, static_argnums=(2, 3))
scores = jax.jit(discovery.scores, static_argnums=(0, 4))


def halves(frames: int) -> np.ndarray:
    """Two objects beside each other on a background: [1, frames, 4, 6]."""
    return np.broadcast_to(np.array([0, 0, 1, 1, 2, 2]), (1, frames, 4, 6))


def test_a_slot_that_changes_its_object_is_punished_though_every_frame_is_right():
    truth = halves(4)
    swapped = np.where(truth > 0, 3 - truth, 0)
    found = np.where(np.arange(4)[:, None, None] < 2, truth, swapped)
    figures = segmentation_scores(truth, found, 3, 3)
    assert figures["frame_fg_ari"] == 1 and figures["switches"] == 1
    assert figures["fg_ari"] < 0.01 and figures["miou"] < 0.51
    right = segmentation_scores(truth, truth, 3, 3)
    assert (right["fg_ari"], right["frame_fg_ari"], right["switches"]) == (1, 1, 0)
    assert "switches" not in jax.eval_shape(lambda x: discovery.segmentation_scores(x, x, 3, 3), truth[:, 0])


def test_a_video_is_scored_as_a_whole():
    model, params = built(initializer={"name": "learned"})
    batch = {"image": VIDEO, "segments": np.broadcast_to(np.eye(SIDE, dtype=np.int32), VIDEO.shape[:4])}
    keys = jax.random.split(KEY, 2)
    figures = scores(model, params, batch, keys, 2)
    assert {name: x.shape for name, x in figures.items()} == dict.fromkeys(figures, (2,))
    assert {"posterior_switches", "frame_fg_ari", "attention_fg_ari", "mse"} <= set(figures)
    assert set(discovery.summary({name: np.asarray(x) for name, x in figures.items()})) > set(figures)
    sheet = discovery.pictures(model, params, batch, keys)
    rows, columns = 2 * 4, FRAMES
    assert sheet.shape == (16 + rows * (64 + 6 + 4) - 4, columns * (64 + 6 + 4) - 4, 3)


def test_flow_is_read_off_its_colours():
    speed, angle = np.meshgrid(np.linspace(0, 0.9, 20), np.linspace(-3.1, 3.1, 30))
    most = np.hypot(30, 20) / 50  # pixels a frame that are full colour
    flow = (most * speed * np.stack([np.cos(angle), np.sin(angle)])).transpose(1, 2, 0).astype(np.float32)
    np.testing.assert_allclose(jax.jit(lambda x: flow_of(flow_picture(x)))(flow), flow, atol=0.02 * most)


def test_flows_are_read_off_by_their_names():
    flow = np.random.default_rng(0).uniform(-0.2, 0.2, (1, 2, 30, 20, 2)).astype(np.float32)
    drawn = jnp.concatenate([jnp.zeros((1, 2, 30, 20, 1)), flow_picture(flow)], -1)
    model = slotjax.build_model(MODEL | {"targets": ("depth", "backward_flow")})
    (found,) = (flows := model.flows(Output(reconstruction=drawn))).values()
    assert list(flows) == ["backward_flow"] and model.learns_from == ("depth", "backward_flow")
    np.testing.assert_allclose(found, flow, atol=0.02)


def test_the_error_of_flow_is_scored_where_it_is_drawn():
    model, params = built(targets=("flow",), initializer={"name": "learned"})
    flow = np.zeros((*VIDEO.shape[:4], 2), np.float32)
    batch, keys = {"image": VIDEO, "flow": flow}, jax.random.split(KEY, 2)
    figures = scores(model, params, batch, keys, None)
    out = apply(model, params, VIDEO, keys)
    expected = np.sqrt((np.asarray(jax.jit(flow_of)(out.reconstruction)) ** 2).sum(-1)).mean((1, 2, 3))
    np.testing.assert_allclose(figures["flow_error"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model.restart": 4, "data.num_frames": 12}, "model.restart=4: must divide .*, of which one is 6$"),
        ({"data.num_frames": 1}, "train.losses.contrast: compares frames"),
    ],
)
def test_frames_that_cannot_be_parted_or_compared_are_refused(changes, line):
    config = config_of("video:small,tiny")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=line):
        discovery.check(config, {"image": np.zeros((6, 32, 32, 3), np.float32)})


def test_steady_colours_of_single_frames_are_refused():
    config = config_of("video:small,tiny")
    config.data.num_frames = 1
    config.train.losses = {"mse": 1.0, "steady": 1.0}
    with pytest.raises(UserError, match="train.losses.steady: compares frames, and data.num_frames=1; set it to 0$"):
        discovery.check(config, {"image": np.zeros((1, 32, 32, 3), np.float32)})


def test_long_videos_are_drawn_in_part():
    out = slotjax.Output(
        masks=jnp.full((1, 30, 2, 4, 4), 0.5),
        components=jnp.zeros((1, 30, 2, 4, 4, 3)),
        reconstruction=jnp.zeros((1, 30, 4, 4, 3)),
    )
    sheet = strips.sheet(np.zeros((1, 30, 4, 4, 3)), out, size=4)
    assert sheet.shape[1] == strips.MOST_FRAMES * (4 + 6 + 4) - 4


@pytest.mark.usefixtures("as_commands_do")
def test_slots_of_frames_are_matched_to_those_before():
    rng = np.random.default_rng(0)
    slots, orders = rng.normal(size=(2, 1, 4, 8)), np.stack([rng.permutation(4) for _ in range(6)])
    frames = np.concatenate([slots[:, :, order] + 0.01 * rng.normal(size=slots.shape) for order in orders], 1)
    names = benchmark("video").matched(frames)
    first = np.argsort(orders[0])
    np.testing.assert_array_equal(names, np.broadcast_to(first[orders], names.shape))
    found = np.broadcast_to(np.arange(4), (2, 6, 1, 4))
    np.testing.assert_array_equal(benchmark("video").relabel(found, names)[:, :, 0], names)


@pytest.mark.usefixtures("as_commands_do")
def test_frames_computed_again_take_less_memory():
    cases = (2, False), (4, False), (4, True)  # frames, and whether they are computed again
    two, four, again = (benchmark("frames").needed("configs/video.py:savi,tiny", *case) for case in cases)
    assert again < 0.25 * four and four > 1.8 * two


def test_what_is_drawn_can_be_looked_at():
    drawn = np.random.default_rng(0).uniform(0, 1, (1, 2, 4, 4, 4)).astype(np.float32)
    for targets, wanted in (
        (("image",), drawn[..., :3]),
        (("flow", "depth"), 2 * drawn[..., :3] - 1),  # its colours are in 0..1
        (("depth", "flow"), (2 / np.sqrt(np.exp(drawn[..., :1])) - 1).repeat(3, -1)),  # near is bright
    ):
        model = slotjax.build_model(MODEL | {"targets": targets})
        np.testing.assert_allclose(model.colours(drawn), wanted, atol=1e-6)


def test_a_video_is_drawn_frame_after_frame():
    truth = halves(5)
    masks = np.stack([truth == 0, truth == 1, truth == 2], 2).astype(np.float32)
    images = np.zeros((*truth.shape, 3), np.float32)
    components = np.broadcast_to(images[:, :, None], (*masks.shape, 3))
    logits = np.log(masks + 1e-6)
    out = Output(masks=masks, mask_logits=logits, components=components, reconstruction=images, target=images)
    frames = list(strips.animation(images, out, truth, size=4))
    assert len(frames) == 5 and frames[0].shape == (4 * (4 + 6 + 4) - 4, 6 + 6, 3)
    true, found = (frames[0][row : row + 4, 3:9] for row in (2 * 14 + 3, 3 * 14 + 3))
    np.testing.assert_array_equal(found, true)


def test_a_film_is_what_the_model_saw(monkeypatch):
    model, params = built(initializer={"name": "learned"})
    batch = {"image": VIDEO, "index": np.arange(2)}
    feed = SimpleNamespace(held_out=lambda index: {name: x[index] for name, x in batch.items()})
    film = player.film(SimpleNamespace(model=model, params=params, feed=feed), 1)
    out = apply(model, params, VIDEO, KEY)
    assert film.owner.shape == VIDEO.shape[1:4] and film.slots.shape == (3, *VIDEO.shape[1:4], 4)
    assert set(film.pictures) == {"input", "reconstruction"}
    np.testing.assert_allclose(film.slots[..., 3] / 255, np.asarray(out.masks[1]).swapaxes(0, 1), atol=0.01)
    np.testing.assert_array_equal(film.owner, slotjax.responsibilities(out, VIDEO).argmax(-3)[1])
