"""How much memory a training step takes: python benchmarks/memory.py [--resolutions 32 64] [--batch 2]

The paper's CLEVR6 model over resolution, number of slots, iterations and rematerialisation of the decoder: bytes per
image of the compiled step (arguments, outputs and work space, less what does not grow with the batch), and what
`slotjax.training.memory` estimates from tracing alone. Then the attention core over its iterations with
gradient="all" and "last": work space, milliseconds of value and gradient, and of the latter alone. Nothing but this
last part is run.
"""

import argparse
import statistics
import time
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from step import FOLDER, load, machine

import slotjax
from slotjax import cli
from slotjax.errors import UserError
from slotjax.tasks import discovery
from slotjax.training.memory import bytes_per_image
from slotjax.training.optimizer import build_optimizer
from slotjax.training.parallel import Parallel
from slotjax.training.run import initial_state
from slotjax.training.step import Step


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", help="of configs/clevr.py: tiny, say, or bf16")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--slots", type=int, nargs="+", default=[7, 11])
    parser.add_argument("--iterations", type=int, nargs="+", default=[3])
    parser.add_argument("--batch", type=int, default=8, help="images; memory is taken from this batch and half of it")
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 6, 12, 24], help="iterations of the core alone")
    parser.add_argument("--tokens", type=int, default=4096, help="of the core alone")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    check(options)
    print(machine())
    print("\n| resolution | slots | iterations | remat | MiB an image | estimate | ratio |\n" + "| --- " * 7 + "|")
    for size, slots, iterations, remat in product(
        options.resolutions, options.slots, options.iterations, (False, True)
    ):
        config = read_config(options.variant, size, slots, iterations, remat)
        compiled, estimate = compiled_bytes(config, options.batch), traced_bytes(config)
        print(f"| {size} | {slots} | {iterations} | {'yes' if remat else 'no'} ", end="")
        print(f"| {compiled / 2**20:.1f} | {estimate / 2**20:.1f} | {estimate / compiled:.2f} |", flush=True)
    print(f"\nthe core, {options.tokens} tokens, batch 4; backward is what value and gradient take beyond the value\n")
    print("| iterations | gradient | work space MiB | value and gradient, ms | backward, ms |\n" + "| --- " * 5 + "|")
    for gradient, depth in product(("all", "last"), options.depths):
        space, both, forward = core(depth, gradient, options.tokens, options.repeats)
        times = f"{1e3 * both:.1f} | {1e3 * (both - forward):.1f}"
        print(f"| {depth} | {gradient} | {space / 2**20:.2f} | {times} |", flush=True)


def check(options: argparse.Namespace) -> None:
    """Raises a `UserError` for a flag that cannot work."""
    if options.batch < 2 or options.batch % 2:
        raise UserError(f"--batch={options.batch}: take an even number, 2 at least")
    for size in options.resolutions:
        if size < 16 or size % 16:
            raise UserError(f"--resolutions={size}: the decoder doubles 4 times; take multiples of 16")
    for name in ("slots", "iterations", "depths", "tokens", "repeats"):
        for value in np.ravel(getattr(options, name)):
            if value < 1:
                raise UserError(f"--{name}={value}: must be at least 1")


def read_config(variant: str | None, size: int, slots: int, iterations: int, remat: bool):
    config = load(FOLDER.parent / "configs" / "clevr.py").get_config(variant)
    config.model.update(resolution=(size, size), num_slots=slots, num_iterations=iterations)
    config.model.decoder.remat = remat
    return config


def compiled_bytes(config, batch: int) -> float:
    """Peak bytes that each further image adds to the compiled step."""
    model = slotjax.build_model(config.model)
    step = Step(discovery.build_loss(model, config.train), build_optimizer(config.train), jax.random.key(0))
    state = jax.eval_shape(lambda: initial_state(config, model))

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
    example = {"image": jax.ShapeDtypeStruct((*model.resolution, 3), jnp.float32)}
    return bytes_per_image(discovery.build_loss(model, config.train), params, example)


def core(iterations: int, gradient: str, tokens: int, repeats: int) -> tuple[int, float, float]:
    """Bytes of work space of the core's value and gradient, and seconds of both and of the value: 7 slots of 64."""
    rng = np.random.default_rng(0)
    inputs, slots = (jnp.asarray(rng.normal(size=(4, n, 64)), jnp.float32) for n in (tokens, 7))
    module = slotjax.SlotAttention()
    params = module.init({"params": jax.random.key(0), "slots": jax.random.key(1)}, inputs)["params"]

    def value(params, inputs, slots):
        return (slotjax.slot_attention(params, inputs, slots, iterations, gradient=gradient)[0] ** 2).mean()

    functions = (jax.value_and_grad(value, (0, 1)), value)
    both, forward = (jax.jit(run).lower(params, inputs, slots).compile() for run in functions)
    seconds = {both: [], forward: []}
    for run in seconds:
        jax.block_until_ready(run(params, inputs, slots))
    for _ in range(repeats):
        for run, taken in seconds.items():
            start = time.perf_counter()
            jax.block_until_ready(run(params, inputs, slots))
            taken.append(time.perf_counter() - start)
    size = both.memory_analysis().temp_size_in_bytes
    return size, statistics.median(seconds[both]), statistics.median(seconds[forward])


if __name__ == "__main__":
    cli.run(main)
