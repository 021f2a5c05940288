"""Procedural scenes: the same for the same key, and what their docstrings promise."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slotjax.data.scenes import multi_dsprites, sprites, tetrominoes
from slotjax.data.scenes.dsprites import VARIANTS, hsv_to_rgb
from slotjax.data.scenes.tetris import COLORS, EXTENTS, SHAPES

FAMILIES = {
    "tetrominoes": tetrominoes,
    **{variant: partial(multi_dsprites, variant=variant) for variant in VARIANTS},
    "sprites": sprites,
    "sprites on colors": partial(sprites, background="colored"),
}
COUNTS = {**VARIANTS, "tetrominoes": (3, 3), "sprites": (2, 4), "sprites on colors": (2, 4)}
SIDES = {"tetrominoes": 35, "sprites": 32, "sprites on colors": 32}
MANY = {"tetrominoes": 3000}


@cache
def many(family: str):
    """Several hundred scenes at once, on the host."""
    keys = jax.random.split(jax.random.key(0), MANY.get(family, 400))
    return jax.device_get(jax.jit(jax.vmap(FAMILIES[family]))(keys))


@pytest.mark.parametrize("family", FAMILIES)
def test_form(family):
    scenes, side = many(family), SIDES.get(family, 64)
    count = MANY.get(family, 400)
    assert scenes.image.shape == (count, side, side, 3) and scenes.image.dtype == np.float32
    assert scenes.segments.shape == (count, side, side) and scenes.segments.dtype == np.int32
    assert scenes.image.min() >= -1 and scenes.image.max() <= 1
    assert all(array.shape[:2] == (count, COUNTS[family][1]) for array in scenes.objects.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scene_is_its_key(family):
    keys = jax.random.split(jax.random.key(0), MANY.get(family, 400))
    alone = jax.jit(FAMILIES[family])(keys[5])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[5], atol=1e-5), alone, many(family))
    images = many(family).image
    assert len(np.unique(images[:100].reshape(100, -1), axis=0)) == 100


@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_objects_varies_over_all_it_may_be(family):
    low, high = COUNTS[family]
    present = many(family).objects["present"]
    counts = present.sum(1)
    assert set(counts) == set(range(low, high + 1))
    np.testing.assert_array_equal(present, np.arange(high) < counts[:, None])
    assert (np.bincount(counts)[low:] > 0.7 * len(counts) / (high - low + 1)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_belong_to_objects_that_are_present(family):
    scenes = many(family)
    high = COUNTS[family][1]
    seen = np.stack([(scenes.segments == i).any((1, 2)) for i in range(high + 1)], 1)
    assert scenes.segments.max() == high and scenes.segments.min() == 0
    assert seen[:, 0].all()
    assert not (seen[:, 1:] & ~scenes.objects["present"]).any()
    assert seen[:, 1:].sum() > 0.9 * scenes.objects["present"].sum()  # few are wholly hidden
    for name, array in scenes.objects.items():
        assert not array[~scenes.objects["present"]].any(), name


@pytest.mark.parametrize("family", [*VARIANTS, "tetrominoes"])
def test_pixels_have_their_objects_color(family):
    scenes = many(family)
    which = np.maximum(scenes.segments - 1, 0).reshape(len(scenes.segments), -1)
    expected = np.take_along_axis(scenes.objects["color"], which[..., None], 1).reshape(scenes.image.shape) * 2 - 1
    inside = scenes.segments > 0
    np.testing.assert_allclose(scenes.image[inside], expected[inside], atol=1e-6)


def backgrounds(family):
    """The background's colour of every scene, which must be one."""
    scenes = many(family)
    outside = (scenes.segments == 0)[..., None]
    low = np.where(outside, scenes.image, 9).min((1, 2))
    np.testing.assert_allclose(np.where(outside, scenes.image, -9).max((1, 2)), low, atol=1e-6)
    return low


@pytest.mark.parametrize("family", ["tetrominoes", "binarized", "sprites"])
def test_black_backgrounds(family):
    np.testing.assert_array_equal(backgrounds(family), -1)


def test_grey_and_colored_backgrounds():
    grey = backgrounds("colored_on_grayscale")
    np.testing.assert_allclose(np.ptp(grey, axis=1), 0, atol=1e-6)
    assert grey.min() < -0.9 and grey.max() > 0.9
    assert np.ptp(backgrounds("colored_on_colored"), axis=1).mean() > 0.2
    assert np.ptp(backgrounds("sprites on colors"), axis=1).mean() > 0.2


