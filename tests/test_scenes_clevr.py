"""CLEVR scenes: functions of the key, rules of the generator, masks that agree with attributes."""

import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import module

from slotjax.data import schemas, tf_example, tfrecords
from slotjax.data.scenes import clevr, clevr_textured
from slotjax.data.scenes.clevr_scene import clevr_batch
from slotjax.data.scenes.clevr_world import camera as cameras
from slotjax.data.scenes.clevr_world.placement import MIN_GAP, MIN_MARGIN, MIN_VISIBLE, sample_world
from slotjax.data.scenes.clevr_world.render import render
from slotjax.data.scenes.clevr_world.shapes import first_hit
from slotjax.data.scenes.clevr_world.texture import PATTERNS, sample_texture, textured_color
from slotjax.data.scenes.clevr_world.vectors import unstack
from slotjax.data.scenes.clevr_world.world import World
from slotjax.errors import UserError

SIZE = (48, 48)
small = functools.partial(clevr, resolution=SIZE)
draw = jax.jit(jax.vmap(small))
draw_worlds = jax.jit(lambda keys: jax.lax.map(lambda key: sample_world(key, 3, 10), keys))


@jax.jit
def pixels_of_objects(worlds: World) -> jax.Array:
    """Exact number of pixels of the 240 x 320 frame that show each object, [b, n]."""

    def count(world: World) -> jax.Array:
        camera = cameras.look_at_origin(world.camera)
        rays = cameras.directions(camera, cameras.pixel_grid(cameras.FRAME, crop=False)[:, 0])
        _, index = first_hit(world.solids(), unstack(camera.position), rays)
        return jnp.bincount(index.ravel() + 1, length=len(world.present) + 1)[1:]

    return jax.lax.map(count, worlds)


@pytest.fixture(scope="module")
def scenes():
    return draw(jax.random.split(jax.random.key(0), 6))


@pytest.fixture(scope="module")
def worlds():
    return jax.device_get(draw_worlds(jax.random.split(jax.random.key(1), 12)))


def test_shapes_and_ranges(scenes):
    chex.assert_shape(scenes.image, (6, *SIZE, 3))
    chex.assert_shape(scenes.segments, (6, *SIZE))
    assert scenes.image.dtype == jnp.float32 and scenes.segments.dtype == jnp.int32
    assert np.isfinite(scenes.image).all() and np.abs(scenes.image).max() <= 1
    present = np.asarray(scenes.objects["present"])
    assert ((present.sum(1) >= 3) & (present.sum(1) <= 6)).all()
    for name, values in scenes.objects.items():
        assert values.shape[:2] == (6, 6), name
        assert not np.asarray(values)[~present].any(), f"{name} of an absent object"


def test_a_scene_is_a_function_of_its_key(scenes):
    again = draw(jax.random.split(jax.random.key(0), 6))
    jax.tree.map(np.testing.assert_array_equal, scenes, again)
    other = draw(jax.random.split(jax.random.key(5), 6))
    assert not np.array_equal(scenes.image, other.image)


def test_a_scene_does_not_depend_on_its_batch(scenes):
    chunked = jax.jit(functools.partial(clevr_batch, resolution=SIZE))(jax.random.split(jax.random.key(0), 6)[:2])
    np.testing.assert_allclose(chunked.image, scenes.image[:2], atol=1e-5)
    np.testing.assert_array_equal(chunked.segments, scenes.segments[:2])


@pytest.mark.slow
def test_a_scene_does_not_depend_on_its_device(scenes):
    other_device = jax.device_put(jax.random.split(jax.random.key(0), 6), jax.devices()[1])
    np.testing.assert_array_equal(draw(other_device).image, scenes.image)


def test_segments_agree_with_attributes(scenes):
    """Visible ids belong to present objects; a centre seen in the crop shows its object or one nearer."""
    top, bottom, left, right = cameras.CROP
    for segments, objects in zip(np.asarray(scenes.segments), _rows(scenes.objects), strict=True):
        assert set(np.unique(segments)) <= {0, *(np.flatnonzero(objects["present"]) + 1)}
        depth = objects["pixel_coords"][:, 2]
        for index in np.flatnonzero(objects["present"]):
            column, row, _ = objects["pixel_coords"][index]
            y = int((row - top) / (bottom - top) * SIZE[0])
            x = int((column - left) / (right - left) * SIZE[1])
            if 0 <= y < SIZE[0] and 0 <= x < SIZE[1]:
                seen = segments[y, x]
                assert seen > 0 and depth[seen - 1] <= depth[index] + 0.35


def _rows(objects):
    return [{name: np.asarray(values)[i] for name, values in objects.items()} for i in range(len(objects["present"]))]


def test_worlds_keep_the_generators_rules(worlds):
    _check_placement(worlds)
    _check_visibility(jax.tree.map(lambda x: x[:8], worlds))


@pytest.mark.slow
def test_two_thousand_worlds_keep_the_visibility_rule():
    _check_visibility(draw_worlds(jax.random.split(jax.random.key(2), 2000)))


def _check_visibility(worlds):
    shown = np.asarray(pixels_of_objects(worlds))[np.asarray(worlds.present)]
    assert shown.min() >= MIN_VISIBLE


