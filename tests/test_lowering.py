"""Every training step, and the scenes that it sees, lower for GPUs and TPUs: all that can be said without one."""

import jax
import jax.numpy as jnp
import pytest
from helpers import config_of
from ml_collections import ConfigDict
from test_models import PARAMETERS

from slotjax.data.scenes import SCENES
from slotjax.nn import cpu
from slotjax.training.feed import needed, open_feed
from slotjax.training.objective import build_objective
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import Parallel
from slotjax.training.restore import initial_state
from slotjax.training.run import learner
from slotjax.training.step import Step, build_train_step
from slotjax.training.vector import Layout

SIZES = {"image": 3, "flow": 2, "backward_flow": 2, "depth": 1}  # numbers of a pixel
BOXES = 5


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PARAMETERS if name.endswith("tiny")])
def test_lowers_for_accelerators(name):
    config = config_of(name)
    model, batch = learner(config), batch_of(config, 4)
    state = jax.eval_shape(lambda: initial_state(config, model))
    layout = Layout(state.params)
    objective = build_objective(model.in_training(), config.train.losses)
    step = Step(objective, build_optimizer(config.train, layout), jax.random.key(0), layout)
    train = build_train_step(step, Parallel("jit", 4, jax.devices()[:1]), 1)
    state = jax.eval_shape(lambda: layout.pack(initial_state(config, model)))
    with cpu.plain():  # as layers are there
        for platform in ("tpu", "cuda"):
            assert jax.export.export(train, platforms=[platform])(state, batch).platforms == (platform,)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_scenes_lower_for_accelerators(name):
    video = name.startswith("moving")
    config = config_of("video:tiny" if video else "tetrominoes:tiny" if name == "tetrominoes" else "clevr:tiny")
    config.data.update(name=name, pool=0)
    config.data.options = ConfigDict()
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
    for platform in ("tpu", "cuda"):
        render = jax.jit(open_feed(config).render)
        assert jax.export.export(render, platforms=[platform])(keys).platforms == (platform,)


def batch_of(config: ConfigDict, size: int) -> dict:
    """Shapes of a batch: of rendered scenes as they are, of stored data as they would be."""
    names, resolution = needed(config)
    if config.data.name in SCENES:
        feed = open_feed(config)
        example = {name: feed.lesson[name] for name in names}
    else:
        frames = (config.data.num_frames,) if config.data.num_frames else ()
        shapes = {name: (*frames, *resolution, channels) for name, channels in SIZES.items()}
        shapes["boxes"] = (*frames, BOXES, 4)
        example = {name: jax.ShapeDtypeStruct(shapes[name], jnp.float32) for name in names}
    if config.train.losses.distillation:  # of a teacher as the student, whose masks are of its own tokens
        tokens = [side // config.model.backbone.patch for side in resolution]
        example["teacher_masks"] = jax.ShapeDtypeStruct((config.model.num_slots, *tokens), jnp.float32)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), example)
    return batch | {"index": jax.ShapeDtypeStruct((size,), jnp.int32)}
