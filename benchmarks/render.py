"""How fast CLEVR scenes are rendered, and what share of a training step that takes.

    python benchmarks/render.py [--objects 6] [--resolution 128] [--count 64] [--chunk 1] [--step-seconds SECONDS]

Prints the median of several calls, wall clock and processor time. `--step-seconds` is the time of one training step
without rendering (as train.py logs it) for `--count` scenes a step; the share of rendering in the whole is printed with
it.
"""

import argparse
import functools
import statistics

import jax
from timing import CLOCKS, at_least, machine

from slotjax import cli
from slotjax.data.scenes.clevr_scene import clevr_batch


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=6, help="objects in every scene")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--count", type=int, default=64, help="scenes of one call")
    parser.add_argument("--chunk", type=int, default=0, help="scenes drawn at once; 0: 1 on a CPU, else 32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step-seconds", type=float)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["objects", "resolution", "count", "rounds"])
    chunk = options.chunk or (1 if jax.default_backend() == "cpu" else 32)
    settings = {"resolution": (options.resolution,) * 2, "min_objects": options.objects, "max_objects": options.objects}
    draw = jax.jit(functools.partial(clevr_batch, chunk=chunk, **settings))
    keys = [jax.random.split(jax.random.key(seed), options.count) for seed in range(options.rounds + 1)]
    memory = draw.lower(keys[0]).compile().memory_analysis()
    jax.block_until_ready(draw(keys[0]))
    taken = []
    for key in keys[1:]:
        before = [clock() for clock in CLOCKS.values()]
        jax.block_until_ready(draw(key))
        taken.append([clock() - start for clock, start in zip(CLOCKS.values(), before, strict=True)])
    wall, processor = (statistics.median(column) for column in zip(*taken, strict=True))
    print(f"{machine()}\n{options.count} scenes of {options.objects} objects at {options.resolution}: ", end="")
    print(f"{options.count / wall:.1f} images/s; {1e3 * processor / options.count:.1f} ms of processor time an image")
    if options.step_seconds:
        print(f"rendering's share of a step: {100 * wall / (wall + options.step_seconds):.1f}%")
    pictures, space = (size / 2**20 for size in (memory.output_size_in_bytes, memory.temp_size_in_bytes))
    print(f"memory besides the pictures ({pictures:.0f} MiB): {space:.0f} MiB")


if __name__ == "__main__":
    cli.run(main)
