"""CLEVR's objects thrown about: where they go, how they roll, and the flow of what is seen of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slotjax.data.scenes import moving_clevr
from slotjax.data.scenes.clevr_world import camera as cameras
from slotjax.data.scenes.clevr_world.flow import flow
from slotjax.data.scenes.clevr_world.render import trace
from slotjax.data.scenes.clevr_world.shapes import CUBE, CYLINDER, SPHERE
from slotjax.data.scenes.clevr_world.throw import discs, follow, roll, sample_throw
from slotjax.errors import UserError

SIZE, FRAMES = (48, 48), 10


@jax.jit
def unpainted(key: jax.Array, panning: jax.Array) -> dict:
    """A moving scene without its pictures, which take longest to compile, and with what they do not show."""
    world, velocity, pan = sample_throw(key, 3, 6)
    course = follow(world, velocity, pan * panning, FRAMES)

    def frame(position, camera, next_position, next_camera, turn):
        now = world.replace(position=position, camera=camera)
        seen = trace(now, resolution=SIZE, crop=True)
        then = world.replace(position=next_position, camera=next_camera)
        return {"index": seen.index[0], "flow": flow(now, seen, then, turn, crop=True)}

    places = course.position[:-1], course.camera[:-1], course.position[1:], course.camera[1:]
    return jax.vmap(frame)(*places, course.turn) | {"world": world, "course": course}


@pytest.fixture(scope="module", params=[False, True], ids=["fixed", "panning"])
def scenes(request):
    return [jax.device_get(unpainted(jax.random.key(seed), request.param)) for seed in range(5)]


@pytest.fixture(scope="module")
def worlds():
    draw = jax.jit(lambda keys: jax.lax.map(lambda key: sample_throw(key, 3, 10), keys))
    run = jax.jit(jax.vmap(lambda drawn: follow(*drawn, 30)))
    drawn = draw(jax.random.split(jax.random.key(1), 50))
    return jax.device_get((*drawn, run(drawn)))


DRAW = jax.jit(partial(moving_clevr, resolution=(24, 32), camera="panning"), static_argnames="num_frames")


def test_form_and_that_a_video_is_its_key():
    scene, again = (jax.device_get(DRAW(jax.random.key(3), num_frames=3)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, scene, again)
    assert scene.image.shape == (3, 24, 32, 3) and scene.image.dtype == np.float32 and np.abs(scene.image).max() <= 1
    assert scene.segments.shape == (3, 24, 32) and scene.segments.dtype == np.int32
    assert scene.flow.shape == (3, 24, 32, 2) and scene.flow.dtype == np.float32 and np.isfinite(scene.flow).all()
    assert all(array.shape[:2] == (3, 6) for array in scene.objects.values())
    present = scene.objects["present"]
    assert 3 <= present[0].sum() <= 6 and (present == present[0]).all()
    assert set(np.unique(scene.segments)) <= {0, *(np.flatnonzero(present[0]) + 1)}
    for name, array in scene.objects.items():
        assert (array[~present] == (-1 if name == "boxes" else 0)).all(), name


@pytest.mark.slow
def test_frames_are_the_same_in_any_length():
    shorter, longer = (jax.device_get(DRAW(jax.random.key(3), num_frames=n)) for n in (2, 3))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:2]), shorter, longer)


def test_courses_are_the_same_in_any_length(worlds):
    drawn = jax.tree.map(lambda leaf: leaf[0], worlds[:3])
    shorter, longer = (jax.jit(follow, static_argnums=3)(*drawn, n) for n in (2, 5))
    np.testing.assert_array_equal(shorter.position, longer.position[:3])
    np.testing.assert_array_equal(shorter.turn, longer.turn[:2])
    np.testing.assert_array_equal(shorter.camera, longer.camera[:3])


def test_objects_start_apart_stay_apart_and_come_to_rest(worlds):
    world, velocity, _, course = worlds
    counts = world.present.sum(1)
    assert counts.min() == 3 and counts.max() == 10
    radius = np.asarray(jax.vmap(discs)(world).radius)
    distance = np.linalg.norm(course.position[:, :, :, None] - course.position[:, :, None], axis=-1)
    pairs = world.present[:, :, None] & world.present[:, None] & ~np.eye(10, dtype=bool)
    gap = np.where(pairs[:, None], distance - (radius[:, :, None] + radius[:, None])[:, None], 9)
    assert gap[:, 0].min() > 0.2 and gap.min() > -1e-4
    assert (gap.min(1) < 0.1).any((1, 2)).mean() > 0.5  # in most of these crowded scenes something collides
    way = np.diff(course.position, axis=1)
    energy = (np.asarray(jax.vmap(discs)(world).mass)[:, None] * np.square(way).sum(-1)).sum(-1)
    assert (energy[:, -1] < energy[:, 0]).all() and energy[:, -1].mean() < 0.2 * energy[:, 0].mean()
    resting = (np.abs(velocity).max(-1) == 0) & world.present
    assert 0.1 < resting.sum() / world.present.sum() < 0.4
    assert (np.abs(course.position[:, -1] - course.position[:, 0]).max(-1)[resting] > 0.01).any()  # some are hit


def test_objects_enter(scenes):
    seen = np.stack([[(s["index"] == i).any((1, 2)) for i in range(6)] for s in scenes])
    assert (~seen[..., 0] & seen[..., -1]).sum() >= 4


def points(world, position, camera, index):
    """Where the rays through the centres of pixels meet their objects, by sphere tracing in float64; but for those
    that only graze one."""
    rows, columns = np.nonzero(index >= 0)
    top, bottom, left, right = cameras.CROP
    row, column = top + (rows + 0.5) * (bottom - top) / SIZE[0], left + (columns + 0.5) * (right - left) / SIZE[1]
    _, *axes = axes_of(camera)
    x, y = (column - 160) / cameras.FOCAL, (120 - row) / cameras.FOCAL
    ray = x[:, None] * axes[0] + y[:, None] * axes[1] + axes[2]
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    own = index[rows, columns]
    half = np.where(world.size == 1, 0.7, 0.35)[own]
    center = np.concatenate([position[own], half[:, None]], 1)
    along = np.linalg.norm(center - camera, axis=-1) - 2 * half
    for _ in range(100):
        offset = (camera + along[:, None] * ray - center) / half[:, None]
        away = distance(offset, world.shape[own], world.rotation[own].astype(np.float64))
        along += half * np.clip(away, -1, 1)
    hit = np.abs(away) < 1e-9
    return rows[hit], columns[hit], own[hit], center[hit], (camera + along[:, None] * ray)[hit]


def axes_of(camera):
    forward = -camera / np.linalg.norm(camera)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return camera, right, np.cross(right, forward), forward


def distance(offset, shape, rotation):
    """To the unit solids: a cube with edges rounded by 0.2, a ball, a cylinder with rims rounded by 0.07."""
    x, y, z = offset.T
    x, y = np.cos(rotation) * x + np.sin(rotation) * y, np.cos(rotation) * y - np.sin(rotation) * x
    excess = np.abs(np.stack([x, y, z])) - 0.8
    cube = np.linalg.norm(np.maximum(excess, 0), axis=0) + np.minimum(excess.max(0), 0) - 0.2
    ends = np.stack([np.hypot(x, y), np.abs(z)]) - 0.93
    cylinder = np.linalg.norm(np.maximum(ends, 0), axis=0) + np.minimum(ends.max(0), 0) - 0.07
    return np.select(
        [shape == CUBE, shape == SPHERE, shape == CYLINDER], [cube, np.linalg.norm(offset, axis=-1) - 1, cylinder]
    )


def projected(camera, point):
    """Row and column of the picture."""
    position, right, up, forward = axes_of(camera)
    offset = point - position
    depth = offset @ forward
    top, bottom, left, west = cameras.CROP
    row = (120 - cameras.FOCAL * (offset @ up) / depth - top) * SIZE[0] / (bottom - top)
    return np.stack([row, (160 + cameras.FOCAL * (offset @ right) / depth - left) * SIZE[1] / (west - left)], -1)


def test_flow_is_the_difference_of_projections(scenes):
    """Against points found, moved and projected in float64."""
    compared = objects = 0
    for scene in scenes:
        world, course = scene["world"], jax.tree.map(np.float64, scene["course"])
        for t in range(0, FRAMES, 3):
            position, camera = course.position[t], course.camera[t]
            rows, columns, own, center, point = points(world, position, camera, scene["index"][t])
            after = np.concatenate([course.position[t + 1][own], center[:, 2:]], 1)
            moved = after + np.einsum("pij,pj->pi", course.turn[t][own], point - center)
            there = projected(course.camera[t + 1], moved)
            expected = there - np.stack([rows + 0.5, columns + 0.5], -1)
            difference = np.abs(scene["flow"][t, rows, columns] - expected)
            assert difference.max() < 1e-3
            compared += len(own)
            found = np.linalg.norm(scene["flow"][t][scene["index"][t] >= 0], axis=-1)
            assert found.max() < 1.2 * np.linalg.norm(expected, axis=-1).max() + 0.01
            objects += len(found)
    assert compared > 0.95 * objects > 1000


def test_flow_of_the_ground_is_that_of_the_camera(scenes):
    for scene in scenes[:3]:
        course = jax.tree.map(np.float64, scene["course"])
        back = scene["index"] < 0
        if (course.camera[0] == course.camera[1]).all():
            assert np.abs(scene["flow"][back]).max() < 1e-3
            continue
        middle = [side // 2 for side in SIZE]
        for t in range(FRAMES):
            assert np.abs(scene["flow"][t][back[t]]).max() > 0.1
        assert np.linalg.norm(scene["flow"][:, middle[0], middle[1]], axis=-1).min() < 0.5  # it looks at the origin


def test_a_picture_of_surface_coordinates_is_carried_along(scenes):
    """Each frame's own coordinates of what it shows, taken from the frame after where the flow says, are the same."""
    warped, still = [], []
    for scene in scenes:
        course = jax.tree.map(np.float64, scene["course"])
        world, turn = scene["world"], np.broadcast_to(np.eye(3), (6, 3, 3))
        maps = []
        for t in range(FRAMES):
            rows, columns, own, center, point = points(world, course.position[t], course.camera[t], scene["index"][t])
            picture = np.zeros((*SIZE, 3))
            picture[rows, columns] = np.einsum("pji,pj->pi", turn[own], point - center)  # the turns undone
            maps.append(picture)
            turn = course.turn[t] @ turn
        for t in range(FRAMES - 1):
            index, after = scene["index"][t], scene["index"][t + 1]
            rows, columns = np.nonzero(index >= 0)
            own = index[rows, columns]
            there = np.stack([rows, columns]) + scene["flow"][t, rows, columns].T
            arrived, whole = sample(maps[t + 1], after, *there, own)
            before = maps[t][rows, columns]
            keep = whole & (after[rows, columns] == own)
            warped.append(np.abs(arrived - before)[keep].mean(-1))
            still.append(np.abs(maps[t + 1][rows, columns] - before)[keep].mean(-1))
    warped, still = np.concatenate(warped), np.concatenate(still)
    assert len(warped) > 3000 and warped.mean() < still.mean() / 10


