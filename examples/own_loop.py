"""Slot Attention in a training loop of one's own: python examples/own_loop.py [STEPS]

The library gives the model, the pictures and the figures; the optimizer is optax's, the loop is plain JAX. It ends in
one file that `slotjax.load`, `slotjax.segment` and `slotjax.report` take like any other weights.
"""

import sys
from itertools import islice
from pathlib import Path

import jax
import optax

import slotjax

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000
OBJECTS = 4  # in a picture, at most
# Your own pictures: {"name": "folder", "path": DIR}; without masks beside them there is nothing to score by.
DATA = {"name": "sprites", "options": {"min_objects": 2, "max_objects": OBJECTS, "background": "black"}}
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

optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(optax.warmup_cosine_decay_schedule(0, 1e-3, STEPS // 10, STEPS))
)


@jax.jit
def train_step(params, state, images, key):
    def loss(params):
        out = slotjax.apply(model, params, images, key)
        return ((out.reconstruction - images) ** 2).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value


@jax.jit
def score(params, batch):
    """FG-ARI of the responsibilities."""
    segments = slotjax.segments(model, params, batch["image"], jax.random.key(1))
    sizes = {"num_true": OBJECTS + 1, "num_pred": 5, "ignore_background": True}
    return slotjax.metrics.adjusted_rand_index(batch["segments"], segments, **sizes).mean()


key = jax.random.key(0)
held_out = next(slotjax.data.loader(**DATA, resolution=model.resolution, batch_size=64, split="eval"))
params = slotjax.init(model, key, held_out["image"])
state = optimizer.init(params)
batches = slotjax.data.loader(**DATA, resolution=model.resolution, batch_size=8)
for step, batch in enumerate(islice(batches, STEPS), 1):
    params, state, value = train_step(params, state, batch["image"], jax.random.fold_in(key, step))
    if step % 500 == 0 or step == STEPS:
        print(f"step {step}  loss {value:.4f}  FG-ARI {score(params, held_out):.3f}", flush=True)

slotjax.save(FILE, model, params, data=DATA)
print(f"wrote {FILE}; next: model, params = slotjax.load({str(FILE)!r})")
print(f"      python -m slotjax.segment --weights {FILE} IMAGE...")
print(f"      python -m slotjax.report --weights {FILE}")
