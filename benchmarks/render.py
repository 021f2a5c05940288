"""How fast CLEVR scenes are rendered, and what share of a training step that takes.

    python benchmarks/render.py [--objects 6] [--resolution 128] [--count 64] [--frames 10] [--step-seconds SECONDS]

Prints the median of several calls, wall clock and processor time. `--step-seconds` is the time of one training step
without rendering (as train.py logs it) for `--count` scenes a step; the share of rendering in the whole is printed with
it. `--frames` also draws videos of so many frames, of CLEVR and of the small sprites, about `--count` frames in all,
and as many single scenes.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
from timing import CLOCKS, at_least, machine

from slotjax import cli
from slotjax.data.scenes import bind
from slotjax.data.scenes.clevr_scene import clevr_batch


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=6, help="objects in every scene")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--count", type=int, default=64, help="scenes of one call")
    parser.add_argument("--chunk", type=int, default=0, help="scenes drawn at once; 0: 1 on a CPU, else 32")
    parser.add_argument("--frames", type=int, default=0, help="also draw videos of so many frames")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step-seconds", type=float)
    options = parser.parse_args(arguments)
    at_least(options, 1, ["objects", "resolution", "count", "rounds"])
    chunk = options.chunk or (1 if jax.default_backend() == "cpu" else 32)
    size, count = (options.resolution,) * 2, options.count
    objects = {"min_objects": options.objects, "max_objects": options.objects}
    draw = jax.jit(functools.partial(clevr_batch, chunk=chunk, resolution=size, **objects))
    wall, processor = taken(draw, count, options.rounds)
    print(f"{machine()}\n{count} scenes of {options.objects} objects at {options.resolution}: ", end="")
    print(f"{count / wall:.1f} images/s; {1e3 * processor / count:.1f} ms of processor time an image")
    if options.step_seconds:
        print(f"rendering's share of a step: {100 * wall / (wall + options.step_seconds):.1f}%")
    memory = draw.lower(keys_of(0, count)).compile().memory_analysis()
    pictures, space = (size / 2**20 for size in (memory.output_size_in_bytes, memory.temp_size_in_bytes))
    print(f"memory besides the pictures ({pictures:.0f} MiB): {space:.0f} MiB")
    if options.frames:
        print("| scenes | frames/s | ms of processor time a frame |\n| --- | --- | --- |")
        for family, settings in {"clevr": objects, "sprites": {}}.items():
            for name, frames in ((family, 0), (f"moving_{family}", options.frames)):
                scene, videos = bind(name, settings, size, frames), -(-count // max(1, frames))
                draw = jax.jit(functools.partial(jax.lax.map, scene, batch_size=chunk))
                seconds = taken(draw, videos, options.rounds)
                rate, cost = videos * max(1, frames) / seconds[0], 1e3 * seconds[1] / videos / max(1, frames)
                print(f"| {name}, {frames or 'single'} | {rate:.1f} | {cost:.2f} |", flush=True)


def keys_of(seed: int, count: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def taken(draw: Callable[[jax.Array], Any], count: int, rounds: int) -> tuple[float, float]:
    """Median seconds of drawing so many scenes, by the clock on the wall and the processor's."""
    jax.block_until_ready(draw(keys_of(0, count)))
    seconds = []
    for seed in range(1, rounds + 1):
        keys = keys_of(seed, count)
        before = [clock() for clock in CLOCKS.values()]
        jax.block_until_ready(draw(keys))
        seconds.append([clock() - start for clock, start in zip(CLOCKS.values(), before, strict=True)])
    wall, processor = (statistics.median(column) for column in zip(*seconds, strict=True))
    return wall, processor


if __name__ == "__main__":
    cli.run(main)
