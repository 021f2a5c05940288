"""Scenes that move: exact flow, collisions that keep momentum, ids that stay, the same frames in any length."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotjax.data.scenes import moving_sprites
from slotjax.data.scenes.motion import Discs, glide, step
from slotjax.data.scenes.scene import in_view
from slotjax.errors import UserError

FRAMES = 12
FAMILIES = {"moving_sprites": partial(moving_sprites, num_frames=FRAMES)}
COUNT = {"moving_sprites": 40}


@cache
def many(family: str):
    keys = jax.random.split(jax.random.key(0), COUNT[family])
    return jax.device_get(jax.jit(jax.vmap(FAMILIES[family]))(keys))


def test_form():
    scenes = many("moving_sprites")
    assert scenes.image.shape == (40, FRAMES, 32, 32, 3) and scenes.image.dtype == np.float32
    assert np.abs(scenes.image).max() <= 1
    assert scenes.segments.shape == (40, FRAMES, 32, 32) and scenes.segments.dtype == np.int32
    assert scenes.flow.shape == (40, FRAMES, 32, 32, 2) and scenes.flow.dtype == np.float32
    assert all(array.shape[:3] == (40, FRAMES, 4) for array in scenes.objects.values())
    counts = scenes.objects["present"].sum(-1)
    assert set(counts[:, 0]) == {2, 3, 4} and (counts == counts[:, :1]).all()
    for name, array in scenes.objects.items():
        absent = array[~scenes.objects["present"]]
        assert (absent == (-1 if name == "boxes" else 0)).all(), name


def test_a_video_is_its_key():
    scenes, draw = many("moving_sprites"), jax.jit(moving_sprites, static_argnames="num_frames")
    key = jax.random.split(jax.random.key(0), 40)[7]
    once, again = draw(key, num_frames=FRAMES), draw(key, num_frames=FRAMES)
    jax.tree.map(np.testing.assert_array_equal, once, again)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[7], atol=1e-4), once.objects, scenes.objects)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:5]), draw(key, num_frames=5), once)


def test_boxes_and_visibility_are_those_of_the_segments():
    segments = np.zeros((10, 20), np.int32)
    segments[2:5, 4:19] = 1
    segments[9, 0] = 3
    found = in_view(jnp.asarray(segments), 3)
    np.testing.assert_array_equal(found["visibility"], [45, 0, 1])
    expected = [[0.2, 0.2, 0.5, 0.95], [-1] * 4, [0.9, 0, 1, 0.05]]
    np.testing.assert_allclose(found["boxes"], expected, atol=1e-6)


def test_sprites_enter_leave_and_hide_one_another():
    objects = many("moving_sprites").objects
    seen = objects["visibility"] > 0
    assert (~seen[:, :-1] & seen[:, 1:]).sum() > 3 and (seen[:, :-1] & ~seen[:, 1:]).sum() > 3
    centre = np.stack([objects["y"], objects["x"]], -1)
    distance = np.linalg.norm(centre[..., 0, :] - centre[..., 1, :], axis=-1)
    touching = (objects["scale"][..., 0] + objects["scale"][..., 1]) / 32
    assert 0.1 < (distance < touching).any(1).mean() < 0.6
    outside = ((centre < 0) | (centre > 1)).any((1, 3))[objects["present"][:, 0]]
    assert 0.1 < outside.mean() < 0.6


def turned(offset, angle):
    """Offsets [..., 2] (row, column) in a sprite's own frame, which is turned by `angle`."""
    y, x = offset[..., 0], offset[..., 1]
    return np.stack([np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x], -1)


def test_flow_takes_each_surface_point_of_a_sprite_to_itself():
    """A picture of each sprite's own coordinates, warped by the flow, is that of the frame before."""
    scenes = many("moving_sprites")
    grid = np.stack(np.meshgrid(*[(np.arange(32) + 0.5)] * 2, indexing="ij"), -1)
    warped, still = [], []
    for n in range(40):
        objects = {name: x[n].astype(np.float64) for name, x in scenes.objects.items()}
        for t in range(FRAMES - 1):
            for i in np.flatnonzero(objects["present"][t]):
                here, there = (np.stack([objects["y"][s, i], objects["x"][s, i]]) * 32 for s in (t, t + 1))
                angle, later = objects["orientation"][[t, t + 1], i]
                inside = scenes.segments[n, t] == i + 1
                own = turned(grid - here, angle)[inside]
                arrived = grid[inside] + scenes.flow[n, t][inside]
                warped.append(np.abs(turned(arrived - there, later) - own).ravel())
                still.append(np.abs(turned(grid[inside] - there, later) - own).ravel())
    warped, still = np.concatenate(warped), np.concatenate(still)
    assert warped.max() < 1e-4 and warped.mean() < still.mean() / 100
    assert not scenes.flow[scenes.segments == 0].any()


def test_pixels_arrive_on_their_own_sprite():
    scenes = many("moving_sprites")
    n, t, y, x = np.nonzero(scenes.segments[:, :-1])
    rows, columns = np.floor(np.stack([y, x]) + 0.5 + scenes.flow[n, t, y, x].T).astype(int)
    inside = (rows >= 0) & (rows < 32) & (columns >= 0) & (columns < 32)
    own = scenes.segments[n, t, y, x][inside]
    moved = scenes.segments[n[inside], t[inside] + 1, rows[inside], columns[inside]]
    assert (own == moved).mean() > 0.9 > (own == scenes.segments[n, t + 1, y, x][inside]).mean()


