"""The task of set prediction: targets, loss, figures, studies, refusals and pictures."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import config_of, random_sets
from ml_collections import ConfigDict

from slotjax import build_model, init
from slotjax.data import clevr_properties
from slotjax.data.scenes.clevr_world import camera as clevr_camera
from slotjax.drawing import objects as markers
from slotjax.errors import UserError
from slotjax.losses.sets import huber_costs, matched_huber
from slotjax.tasks import TASKS, set_prediction
from slotjax.training.evaluation import build_score, collect
from slotjax.training.feed import SceneFeed, StoredFeed, open_feed
from slotjax.training.parallel import Parallel
from slotjax.training.step import split

targets = jax.jit(clevr_properties.targets, static_argnums=1)


def clevr_objects(rng, images=2, capacity=4, counts=(2, 4)) -> dict:
    """Objects of made-up scenes, coded as those that are rendered."""
    present = np.arange(capacity) < np.resize(counts, images)[:, None]
    position = rng.uniform(-3, 3, (images, capacity, 2))
    size = rng.integers(0, 2, (images, capacity))
    points = np.concatenate([position, np.where(size, 0.7, 0.35)[..., None]], -1).astype(np.float32)
    seen = np.stack([project(clevr_camera.MEAN_POSITION + 0.3 * rng.normal(size=3), scene) for scene in points])
    codes = {"size": size}
    codes |= {name: rng.integers(0, n, size.shape) for name, n in (("material", 2), ("shape", 3), ("color", 8))}
    objects = {"3d_coords": points, "pixel_coords": seen, "picture_coords": seen[..., :2] / (320, 240), **codes}
    return {
        name: values * present.reshape(present.shape + (1,) * (values.ndim - 2)) for name, values in objects.items()
    } | {"present": present}


def project(position, points):
    return np.asarray(clevr_camera.project(clevr_camera.look_at_origin(jnp.asarray(position)), points))


def as_records(objects: dict) -> dict:
    """The same objects as CLEVR-with-masks codes them."""
    tables = {"size": (2, 1), "material": (1, 2), "shape": (1, 2, 3), "color": (1, 3, 5, 8, 2, 4, 6, 7)}
    codes = {name: np.array(table)[objects[name]] * objects["present"] for name, table in tables.items()}
    axes = dict(zip("xyz", np.moveaxis(objects["3d_coords"], -1, 0), strict=True))
    return {"present": objects["present"], **axes, **codes}


def test_targets_are_what_the_original_makes(shared_data):
    recorded = np.load(shared_data / "golden" / "golden_data.npz")
    objects = {name.removeprefix("objects/"): recorded[name][None] for name in recorded if name.startswith("objects/")}
    made = targets(objects | {"present": np.ones((1, 4), bool)}, 10)
    np.testing.assert_allclose(made[0], recorded["nocrop/target"], atol=1e-6)


def test_both_codings_give_the_same_targets():
    objects = clevr_objects(np.random.default_rng(0))
    made = targets(objects, 5)
    assert made.shape == (2, 5, 19) and made[..., 18].sum(1).tolist() == [2, 4]
    assert not made[..., :18][made[..., 18] == 0].any()
    np.testing.assert_array_equal(targets(as_records(objects), 5), made)


def test_real_objects_come_first_and_none_is_lost():
    objects = clevr_objects(np.random.default_rng(1), counts=(4, 4))
    gaps = objects | {"present": np.array([[False, True, False, True], [True, False, False, False]])}
    made = np.asarray(targets(gaps, 2))
    assert made[..., 18].tolist() == [[1, 1], [1, 0]]
    np.testing.assert_allclose(made[0, :, :3] * 6 - 3, objects["3d_coords"][0, [1, 3]], atol=1e-5)


def test_the_loss_is_the_cheapest_pairing():
    rng = np.random.default_rng(2)
    predictions, targets = rng.uniform(size=(3, 4, 19)).astype(np.float32), random_sets(rng, 3, 4)
    costs = np.asarray(huber_costs(predictions, targets))
    cheapest = [min(sum(c[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(4))) for c in costs]
    np.testing.assert_allclose(matched_huber(predictions, targets), cheapest, rtol=1e-5)
    np.testing.assert_allclose(matched_huber(predictions[:, ::-1], targets[:, [2, 0, 3, 1]]), cheapest, rtol=1e-5)
    np.testing.assert_allclose(matched_huber(targets[:, ::-1], targets), 0, atol=1e-7)


@pytest.fixture(scope="module")
def config() -> ConfigDict:
    config = config_of("clevr_set:tiny")
    config.data.options.update(min_objects=1, max_objects=2)
    config.data.eval_images = 12
    config.model.num_slots = 3
    return config


@pytest.fixture(scope="module")
def model(config):
    return build_model(config.model)


@pytest.fixture(scope="module")
def params(model):
    return init(model, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(3)
    images = rng.uniform(-1, 1, (2, 8, 32, 32, 3)).astype(np.float32)
    valid = np.arange(16).reshape(2, 8) < 12
    return [
        {"image": images[i], "objects": clevr_objects(rng, 8, 2, (1, 2)), "index": np.arange(8), "valid": valid[i]}
        for i in range(2)
    ]


def test_figures_over_the_whole_set(config, model, params, batches):
    figures = collect(build_score(config, model, None), params, batches)
    assert figures["predictions"].shape == figures["targets"].shape == (12, 3, 19)
    assert figures["set_loss"].shape == (12,)
    result = set_prediction.summary(figures)
    assert (result["num_images"], result["num_objects"]) == (12, 18)
    perfect = set_prediction.summary(figures | {"predictions": figures["targets"], "set_loss": np.zeros(12)})
    assert all(perfect[name] == pytest.approx(1.0) for name in set_prediction.AP)
    assert set_prediction.is_better(perfect, result) and not set_prediction.is_better(result, perfect)
    json.dumps(result, allow_nan=False)


def test_studies_of_objects_and_iterations(config, model, params, batches):
    *of_objects, of_iterations = set_prediction.conditions(config)
    assert [study.options["num_slots"] for study in of_objects] == [6, 8, 10]
    assert of_objects[0].config.data.options.to_dict() == {"min_objects": 6, "max_objects": 10, "crop": False}
    assert config.data.options.max_objects == 2
    figures = collect(build_score(config, model, None, **of_iterations.options), params, batches)
    rows = of_iterations.rows(figures)
    assert list(rows) == ["1 iteration", *(f"{t} iterations" for t in range(2, 8))]
    usual = collect(build_score(config, model, None), params, batches)
    np.testing.assert_allclose(rows["3 iterations"]["predictions"], usual["predictions"], atol=1e-5)
    table = set_prediction.table(
        set_prediction.summary(usual), {title: set_prediction.summary(row) for title, row in rows.items()}
    )
    lines = table.splitlines()
    assert lines[0].split() == ["AP@inf", "AP@1", "AP@0.5", "AP@0.25", "AP@0.125"]
    assert lines[2].split()[-5:] == ["94.3", "86.7", "56.0", "10.8", "0.9"] and len(lines) == 10


def test_only_scenes_of_exactly_so_many_objects_are_studied():
    targets = random_sets(np.random.default_rng(4), 20, 10, real=0.7)
    figures = {"targets": targets, "predictions": targets, "set_loss": np.zeros(20)}
    for study in set_prediction.conditions(config_of("clevr_set"))[:3]:
        ((title, row),) = study.rows(figures).items()
        assert (row["targets"][..., 18].sum(1) == int(title.split()[0])).all()
    nothing = {name: values[:0] for name, values in figures.items()}
    assert "-" in set_prediction.table(set_prediction.summary(nothing), {})


def refusal(changes: dict, example: dict | None = None) -> str:
    config = config_of("clevr_set:tiny")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as error:
        set_prediction.check(config, example) if example is not None else open_feed(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_data_that_cannot_be_learned_from_is_refused():
    objects = jax.eval_shape(lambda: clevr_objects_shapes(10))
    assert "model.num_slots=6" in refusal({"model.num_slots": 6}, {"objects": objects})
    assert "set model.num_slots=8 or data.max_objects=6" in refusal(
        {"model.num_slots": 6, "data.max_objects": 8, "data.name": "clevr_tfds"}, {"objects": objects}
    )
    assert "set model.num_slots=10 or data.options.max_objects=6" in refusal(  # rendered scenes do not heed the other
        {"model.num_slots": 6, "data.max_objects": 6}, {"objects": objects}
    )
    assert "says nothing of objects" in refusal({"data.name": "folder"}, {"image": None})
    lacking = {name: value for name, value in objects.items() if name not in ("color", "3d_coords")}
    assert "no color, 3d_coords; choose clevr" in refusal({}, {"objects": lacking})
    assert "data.options.max_objects=2" in refusal({"model.num_slots": 2})
    tetrominoes = {"data.name": "tetrominoes", "data.options": ConfigDict(), "model.resolution": (35, 35)}
    assert "its objects have no size, material" in refusal(tetrominoes)


def clevr_objects_shapes(capacity: int) -> dict:
    codes = {name: jnp.zeros(capacity, int) for name in ("size", "material", "shape", "color")}
    return codes | {"present": jnp.zeros(capacity, bool), "3d_coords": jnp.zeros((capacity, 3))}


def test_stored_scenes_bring_their_objects(data_dir, cache_home):
    config = config_of("clevr_set:masks,tiny")
    config.data.update(path=str(data_dir / "clevr_with_masks.tfrecords"), eval_images=1)
    config.train.batch_size = 4
    feed = open_feed(config)
    assert isinstance(feed, StoredFeed)
    batch = next(feed.train_batches(Parallel("pmap", 4), 0))
    assert batch["image"].shape == (4, 1, 32, 32, 3) and batch["objects"]["present"].shape == (4, 1, 10)
    made = targets(jax.tree.map(lambda x: x[:, 0], batch["objects"]), 10)
    assert (made[..., 18].sum(1) >= 3).all()
    real = made[..., 18] > 0
    assert ((made[..., :3][real] > 0) & (made[..., :3][real] < 1)).all()
    halves = split(batch, 2, 0)
    assert len(halves) == 2 and halves[1]["objects"]["size"].shape == (2, 1, 10)


def test_a_pool_of_scenes_comes_back_every_epoch():
    config = config_of("quick:tiny")
    config.data.update(pool=6)
    config.train.batch_size = 4
    feed, parallel = SceneFeed(config), Parallel("jit", 4)
    feed.fields = ("image", *set_prediction.TARGETS)
    three = list(itertools.islice(feed.train_batches(parallel, 0), 3))
    again = next(feed.train_batches(parallel, 2))
    jax.tree.map(np.testing.assert_array_equal, three[2], again)
    images = np.concatenate([batch["image"] for batch in three]).reshape(12, -1)
    assert len(np.unique(images[:6], axis=0)) == 6
    np.testing.assert_array_equal(np.unique(images[:6], axis=0), np.unique(images[6:], axis=0))
    assert not np.array_equal(images[:6], images[6:])
    assert np.abs(images).max() <= 1 and three[0]["objects"]["present"].shape == (4, 4)


def test_cameras_place_objects_where_they_are_seen():
    objects = clevr_objects(np.random.default_rng(5), 8, 6, (1, 3, 6))
    for i, camera in enumerate(markers.fit_cameras(objects)):
        here = objects["present"][i]
        seen = markers.project(camera, objects["3d_coords"][i, here])
        np.testing.assert_allclose(seen, objects["picture_coords"][i, here], atol=0.02)


def test_pictures_show_truth_and_predictions(config, model, params, batches):
    batch = jax.tree.map(lambda x: x[:2], {k: v for k, v in batches[0].items() if k != "valid"})
    keys = jax.random.split(jax.random.key(0), 2)
    sheet = TASKS["set_prediction"].pictures(model, params, batch, keys)
    assert sheet.dtype == np.uint8 and sheet.shape == (16 + 2 * 262 + 4, 3 * 262 + 2 * 4, 3)
    right = np.asarray(targets(batch["objects"], 3))
    _, true, found = (
        markers.sheet(batch["image"], right, batch["objects"])[16:, i * 266 : i * 266 + 262] for i in range(3)
    )
    np.testing.assert_array_equal(true, found)
    assert (true != sheet[16:, :262]).any()
