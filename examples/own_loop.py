"""Slot Attention in a training loop of one's own: python examples/own_loop.py [STEPS]

The library gives the model, the scenes and the figures; the optimizer is optax's, the loop is plain JAX. It ends in one
file that `slotjax.load`, `slotjax.segment` and `slotjax.report` take like any other weights.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import optax

import slotjax

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000
SCENES = {"min_objects": 2, "max_objects": 4, "background": "black"}
FILE = Path("own.safetensors")

model = slotjax.build_model(
    {
        "name": "object_discovery",
        "resolution": (32, 32),
        "num_slots": 5,
        "slot_dim": 64,
        "num_iterations": 2,
        "initializer": {"name": "learned"},
        "encoder": {"name": "cnn", "channels": (32, 32), "kernels": (5, 5), "strides": (2, 1), "mlp_dim": 64},
        "decoder": {"name": "mlp", "hidden": (128, 128), "patch": 4, "frequencies": 4},
    }
)


def scenes(key, count):
    """Scenes with their true segments; of your own pictures, this is where they come in: [b, h, w, 3] in [-1, 1]."""
    draw = partial(slotjax.data.scenes.sprites, resolution=model.resolution, **SCENES)
    return jax.vmap(draw)(jax.random.split(key, count))


optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(optax.warmup_cosine_decay_schedule(0, 1e-3, STEPS // 10, STEPS))
)


@jax.jit
def train_step(params, state, key):
    scene_key, slots_key = jax.random.split(key)
    images = scenes(scene_key, 8).image

    def loss(params):
        out = slotjax.apply(model, params, images, slots_key)
        return ((out.reconstruction - images) ** 2).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value


@jax.jit
def score(params, key):
    """FG-ARI of the responsibilities on 64 other scenes."""
    scene = scenes(key, 64)
    segments = slotjax.segments(model, params, scene.image, key)
    sizes = {"num_true": SCENES["max_objects"] + 1, "num_pred": 5, "ignore_background": True}
    return slotjax.metrics.adjusted_rand_index(scene.segments, segments, **sizes).mean()


key = jax.random.key(0)
params = slotjax.init(model, key, scenes(key, 1).image)
state = optimizer.init(params)
for step in range(1, STEPS + 1):
    params, state, value = train_step(params, state, jax.random.fold_in(key, step))
    if step % 500 == 0 or step == STEPS:
        print(f"step {step}  loss {value:.4f}  FG-ARI {score(params, jax.random.key(1)):.3f}", flush=True)

slotjax.save(FILE, model, params, data={"name": "sprites", "options": SCENES})
print(f"wrote {FILE}; next: model, params = slotjax.load({str(FILE)!r})")
print(f"      python -m slotjax.segment --weights {FILE} IMAGE...")
print(f"      python -m slotjax.report --weights {FILE}")
