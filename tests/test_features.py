"""Discovery from the features of a frozen backbone: what is reconstructed, drawn, saved, kept and refused."""

import dataclasses
import shutil
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compose, config_of, images_of, tiny
from ml_collections import ConfigDict

import slotjax
from slotjax.api import evidence, jitted_apply, masks_at
from slotjax.config.backbone import identify
from slotjax.config.check import validate
from slotjax.data import feature_cache
from slotjax.data.feature_cache import FeatureCache, check_room
from slotjax.drawing import slots as draw
from slotjax.drawing.features import colours, in_pictures
from slotjax.errors import UserError
from slotjax.models import Output
from slotjax.nn.backbones import BACKBONES
from slotjax.reporting import scoring
from slotjax.reporting.history import History
from slotjax.training import restore
from slotjax.training.cached import learner
from slotjax.training.evaluation import blocks, build_clustering_score
from slotjax.training.feed import open_feed
from slotjax.training.loop import train
from slotjax.training.objective import build_objective
from slotjax.training.parallel import Parallel
from slotjax.training.run import open_run


@pytest.fixture
def weights(data_dir, tmp_path) -> Path:
    return Path(shutil.copy(data_dir / "vit" / "timm_dinov2.safetensors", tmp_path / "dino.safetensors"))


def config_for(pictures: Path, weights: Path | None = None, **train_fields):
    config = tiny("features", "folder,tiny", **train_fields)
    config.data.path = str(pictures)
    if weights:
        config.model.backbone.update(weights=str(weights), heads=2)
    return config


@pytest.fixture(scope="module")
def model():
    return slotjax.build_model(config_of("features:tiny").model)


@pytest.fixture(scope="module")
def params(model):
    return slotjax.init(model, jax.random.key(0), images_of(model))


def test_slots_reconstruct_what_the_backbone_sees(model, params):
    images = images_of(model)
    out = jax.device_get(jitted_apply(model, params, images, jax.random.key(1)))
    features = jax.jit(slotjax.features, static_argnums=0)(model.backbone, params["backbone"], images)
    assert out.target.shape == out.reconstruction.shape == (2, 4, 4, 32)
    np.testing.assert_allclose(out.target.reshape(2, 16, 32), features, atol=1e-5)
    np.testing.assert_allclose((out.masks[..., None] * out.components).sum(1), out.reconstruction, atol=1e-5)
    assert out.masks.shape == out.mask_logits.shape == (2, 7, 4, 4)


class Convolution(nn.Module):
    """A backbone that is no transformer."""

    width: int = 12

    channels = property(lambda self: self.width)

    @nn.compact
    def __call__(self, images):
        return nn.Conv(self.width, (8, 8), (8, 8), "VALID")(images)

    def inputs(self, resolution):
        return {"image": jax.ShapeDtypeStruct((*resolution, 3), jnp.float32)}

    def grid(self, resolution):
        return resolution[0] // 8, resolution[1] // 8

    def pretrained(self):
        return None

    def check(self):
        pass


def test_a_convolutional_backbone_comes_through_the_same_door(monkeypatch):
    monkeypatch.setitem(BACKBONES, "convolution", Convolution)
    config = config_of("features:tiny")
    config.model.backbone = ConfigDict({"name": "convolution", "width": 5})
    validate(config)
    model = slotjax.build_model(config.model)
    images = images_of(model)
    params = slotjax.init(model, jax.random.key(0), images)
    out = jitted_apply(model, params, images, jax.random.key(1))
    assert out.target.shape == out.reconstruction.shape == (2, 4, 4, 5)
    wanted = Convolution(5).apply({"params": params["backbone"]}, images)
    np.testing.assert_allclose(out.target, wanted, atol=1e-5)


def test_nothing_flows_into_the_backbone(model, params):
    objective = build_objective(model, {"mse": 1.0})
    keys = jax.random.split(jax.random.key(0), 2)
    batch = {"image": images_of(model)}
    gradients = jax.jit(jax.grad(lambda p: objective(p, batch, keys, jnp.int32(0))[0]))(params)
    assert not any(np.any(x) for x in jax.tree.leaves(gradients["backbone"]))
    assert any(np.any(x) for x in jax.tree.leaves(gradients["encoder"]))


def drawn(channels: int) -> Output:
    rng = np.random.default_rng(0)
    normal = [jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((2, 3, 4, 6, channels), (2, 3, 4, 6))]
    target = jnp.asarray(rng.normal(size=(2, 4, 6, channels)), jnp.float32)
    return dataclasses.replace(jax.jit(compose)(*normal), target=target)