def drawn(seed: int, count: int, restitution: float, friction: float) -> tuple[Discs, jax.Array, jax.Array]:
    """Fast discs close together, without walls."""
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.3, 1, count).astype(np.float32)
    places = np.stack(np.meshgrid(range(3), range(3)), -1).reshape(-1, 2)[rng.permutation(9)[:count]] * 2.1
    position = jnp.asarray(places + rng.uniform(-0.05, 0.05, (count, 2)), jnp.float32)
    velocity = jnp.asarray(rng.normal(size=(count, 2)), jnp.float32)
    mass = jnp.asarray(rng.uniform(0.5, 8, count), jnp.float32)
    endless = jnp.full((count, 2), jnp.inf)
    collide = jnp.ones((count, count), bool)
    return Discs(jnp.asarray(radius), mass, -endless, endless, collide, restitution, friction), position, velocity


@jax.jit
def tracks(discs: Discs, position: jax.Array, velocity: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Positions and velocities of 160 moments, [160, n, 2] twice."""

    def move(state, _):
        state = step(discs, state, 0.125)
        return state, state

    return jax.lax.scan(move, (position, velocity), length=160)[1]


def gaps(discs: Discs, position: np.ndarray) -> np.ndarray:
    """The least distance between rims in each moment."""
    distance = np.linalg.norm(position[..., :, None, :] - position[..., None, :, :], axis=-1)
    rims = distance - np.asarray(discs.radius)[:, None] - np.asarray(discs.radius) + 9 * np.eye(len(discs.radius))
    return rims.min((-1, -2))


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), restitution=st.sampled_from([0.5, 1.0]))
def test_collisions_conserve_momentum_and_keep_discs_apart(seed, restitution):
    discs, position, velocity = drawn(seed, 6, restitution, 0.0)
    places, speeds = jax.device_get(tracks(discs, position, velocity))
    assert gaps(discs, places).min() > -1e-5
    mass = np.asarray(discs.mass, np.float64)[:, None]
    momentum = (mass * speeds).sum(1)
    np.testing.assert_allclose(momentum, np.broadcast_to((mass * velocity).sum(0), momentum.shape), atol=1e-4)
    energy = np.concatenate([(mass * np.square(velocity)).sum()[None], (mass * np.square(speeds)).sum((1, 2))])
    assert (np.diff(energy) < 1e-4 * energy[0]).all()
    if restitution == 1:
        np.testing.assert_allclose(energy, energy[0], rtol=1e-4)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_friction_stops_discs_and_nothing_else(seed):
    discs, position, velocity = drawn(seed, 6, 0.8, 0.2)
    places, speeds = jax.device_get(tracks(discs, position, velocity))
    assert gaps(discs, places).min() > -1e-5
    assert (np.linalg.norm(speeds[-1], axis=-1) < np.linalg.norm(velocity, axis=-1).max()).all()
    still = np.abs(speeds[-8:]).max((0, 2)) == 0
    np.testing.assert_array_equal(places[-1][still], places[-8][still])


def test_two_discs_exchange_what_equal_masses_exchange():
    discs, _, _ = drawn(0, 2, 1.0, 0.0)
    discs = discs._replace(mass=jnp.ones(2))
    position, velocity = jnp.array([[0.0, 0], [4, 0]]), jnp.array([[1.0, 0], [0, 0]])
    _, speeds = tracks(discs, position, velocity)
    np.testing.assert_allclose(speeds[-1], [[0, 0], [1, 0]], atol=1e-6)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_walls_hold(seed):
    rng = np.random.default_rng(seed)
    discs, _, _ = drawn(seed, 4, 1.0, 0.0)
    low, high = jnp.zeros((4, 2)), jnp.full((4, 2), 9.0)
    discs = discs._replace(low=low, high=high, radius=jnp.full(4, 0.5))
    position = jnp.asarray(np.array([[2, 2], [2, 7], [7, 2], [7, 7]]) + rng.uniform(-1, 1, (4, 2)), jnp.float32)
    places, speeds = jax.device_get(tracks(discs, position, jnp.asarray(rng.normal(size=(4, 2)), jnp.float32)))
    assert places.min() >= 0 and places.max() <= 9 and gaps(discs, places).min() > -1e-5


def test_states_are_sampled_from_the_start():
    discs, _, _ = drawn(0, 2, 1.0, 0.0)
    position, velocity = jnp.array([[0.0, 0], [5, 0]]), jnp.array([[0.0, 1], [0, 2]])
    track = glide(discs, position, velocity, num_steps=3, substeps=4)
    assert track.shape == (13, 2, 2)
    np.testing.assert_allclose(track[8], [[0, 2], [5, 4]], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (moving_sprites, {"num_frames": 0}, "num_frames=0: a moving scene has at least 1 frame"),
        (moving_sprites, {"speed": -1.0}, "speed=-1.0: from 0"),
        (moving_sprites, {"resolution": (32, 16)}, r"resolution=\(32, 16\)"),
        (moving_sprites, {"max_objects": 9}, "max_objects=9"),
    ],
)
def test_impossible_scenes_are_named(family, options, message):
    with pytest.raises(UserError, match=message):
        family(jax.random.key(0), **options)