def _check_placement(worlds):
    counts = np.asarray(worlds.present).sum(1)
    assert counts.min() >= 3 and counts.max() <= 10
    for i in range(len(counts)):
        n = counts[i]
        position, size = np.asarray(worlds.position[i][:n]), np.where(worlds.size[i][:n] == 1, 0.7, 0.35)
        assert np.abs(position).max() <= 3
        forward = -np.asarray(worlds.camera[i][:2]) / np.linalg.norm(worlds.camera[i][:2])
        offset = position[:, None] - position[None]
        pairs = ~np.eye(n, dtype=bool)
        gap = np.linalg.norm(offset, axis=-1) - size[:, None] - size[None]
        assert gap[pairs].min() >= MIN_GAP - 1e-4
        for axis in (forward, np.array([forward[1], -forward[0]])):
            assert np.abs(offset @ axis)[pairs].min() >= MIN_MARGIN - 1e-4
        assert np.abs(np.asarray(worlds.camera[i]) - cameras.MEAN_POSITION).max() <= cameras.JITTER


@pytest.fixture(scope="module")
def brightness_of_positions(worlds):
    world = jax.tree.map(lambda leaf: leaf[0], worlds)

    @jax.jit
    def brightness(position):
        return render(world.replace(position=position), resolution=(24, 24), crop=True)[0].mean()

    return brightness, world.position


@pytest.mark.slow
def test_gradients_with_respect_to_positions_are_finite(brightness_of_positions):
    brightness, position = brightness_of_positions
    gradient = np.asarray(jax.jit(jax.jacfwd(brightness))(position))
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.slow
def test_gradients_in_reverse_agree(brightness_of_positions):
    brightness, position = brightness_of_positions
    forward, backward = jax.jit(jax.jacfwd(brightness))(position), jax.jit(jax.grad(brightness))(position)
    np.testing.assert_allclose(backward, forward, atol=1e-5)


def test_golden_thumbnails(scenes):
    """Pictures of fixed keys stay what they are; after a change on purpose, look at the new ones and save those."""
    path = Path(__file__).parent / "data" / "clevr_thumbnails.npz"
    image = np.asarray(scenes.image)[:4, ::3, ::3]
    thumbnails = np.round((image + 1) * 127.5).astype(np.uint8)
    golden = np.load(path)["thumbnails"]
    difference = np.abs(golden.astype(int) - thumbnails)
    assert np.mean(difference > 2) < 0.01, f"pictures changed; if that is meant, save them in {path}"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_objects": 11}, "at most 10"),
        ({"min_objects": 0}, "min_objects=0"),
        ({"min_objects": 7}, "min_objects <= max_objects"),
        ({"resolution": (4, 128)}, "resolution"),
        ({"resolution": (128, 5000)}, "resolution"),
        ({"resolution": 128}, "resolution"),
    ],
)
def test_bad_options_are_refused_before_any_work(options, message):
    with pytest.raises(UserError, match=message):
        clevr(jax.random.key(0), **options)


def test_patterns_change_what_is_seen_and_nothing_else(scenes):
    draw_textured = jax.jit(jax.vmap(functools.partial(clevr_textured, resolution=SIZE, max_objects=6)))
    plain, textured = jax.device_get((scenes, draw_textured(jax.random.split(jax.random.key(0), 6))))
    np.testing.assert_array_equal(plain.segments, textured.segments)
    jax.tree.map(np.testing.assert_array_equal, plain.objects, textured.objects)
    ground = np.asarray(plain.segments) == 0
    spread = [np.mean([scene.image[i][ground[i]].std() for i in range(6)]) for scene in (plain, textured)]
    assert spread[1] > 1.3 * spread[0]  # the plain ground has light and shadow alone
    assert np.abs(np.asarray(textured.image)).max() <= 1


def test_every_pattern_blends_its_two_colours():
    texture = sample_texture(jax.random.key(0), jnp.zeros((len(PATTERNS) - 1, 3)))
    texture = texture._replace(
        pattern=jnp.arange(len(PATTERNS)), first=jnp.zeros((len(PATTERNS), 3)), second=jnp.ones((len(PATTERNS), 3))
    )
    points = tuple(np.random.default_rng(0).uniform(-3, 3, (3, 4000)).astype(np.float32))
    color = jax.jit(textured_color)
    for index in range(len(PATTERNS)):
        red, _, _ = color(texture, points, np.full(4000, index))
        assert red.min() >= 0 and red.max() <= 1
        assert (red < 0.1).mean() > 0.05 and (red > 0.9).mean() > 0.05  # dots are small, marble is soft


@pytest.mark.slow
@pytest.mark.usefixtures("as_commands_do")
def test_genuine_scenes_rendered_again_have_the_genuine_masks(shared_data):
    world_of_record = module("clevr_worlds").world_of_record
    payloads = tfrecords.read_records(shared_data / "clevr_with_masks_sample.tfrecords")
    show = jax.jit(functools.partial(render, resolution=(240, 320), crop=False))
    ious, errors = [], []
    for index, payload in zip(range(6), payloads, strict=False):
        features = tf_example.parse_example(payload, f"record {index}")
        record = schemas.match_schema(features, f"record {index}").encode(features)
        image, segments = show(world_of_record(record))
        errors.append(np.abs((np.asarray(image) + 1) * 127.5 - record["image"]).mean())
        for entity in range(1, 11):
            genuine, rendered = record["entity"] == entity, np.asarray(segments) == entity
            if genuine.any():
                ious.append((genuine & rendered).sum() / (genuine | rendered).sum())
    assert np.median(ious) > 0.98 and min(ious) > 0.9
    assert np.mean(errors) < 12