def test_responsibilities_are_of_features_where_slots_draw_features():
    out, images = drawn(8), np.zeros((2, 8, 12, 3), np.float32)
    errors = ((np.asarray(out.target)[:, None] - np.asarray(out.components)) ** 2).mean(-1)
    wanted = np.log(np.asarray(out.masks)) - 3 * errors / (2 * 0.3**2)
    np.testing.assert_allclose(jax.nn.log_softmax(evidence(out), 1), jax.nn.log_softmax(wanted, 1), atol=1e-4)
    shares = jax.jit(slotjax.responsibilities)
    small, large = (shares(out, images[:, :height, :width]) for height, width in ((4, 6), (8, 12)))
    np.testing.assert_allclose(small, jax.nn.softmax(wanted, 1), atol=1e-5)
    np.testing.assert_allclose(large.sum(1), 1, atol=1e-5)
    assert large.shape == (2, 3, 8, 12)


def test_features_count_as_the_pictures_that_they_repeat():
    """Three channels, each of them thirty times, are as likely as the three."""
    out = drawn(3)
    many = dataclasses.replace(out, components=out.components.repeat(30, -1), target=out.target.repeat(30, -1))
    shares = jax.jit(slotjax.responsibilities)
    few, more = shares(out, out.target), shares(many, out.target)
    np.testing.assert_allclose(few, more, atol=1e-5)


def test_masks_grow_by_their_logits():
    out = drawn(8)
    np.testing.assert_array_equal(masks_at(out, (4, 6)), out.masks)
    larger = masks_at(out, (8, 12))
    wanted = jax.nn.softmax(jax.image.resize(out.mask_logits, (2, 3, 8, 12), "bilinear"), 1)
    np.testing.assert_allclose(larger, wanted, atol=1e-5)


def test_features_are_drawn_as_pictures():
    out, images = drawn(8), np.random.default_rng(1).uniform(-1, 1, (2, 8, 12, 3)).astype(np.float32)
    shown = in_pictures(out, images)
    assert shown.reconstruction.shape == shown.target.shape == images.shape
    np.testing.assert_array_equal(shown.components[:, 2], images)
    np.testing.assert_allclose(shown.masks.sum(1), 1, atol=1e-5)
    assert draw.sheet(images, out, size=8).ndim == 3
    kept = dataclasses.replace(drawn(3), target=None)
    assert in_pictures(kept, images) is kept
    flat = np.zeros((1, 1, 8))
    np.testing.assert_array_equal(colours(flat, flat), np.zeros((1, 1, 3)))


def test_the_file_fills_in_the_architecture(pictures, weights):
    config = config_for(pictures, weights)
    identify(config)
    backbone = config.model.backbone
    assert (backbone.width, backbone.depth, backbone.positions, backbone.layer_scale) == (16, 2, (3, 3), True)
    assert len(backbone.sha256) == 64 and backbone.heads == 2 and Path(backbone.weights).is_absolute()
    before = config.to_dict()
    identify(config)
    assert config.to_dict() == before


def test_weights_that_do_not_fit_are_refused(pictures, weights, data_dir):
    config = config_for(pictures, weights)
    config.model.backbone.patch = 16
    with pytest.raises(UserError, match=r"model.backbone.patch=16: .* has patches of 8; set it to that"):
        open_run(config, pictures.parent / "run")
    config = config_for(pictures, weights)
    config.model.backbone.depth = 1  # as if the config were for a smaller network than the file's
    config.model.backbone.layer = 2
    assert open_run(config, pictures.parent / "run").model.backbone.depth == 2
    config.model.backbone.layer = 3
    with pytest.raises(UserError, match="model.backbone.layer=3: there are 2 blocks"):
        open_run(config, pictures.parent / "run")
    config = config_for(pictures, pictures / "gone.safetensors")
    with pytest.raises(UserError, match=r"model.backbone.weights: .*gone.safetensors is no file"):
        open_run(config, pictures.parent / "run")
    config = config_for(pictures)
    config.model.resolution = (33, 32)
    with pytest.raises(UserError, match=r"model.resolution=\(33, 32\): pictures of 33x32: .* resize them to 32x32"):
        validate(config)
    config = config_for(pictures, weights)
    identify(config)
    shutil.copy(data_dir / "vit" / "timm_dino.safetensors", weights)
    with pytest.raises(UserError, match="is another file than this run has begun with"):
        identify(config)


@pytest.mark.slow
def test_a_run_on_features_that_are_kept(pictures, weights, tmp_path):
    """Checkpoints hold no backbone; the cache is there; the file may move, and is asked for."""
    config = config_for(pictures, weights, num_steps=2, eval_every=2, checkpoint_every=2)
    config.data.feature_cache = 0.5
    assert train(config, tmp_path / "run") == 2
    assert len(list(tmp_path.glob("pictures.features-*/index.json"))) == 2
    model, params = slotjax.load(tmp_path / "run")
    loaded = slotjax.load_backbone(weights, heads=2)[1]
    jax.tree.map(np.testing.assert_array_equal, params["backbone"], loaded)
    target = restore.initial_state(config, learner(config))
    assert "backbone" not in target.params and not target.frozen
    out = slotjax.apply(model, params, images_of(model), jax.random.key(0))
    assert out.target.shape == (2, 4, 4, 16)
    moved = weights.rename(tmp_path / "moved.safetensors")
    with pytest.raises(UserError, match=r"weights=.*dino.safetensors: no such file \(SHA-256 .*backbone=FILE"):
        slotjax.load(tmp_path / "run")
    again = slotjax.load(tmp_path / "run", backbone=moved)[1]
    jax.tree.map(np.testing.assert_array_equal, again, params)
    moved.rename(weights)
    config.train.start_from = str(slotjax.save(tmp_path / "packed.safetensors", model, params))
    for cached in (0.0, 0.5):
        config.data.feature_cache = cached
        begun = restore.first_state(config, learner(config))
        jax.tree.map(np.testing.assert_array_equal, begun.params["encoder"], params["encoder"])
        assert ("backbone" in begun.frozen) != bool(cached)


