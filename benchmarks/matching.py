"""What the matching costs within the set-prediction step: python benchmarks/matching.py [--batch 512] [--repeats 5]

Times the assignment of batch x 10 x 10 costs on the device against SciPy on the host (copies there and back included),
and the whole training step of configs/clevr_set.py; where the batch does not fit, the step is taken in micro-batches
of --step-batch images and scaled up.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from slotjax.losses import huber_costs
from slotjax.metrics.matching import linear_assignment
from slotjax.models import build_model
from slotjax.tasks import set_prediction
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import Parallel
from slotjax.training.run import initial_state
from slotjax.training.step import Step

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--step-batch", type=int, default=0, help="images in the step that is timed; 0: the batch")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    batch, repeats = arguments.batch, arguments.repeats
    costs = example_costs(batch)
    device = best_of(jax.jit(linear_assignment), costs, repeats=repeats)
    host = best_of(on_host, costs, repeats=repeats)
    size = arguments.step_batch or batch
    step = time_step(size, repeats) * batch / size
    scaled = "" if size == batch else f" (timed with {size} images)"
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}; batch {batch}, {costs.shape[1]} x {costs.shape[2]}")
    print(f"on the device       {1e3 * device:10.2f} ms")
    print(f"SciPy on the host   {1e3 * host:10.2f} ms")
    print(f"the whole step      {1e3 * step:10.2f} ms{scaled}, of which matching takes {100 * device / step:.2g}%")


def example_costs(batch: int, size: int = 10) -> jax.Array:
    """Costs as they are in training: predictions against sets of which three tenths are padding."""
    rng = np.random.default_rng(0)
    targets = rng.uniform(size=(batch, size, 19)) * (rng.uniform(size=(batch, size, 1)) < 0.7)
    return huber_costs(jnp.asarray(rng.uniform(size=(batch, size, 19)), jnp.float32), jnp.asarray(targets, jnp.float32))


def on_host(costs: jax.Array) -> jax.Array:
    """What the original does: leave the compiled step, match with SciPy, come back."""
    return jnp.asarray([linear_sum_assignment(c) for c in np.asarray(costs)], jnp.int32)


def best_of(function: Callable, *arguments, repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def time_step(batch: int, repeats: int) -> float:
    """Seconds of one training step of configs/clevr_set.py."""
    spec = importlib.util.spec_from_file_location("clevr_set", ROOT / "configs" / "clevr_set.py")
    file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    config = file.get_config()
    model = build_model(config.model)
    rng, size = np.random.default_rng(0), config.model.num_slots
    objects = {name: rng.integers(0, 2, (batch, size)) for name in ("size", "material", "shape", "color")}
    objects |= {"present": np.arange(size) < rng.integers(3, 11, (batch, 1))}
    objects |= {"3d_coords": rng.uniform(-3, 3, (batch, size, 3)).astype(np.float32)}
    images = rng.uniform(-1, 1, (batch, *config.model.resolution, 3)).astype(np.float32)

    parallel = Parallel("jit", batch, jax.devices()[:1])
    step = Step(set_prediction.build_loss(model, config.train), build_optimizer(config.train), jax.random.key(0))
    state = parallel.replicate(initial_state(config, model))
    data = parallel.shard({"image": images, "objects": objects, "index": np.arange(batch, dtype=np.int32)})
    return best_of(parallel.over_batch(step.train), state, data, repeats=repeats)


if __name__ == "__main__":
    main()