def sample(picture, index, rows, columns, own):
    """Bilinear samples [p, 3], and whether all four pixels around lie inside and show the same object."""
    y, x = np.floor(rows).astype(int), np.floor(columns).astype(int)
    inside = (y >= 0) & (x >= 0) & (y < SIZE[0] - 1) & (x < SIZE[1] - 1)
    y, x = np.where(inside, y, 0), np.where(inside, x, 0)
    total, whole = 0, inside
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = np.abs(1 - dy - rows + y) * np.abs(1 - dx - columns + x)
        total = total + weight[:, None] * picture[y + dy, x + dx]
        whole = whole & (index[y + dy, x + dx] == own)
    return total, whole


def test_rolling_does_not_slip():
    way = jnp.asarray(np.random.default_rng(0).normal(size=(50, 2)) * 0.01, jnp.float32)
    turn = np.asarray(roll(way), np.float64)
    np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), np.broadcast_to(np.eye(3), turn.shape), atol=1e-6)
    contact = turn @ [0, 0, -1] + np.concatenate([way, np.full((50, 1), 0.0)], 1)
    np.testing.assert_allclose(contact, np.broadcast_to([0, 0, -1], contact.shape), atol=1e-3)
    np.testing.assert_allclose(roll(jnp.array([0.0, 2 * np.pi])), np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(roll(jnp.zeros(2)), np.eye(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames=0"),
        ({"camera": "moving"}, "camera='moving': choose 'fixed' or 'panning'"),
        ({"max_objects": 11}, "max_objects=11: at most 10"),
        ({"resolution": (4, 64)}, "resolution"),
    ],
)
def test_impossible_scenes_are_named(options, message):
    with pytest.raises(UserError, match=message):
        moving_clevr(jax.random.key(0), **options)