def test_kept_features_are_those_that_are_computed(pictures):
    config = config_for(pictures)
    losses = []
    for cached in (0.0, 1.0):
        config.data.feature_cache = cached
        model, feed = learner(config), open_feed(config, cached=bool(cached))
        feed.prepare()
        params = restore.initial_state(config, slotjax.build_model(config.model)).best_params
        batch = next(feed.train_batches(Parallel("jit", 4), 0))
        keys = jax.random.split(jax.random.key(0), 4)
        objective = build_objective(model, {"mse": 1.0})
        losses.append(float(jax.jit(objective)(params, batch, keys, jnp.int32(0))[0]))
        assert set(batch) == ({"features", "index"} if cached else {"image", "index"})
        assert next(feed.eval_batches())["image"].shape == (8, 32, 32, 3)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_cache_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 4 * 2 * 3 * 20)  # twenty records a shard
    values, asked = np.random.default_rng(0).normal(size=(50, 2, 3)).astype(np.float32), []

    def compute(numbers: np.ndarray) -> np.ndarray:
        asked.extend(numbers.tolist())
        if len(asked) == 36:  # in the second shard
            raise KeyboardInterrupt
        return values[numbers]

    cache = FeatureCache(tmp_path / "cache", 50, (2, 3))
    with pytest.raises(KeyboardInterrupt):
        cache.fill(compute, "noise")
    assert not cache.complete and asked[-1] == 35
    cache = FeatureCache(tmp_path / "cache", 50, (2, 3))
    cache.fill(compute, "noise")
    assert cache.complete and asked[36] == 20
    np.testing.assert_array_equal(np.stack([cache[i] for i in range(50)]), values)
    assert not FeatureCache(tmp_path / "cache", 50, (3, 2)).complete


def test_a_cache_that_cannot_be_read_is_said(tmp_path):
    cache = FeatureCache(tmp_path / "cache", 3, (4,))
    cache.fill(lambda numbers: np.ones((len(numbers), 4)), "ones")
    shard = tmp_path / "cache" / "shard-00000.array_record"
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(UserError, match="damaged|delete the folder"):
        FeatureCache(tmp_path / "cache", 3, (4,))[0]


def test_a_cache_is_bounded(tmp_path, pictures):
    caches = [FeatureCache(tmp_path / "cache", 2**20, (256, 4))]
    check_room(caches, 4.0)
    with pytest.raises(UserError, match=r"data.feature_cache=3.5: .* 1,048,576 pictures take 4.0 GiB; raise it to 4"):
        check_room(caches, 3.5)
    config = config_of("clevr:tiny")
    config.data.feature_cache = 1.0
    with pytest.raises(UserError, match="data.feature_cache=1: clevr scenes are rendered"):
        validate(config)
    config = tiny("folder")
    config.data.update(feature_cache=1.0, path=str(pictures))
    with pytest.raises(UserError, match="has no pretrained backbone"):
        validate(config)


@pytest.mark.parametrize(("count", "bands"), [(7, [3, 2, 2]), (4, [2, 2]), (1, [1]), (6, [3, 3]), (2, [2])])
def test_blocks_cut_a_picture_into_as_many_parts(count, bands):
    found = np.asarray(blocks(count, (12, 12)))
    assert np.unique(found).tolist() == list(range(count))
    assert [len(np.unique(row)) for row in found[:: 12 // len(bands)]] == bands


def test_clusters_of_features_are_of_patches(model, params):
    images = np.array(images_of(model))
    images[:, :16] = -1  # the upper half is black
    score = build_clustering_score("kmeans", 2, 2, model=model)
    truth = np.zeros((2, 32, 32), np.int32)
    truth[:, :16] = 1
    batch = {"image": jnp.asarray(images), "segments": truth, "index": np.arange(2)}
    assert float(score(params, batch)["miou"].min()) > 0.6


def test_a_report_has_clusters_of_what_the_slots_see():
    for name, beside in (
        ("features:tiny", ["kmeans_of_features", "blocks"]),
        ("quick:tiny", ["kmeans", "soft_kmeans"]),
    ):
        config = config_of(name)
        history = History(Path("run"), config, [], 0)
        assert list(scoring.baselines(history, slotjax.build_model(config.model), 5)) == beside
        assert set(beside) <= set(scoring.METHODS)
