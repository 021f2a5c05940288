"""Learning from a teacher's masks: what the loss says, what is refused, and a tiny student of a tiny teacher."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny

import slotjax
from slotjax.config.check import validate
from slotjax.errors import UserError
from slotjax.losses.masks import distillation
from slotjax.models import Output, build_model
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.loop import train
from slotjax.training.metrics_log import read_metrics
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
    config = tiny("features", "folder,student,tiny")
    with pytest.raises(UserError, match=r"train.losses.distillation=0.005: has no teacher"):
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