def test_binarized_sprites_are_white():
    scenes = many("binarized")
    np.testing.assert_array_equal(scenes.image[scenes.segments > 0], 1)


def test_seventeen_distinct_shapes_of_four_cells():
    assert len({shape.tobytes() for shape in SHAPES}) == len(SHAPES) == 17
    for shape, extent in zip(SHAPES, EXTENTS, strict=True):
        assert shape.sum() == 4
        assert shape.any(1).sum() == extent[0] and shape.any(0).sum() == extent[1]
        assert shape[0].any() and shape[:, 0].any()
        cells = {tuple(cell) for cell in np.argwhere(shape)}
        reached = {min(cells)}
        for _ in range(4):
            reached |= {(y + a, x + b) for y, x in reached for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))} & cells
        assert reached == cells


def test_tetrominoes_never_overlap_and_use_everything():
    scenes = many("tetrominoes")
    for i in range(1, 4):
        assert ((scenes.segments == i).sum((1, 2)) == 4 * 25).all()  # all of every piece is visible
    assert set(scenes.objects["shape"].ravel()) == set(range(17))
    colors = scenes.objects["color"].reshape(-1, 3)
    np.testing.assert_array_equal(np.unique(colors, axis=0), np.unique(COLORS, axis=0))


def test_tetrominoes_lie_where_their_attributes_say():
    scenes = many("tetrominoes")
    for n in range(0, 3000, 100):
        for i in range(3):
            rows, columns = np.nonzero(scenes.segments[n] == i + 1)
            assert (rows.min() + rows.max() + 1) / 2 == scenes.objects["y"][n, i]
            assert (columns.min() + columns.max() + 1) / 2 == scenes.objects["x"][n, i]
            shape, extent = scenes.objects["shape"][n, i], EXTENTS[scenes.objects["shape"][n, i]]
            cells = (scenes.segments[n] == i + 1)[rows.min() :: 5, columns.min() :: 5][: extent[0], : extent[1]]
            np.testing.assert_array_equal(cells, SHAPES[shape][: extent[0], : extent[1]])


def test_sprites_keep_apart_and_share_colors():
    objects = many("sprites").objects
    centre = np.stack([objects["y"], objects["x"]], -1)
    distance = np.linalg.norm(centre[:, 0] - centre[:, 1], axis=-1)
    assert np.quantile(distance, 0.01) > 0.25
    same = (objects["color"][:, 0] == objects["color"][:, 1]).all(-1)
    assert 0.1 < same.mean() < 0.5


def test_front_sprites_hide_those_behind():
    scenes = many("colored_on_grayscale")
    areas = np.stack([(scenes.segments == i).sum((1, 2)) for i in (1, 2)], 1)
    assert areas[:, 0].mean() < areas[:, 1].mean()


def test_other_resolutions_show_the_same_scene():
    draw = jax.jit(multi_dsprites, static_argnames=("variant", "resolution"))
    small, large = (draw(jax.random.key(3), resolution=(side, side)) for side in (64, 128))
    assert large.image.shape == (128, 128, 3)
    assert (small.segments == large.segments[::2, ::2]).mean() > 0.95
    jax.tree.map(np.testing.assert_array_equal, small.objects, large.objects)


def test_hue_saturation_value():
    hsv = jnp.array([[0, 1, 1], [1 / 3, 1, 1], [2 / 3, 1, 0.5], [0.2, 0, 0.3], [1 / 6, 1, 1]])
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 0.5], [0.3, 0.3, 0.3], [1, 1, 0]]
    np.testing.assert_allclose(hsv_to_rgb(hsv), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (multi_dsprites, {"variant": "grey"}, "variant='grey': multi_dsprites has binarized, "),
        (multi_dsprites, {"resolution": (64, 32)}, r"resolution=\(64, 32\)"),
        (sprites, {"min_objects": 3, "max_objects": 2}, "min_objects=3, max_objects=2: need"),
        (sprites, {"max_objects": 9}, "max_objects=9"),
        (sprites, {"background": "white"}, "background='white': choose"),
    ],
)
def test_impossible_scenes_are_named(family, options, message):
    with pytest.raises(ValueError, match=message):
        family(jax.random.key(0), **options)
