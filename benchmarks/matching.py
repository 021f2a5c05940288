"""What the matching costs within the set-prediction step: python benchmarks/matching.py [--batch 512] [--rounds 5]

Times, in turns, the assignment of batch x 10 x 10 costs on the device, SciPy's on the host (copies there and back
included), and the whole training step of configs/clevr_set.py; where the batch does not fit, the step is taken of
--step-batch images and scaled up.
"""

import argparse
import statistics

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment
from timing import at_least, clocked, in_turns, machine, noise_batch, recipe, run_on, training_step

from slotjax import cli
from slotjax.losses.sets import huber_costs
from slotjax.metrics.matching import linear_assignment


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/clevr_set.py", help="FILE[:VARIANT] of set prediction")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--step-batch", type=int, default=0, help="images in the step that is timed; 0: the batch")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["batch", "rounds"])
    at_least(options, 0, ["step_batch"])
    batch, size = options.batch, options.step_batch or options.batch
    costs, on_device = example_costs(batch), jax.jit(linear_assignment)
    config = recipe(options.config, f"train.batch_size={size}", "parallel=jit")
    functions = {
        "on the device": lambda: on_device(costs),
        "SciPy on the host": lambda: on_host(costs),
        "the whole step": training_step(run_on(config, jax.devices()[:1]), objects_batch(config)),
    }
    runs = {name: clocked(function) for name, function in functions.items()}
    in_turns(runs, 1)  # compiles
    medians = {name: statistics.median(seconds) for name, seconds in in_turns(runs, options.rounds).items()}
    medians["the whole step"] *= batch / size
    print(f"{machine()}; batch {batch}, {costs.shape[1]} x {costs.shape[2]}; medians of {options.rounds}")
    for name, seconds in medians.items():
        print(f"{name:20}{1e3 * seconds:10.2f} ms")
    share = 100 * medians["on the device"] / medians["the whole step"]
    print(f"matching takes {share:.2g}% of the step" + ("" if size == batch else f" (timed with {size} images)"))


def example_costs(batch: int, size: int = 10) -> jax.Array:
    """Costs as they are in training: predictions against sets of which three tenths are padding."""
    rng = np.random.default_rng(0)
    targets = rng.uniform(size=(batch, size, 19)) * (rng.uniform(size=(batch, size, 1)) < 0.7)
    return huber_costs(jnp.asarray(rng.uniform(size=(batch, size, 19)), jnp.float32), jnp.asarray(targets, jnp.float32))


def on_host(costs: jax.Array) -> jax.Array:
    """What the original does: leave the compiled step, match with SciPy, come back."""
    return jnp.asarray([linear_sum_assignment(c) for c in np.asarray(costs)], jnp.int32)


def objects_batch(config) -> dict:
    """Noise, and objects of any kind."""
    rng, batch, size = np.random.default_rng(0), config.train.batch_size, config.model.num_slots
    objects = {name: rng.integers(0, 2, (batch, size)) for name in ("size", "material", "shape", "color")}
    objects |= {"present": np.arange(size) < rng.integers(3, 11, (batch, 1))}
    objects |= {"3d_coords": rng.uniform(-3, 3, (batch, size, 3)).astype(np.float32)}
    return noise_batch(config) | {"objects": objects}


if __name__ == "__main__":
    cli.run(main)
