"""Fits the free constants of the CLEVR renderer to genuine scenes by gradient descent through the renderer.

    python benchmarks/fit_clevr.py --sample clevr_with_masks_sample.tfrecords [--steps 100]

The first half of the sample is rendered again at half resolution; `Shading` and each scene's lamp positions, which are
not recorded, are adjusted together to lessen the difference of pixels. The lamps found serve only the fit. Prints the
constants for slotjax/data/scenes/clevr_world/material.py.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clevr_worlds import world_of_record
from compare_clevr import read_sample

from slotjax.data.scenes.clevr_world.material import FITTED, Shading
from slotjax.data.scenes.clevr_world.render import render
from slotjax.data.scenes.clevr_world.world import LAMP_JITTER, World

SIZE = (120, 160)
BATCH = 6
OBJECT_WEIGHT = 2.5  # of pixels that show an object: they are fewer
SOFT = 0.02  # differences below this (of 1) count squared, larger ones by their size
LAMP_PENALTY = 0.002


def difference(shading: Shading, shift: jax.Array, world: World, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean weighted difference of one scene's pixels, in percent, with its lamps moved by `shift` [3, 3]."""
    image, _ = render(world.replace(lamps=world.lamps + shift), resolution=SIZE, crop=False, shading=shading)
    error = (image + 1.0) / 2.0 - target
    error = jnp.sqrt(error**2 + SOFT**2) - SOFT
    return 100.0 * jnp.mean(error.mean(-1) * weight) + LAMP_PENALTY * jnp.sum(shift**2)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sample", type=Path, required=True, help="clevr_with_masks_sample.tfrecords")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()

    records = read_sample(options.sample)
    records = records[: len(records) // 2]
    worlds = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(world_of_record(record) for record in records))
    halves = (len(records), SIZE[0], 2, SIZE[1], 2)
    targets = np.stack([record["image"] for record in records]).reshape(*halves, 3).mean((2, 4)) / 255
    covered = np.stack([record["entity"] for record in records]).reshape(halves).any((2, 4))
    weights = np.where(covered, OBJECT_WEIGHT, 1.0)

    # Constants are positive: their logarithms are fitted.
    start = Shading(*(jnp.log(jnp.float32(value)) for value in FITTED))
    params = {"shading": start, "shift": jnp.zeros((len(records), 3, 3))}
    rates = {"shading": optax.adam(optax.linear_schedule(0.05, 0.005, options.steps)), "shift": optax.adam(0.08)}
    optimizer = optax.chain(optax.clip(1.0), optax.multi_transform(rates, {name: name for name in rates}))

    def loss(params: dict, chosen: jax.Array) -> jax.Array:
        shading = jax.tree.map(jnp.exp, params["shading"])
        scenes = jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], (params["shift"], worlds, targets, weights))
        return jnp.mean(jax.lax.map(lambda scene: difference(shading, *scene), scenes))

    @jax.jit
    def step(params: dict, state: optax.OptState, chosen: jax.Array):
        value, gradient = jax.value_and_grad(loss)(params, chosen)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return params | {"shift": jnp.clip(params["shift"], -LAMP_JITTER, LAMP_JITTER)}, state, value

    state, random = optimizer.init(params), np.random.default_rng(0)
    for index in range(options.steps):
        params, state, value = step(params, state, random.permutation(len(records))[:BATCH])
        if index % 10 == 0 or index == options.steps - 1:
            print(f"step {index}: {float(value):.3f}", flush=True)
    for name, value in params["shading"]._asdict().items():
        print(f"{name} = {float(jnp.exp(value)):.3f}")


if __name__ == "__main__":
    main()
