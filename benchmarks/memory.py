"""How much memory a training step takes: python benchmarks/memory.py [--resolutions 32 64] [--batch 2]

The paper's CLEVR6 model over resolution, number of slots, iterations and rematerialisation of the decoder: memory per
image of the compiled step (arguments, outputs and work space, less what does not grow with the batch), and what
`slotjax.training.memory` estimates from tracing alone. Then the attention core over its iterations with
gradient="all" and "last": work space, milliseconds of value and gradient, and of the latter alone. Nothing but this
last part is run.
"""

import argparse
import statistics
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from tables import table
from timing import at_least, clocked, in_turns, machine, recipe

import slotjax
from slotjax import cli
from slotjax.errors import UserError
from slotjax.training.memory import bytes_per_image
from slotjax.training.objective import build_objective
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import Parallel
from slotjax.training.restore import initial_state
from slotjax.training.step import Step
from slotjax.training.teacher import open_teacher

MIB = 2**20


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/clevr.py", help="FILE[:VARIANT] of object discovery")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--slots", type=int, nargs="+", default=[7, 11])
    parser.add_argument("--iterations", type=int, nargs="+", default=[3])
    parser.add_argument("--batch", type=int, default=8, help="images; memory is taken from this batch and half of it")
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 6, 12, 24], help="iterations of the core alone")
    parser.add_argument("--tokens", type=int, default=4096, help="of the core alone")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["slots", "iterations", "depths", "tokens", "rounds"])
    if options.batch < 2 or options.batch % 2:
        raise UserError(f"--batch={options.batch}: take an even number, 2 at least")
    print(f"{machine()}\n")
    rows = []
    for size, slots, iterations, remat in product(options.resolutions, options.slots, options.iterations, (0, 1)):
        sizes = f"model.resolution=({size},{size})", f"model.num_slots={slots}", f"model.num_iterations={iterations}"
        config = recipe(options.config, *sizes, f"model.remat={bool(remat)}")
        compiled, estimate = compiled_bytes(config, options.batch) / MIB, traced_bytes(config) / MIB
        cells = f"{compiled:.1f}", f"{estimate:.1f}", f"{estimate / compiled:.2f}"
        rows.append([str(size), str(slots), str(iterations), "yes" if remat else "no", *cells])
    print(table(["resolution", "slots", "iterations", "remat", "MiB an image", "estimate", "ratio"], rows))
    print(f"\nthe core, {options.tokens} tokens, batch 4; backward is what value and gradient take beyond the value\n")
    rows = [
        [str(depth), gradient, *core(depth, gradient, options.tokens, options.rounds)]
        for gradient, depth in product(("all", "last"), options.depths)
    ]
    print(table(["iterations", "gradient", "work space MiB", "value and gradient, ms", "backward, ms"], rows))


def compiled_bytes(config, batch: int) -> float:
    """Peak bytes that each further image adds to the compiled step."""
    model, teacher = slotjax.build_model(config.model), open_teacher(config)
    objective = build_objective(model, config.train.losses, teacher)
    step = Step(objective, build_optimizer(config.train), jax.random.key(0))
    state = jax.eval_shape(lambda: initial_state(config, model))
    state = teacher.beside(state) if teacher else state

    def peak(count: int) -> int:
        shapes = {"image": jax.ShapeDtypeStruct((count, *model.resolution, 3), jnp.float32)}
        shapes |= {"index": jax.ShapeDtypeStruct((count,), jnp.int32)}
        train = Parallel("jit", count, jax.devices()[:1]).over_batch(step.train, donate=(0,))
        memory = train.lower(state, shapes).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes

    return (peak(batch) - peak(batch // 2)) / (batch / 2)


def traced_bytes(config) -> int:
    """What training would reckon with."""
    model = slotjax.build_model(config.model)
    params = jax.eval_shape(lambda: initial_state(config, model).params)
    return bytes_per_image(build_objective(model, config.train.losses), params, model.inputs)


def core(iterations: int, gradient: str, tokens: int, rounds: int) -> list[str]:
    """MiB of work space of the core's value and gradient, ms of both, and beyond the value alone: 7 slots of 64."""
    rng = np.random.default_rng(0)
    inputs, slots = (jnp.asarray(rng.normal(size=(4, n, 64)), jnp.float32) for n in (tokens, 7))
    module = slotjax.SlotAttention()
    params = module.init({"params": jax.random.key(0), "slots": jax.random.key(1)}, inputs)["params"]

    def value(params, inputs, slots):
        return (slotjax.slot_attention(params, inputs, slots, iterations, gradient=gradient)[0] ** 2).mean()

    functions = {"both": jax.value_and_grad(value, (0, 1)), "value": value}
    compiled = {name: jax.jit(run).lower(params, inputs, slots).compile() for name, run in functions.items()}
    runs = {name: clocked(lambda run=run: run(params, inputs, slots)) for name, run in compiled.items()}
    in_turns(runs, 1)
    both, alone = (1e3 * statistics.median(seconds) for seconds in in_turns(runs, rounds).values())
    space = compiled["both"].memory_analysis().temp_size_in_bytes
    return [f"{space / MIB:.2f}", f"{both:.1f}", f"{both - alone:.1f}"]


if __name__ == "__main__":
    cli.run(main)
