"""Learning from a teacher's masks, or through its eyes: what losses say, what is refused, a tiny student."""

import itertools
import math
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from ml_collections import ConfigDict

import slotjax
from slotjax.config.check import validate
from slotjax.errors import UserError
from slotjax.losses.masks import distillation
from slotjax.losses.reconstruction import perceptual
from slotjax.models import Output, build_model
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.loop import train
from slotjax.training.metrics_log import read_metrics
from slotjax.training.objective import build_objective
from slotjax.training.restore import initial_state, saved
from slotjax.training.run import open_run
from slotjax.training.teacher import open_teacher


def test_the_loss_is_the_cross_entropy_under_the_best_matching():
    rng = np.random.default_rng(0)
    attention, masks = (rng.dirichlet(np.ones(3), (4, 6)).swapaxes(1, 2).astype(np.float32) for _ in range(2))
    attention[1] = attention[1].max(1, keepdims=True)  # all alike
    attention[1] /= 3 * attention[1]
    masks[2, 1:] *= 0.01  # one takes everything
    found = distillation(Output(attention=jnp.asarray(attention)), {"teacher_masks": masks.reshape(4, 3, 2, 3)})
    for said, decided, loss in zip(attention, masks.argmax(1), np.asarray(found), strict=True):
        own = said.argmax(0)

        def overlap(order, own=own, decided=decided):
            pairs = [(decided == k, own == order[k]) for k in range(3)]
            return sum((a & b).sum() / max((a | b).sum(), 1) for a, b in pairs)

        orders = list(itertools.permutations(range(3)))
        best = max(map(overlap, orders))
        losses = [
            -np.log([said[order[k], n] for n, k in enumerate(decided)]).mean()
            for order in orders
            if math.isclose(overlap(order), best, abs_tol=1e-6)
        ]
        assert min(abs(loss - one) for one in losses) < 1e-5


def test_the_loss_pulls_attention_to_the_masks_whatever_the_order():
    decided = np.zeros((1, 3, 2, 2), np.float32)
    decided[0, [0, 0, 1, 2], [0, 0, 1, 1], [0, 1, 0, 1]] = 1
    logits = jnp.asarray(3 * decided.reshape(1, 3, 4)[:, [2, 0, 1]])

    def loss(logits):
        return distillation(Output(attention=jax.nn.softmax(logits, 1)), {"teacher_masks": decided})[0]

    wrong = jnp.asarray(np.tile(logits[:, :, :1], (1, 1, 4)))
    assert loss(logits) < 0.12 < loss(wrong)
    assert (np.sign(jax.grad(loss)(logits)) == np.where(logits > 0, -1, 1)).all()


def test_a_teacher_and_its_weight_go_together():
    config = tiny("features", "folder,tiny", teacher="runs/teacher")
    with pytest.raises(UserError, match="train.teacher=runs/teacher: nothing is learned from it; weigh"):
        validate(config)
    config.train.losses.update(distillation=0.005, perceptual=0.01)
    with pytest.raises(UserError, match="train.teacher=runs/teacher: teaches one of distillation and perceptual"):
        validate(config)
    config = tiny("features", "folder,student,tiny")
    with pytest.raises(UserError, match=r"train.losses.distillation=0.005: has no teacher"):
        validate(config)
    config = tiny("quick", "tiny")
    config.train.losses.perceptual = 0.01
    with pytest.raises(UserError, match=r"train.losses.perceptual=0.01: has no teacher"):
        validate(config)


def packed(config, path):
    """Weights of the model of a config, as it begins."""
    model = build_model(config.model)
    return str(slotjax.save(path, model, initial_state(config, model).best_params))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"num_slots": 5}, "has 7 slots, not model.num_slots=5; set it to 7"),
        ({"resolution": (40, 32)}, "its masks are of 4x4 places, and attention here is of 5x4"),
        ({"backbone.layer": 1}, "sees by another model.backbone"),
    ],
)
def test_another_teacher_is_refused(changed, said, tmp_path):
    name = packed(tiny("features", "folder,tiny"), tmp_path / "teacher.safetensors")
    config = tiny("features", "folder,student,tiny", teacher=name)
    config.model.update_from_flattened_dict(changed)
    with pytest.raises(UserError, match=f"train.teacher={name}: {said}"):
        open_teacher(config)


def test_a_teacher_that_is_not_there_is_said_before_anything_is_written(pictures, tmp_path):
    config = tiny("features", "folder,student,tiny", teacher=str(tmp_path / "gone"))
    config.data.path = str(pictures)
    with pytest.raises(UserError, match=r"train.teacher=.*gone: .*no such directory or file"):
        open_run(config, tmp_path / "run")
    config = tiny("clevr", "tiny", teacher="clevr6")
    config.train.losses.distillation = 0.1
    config.model.num_slots = 7
    with pytest.raises(UserError, match="train.teacher=clevr6: its masks are of .* an encoder that keeps every place"):
        open_teacher(config)


@pytest.mark.slow
@pytest.mark.parametrize("cached", [0.0, 0.5])
def test_a_student_learns_from_a_teacher(pictures, tmp_path, cached):
    """The run goes on where it was stopped, and its checkpoints hold no teacher."""
    name = packed(tiny("features", "folder,tiny"), tmp_path / "teacher.safetensors")
    config = tiny("features", "folder,student,tiny", teacher=name, num_steps=2, log_every=1, checkpoint_every=2)
    config.data.update(path=str(pictures), feature_cache=cached)
    config.train.update(learning_rate=1e-2, warmup_steps=1)
    config.train.losses.distillation = 1.0
    train(config, tmp_path / "run")
    config.train.num_steps = 12
    train(config, tmp_path / "run")
    losses = [row["distillation"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert len(losses) == 12 and max(losses[-3:]) < min(losses[:3])
    model = build_model(config.model)
    target = saved(jax.eval_shape(lambda: initial_state(config, model)))
    state = Checkpoints(tmp_path / "run").restore(target)
    assert set(state.params) == {"encoder", "attention", "decoder"} and not state.frozen


def test_the_perceptual_loss_is_the_distance_of_directions():
    rng = np.random.default_rng(0)
    drawn, target = (rng.normal(size=(2, 5, 8)).astype(np.float32) for _ in range(2))
    cosines = (drawn * target).sum(-1) / np.linalg.norm(drawn, axis=-1) / np.linalg.norm(target, axis=-1)
    found = perceptual(Output(), {"teacher_features": drawn, "teacher_target": 7 * target})
    np.testing.assert_allclose(found, (2 - 2 * cosines).mean(-1), rtol=1e-4)


def drawing(**model) -> ConfigDict:
    """A config of pictures of 16x16 whose decoder draws whole ones."""
    config = tiny("quick", "tiny")
    config.model.update(resolution=(16, 16), **model)
    config.train.losses.perceptual = 0.01
    return config


@pytest.mark.parametrize("kind", ["run", "vit"])
def test_pictures_are_looked_at_through_frozen_features(kind, data_dir, tmp_path):
    """The gradient reaches what is drawn, and nothing of the teacher's is trained, or moves the target."""
    config = drawing()
    if kind == "run":
        config.train.teacher = packed(config, tmp_path / "teacher.safetensors")
        model, weights = slotjax.load(config.train.teacher)
        look = partial(slotjax.encode, model, weights)
    else:
        config.train.teacher = str(shutil.copy(data_dir / "vit" / "hf_dino.safetensors", tmp_path))
        (tmp_path / "config.json").write_text('{"hidden_size": 16, "num_attention_heads": 2, "hidden_act": "gelu"}')
        look = partial(slotjax.features, *slotjax.load_backbone(config.train.teacher))
    teacher, model = open_teacher(config), build_model(config.model)
    state = teacher.beside(initial_state(config, model))
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    objective = build_objective(model, {"perceptual": 1.0}, teacher)
    with pytest.raises(UserError, match="train.losses.perceptual: the batch holds no 'teacher_features'"):
        build_objective(model, {"perceptual": 1.0})(state.params, {"image": images}, keys, jnp.int32(0))

    def loss(params):
        return objective({**params, **state.frozen}, {"image": images}, keys, jnp.int32(0))[0]

    found, gradient = jax.jit(jax.value_and_grad(loss))(state.params)
    drawn = slotjax.apply(model, state.params, images, keys).reconstruction
    look = jax.jit(look)  # what is drawn lies beyond [-1, 1]
    expected = perceptual(Output(), {"teacher_features": look(drawn), "teacher_target": look(images)}).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient["decoder"])) > 0
    assert set(saved(state).params) == {"encoder", "attention", "decoder"} and not saved(state).frozen


@pytest.mark.parametrize(
    ("changed", "teacher", "said"),
    [
        ({}, "quick", r"looks at pictures of \(32, 32\), not model.resolution=\(16, 16\); set it to"),
        ({}, "video", "only the encoder of a run of model.name=object_discovery"),
        ({"decoder.sample": 2}, "quick", "model.decoder.sample=2: it looks at whole pictures; set it to 1"),
    ],
)
def test_eyes_that_cannot_look_at_what_is_drawn_are_refused(changed, teacher, said):
    config = drawing()
    config.model.update_from_flattened_dict(changed)
    config.train.teacher = teacher
    with pytest.raises(UserError, match=f"train.teacher={teacher}: {said}"):
        open_teacher(config)


def test_features_are_not_looked_at(tmp_path):
    config = tiny("features", "folder,tiny", teacher="quick")
    config.train.losses.perceptual = 0.01
    with pytest.raises(UserError, match="train.teacher=quick: train.losses.perceptual is for model.name"):
        open_teacher(config)
