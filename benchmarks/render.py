"""How fast CLEVR scenes are rendered, and what share of a training step that takes.

    python benchmarks/render.py [--objects 6] [--resolution 128] [--count 64] [--chunk 1] [--step-seconds SECONDS]

Prints the median of several calls, wall clock and processor time; each call is waited for only after the next one is
queued, so the device never idles in between. `--step-seconds` is the time of one training step without rendering (as
train.py logs it) for `--count` scenes a step; the share of rendering in the whole is printed with it.
"""

import argparse
import functools
import statistics
import time

import jax

from slotjax.data.scenes.clevr_scene import clevr_batch


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--objects", type=int, default=6, help="objects in every scene")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--count", type=int, default=64, help="scenes of one call")
    parser.add_argument("--chunk", type=int, default=0, help="scenes drawn at once (default: 1 on a CPU, else 32)")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--textured", action="store_true")
    parser.add_argument("--step-seconds", type=float)
    options = parser.parse_args()

    draw = jax.jit(
        functools.partial(
            clevr_batch,
            chunk=options.chunk or (1 if jax.default_backend() == "cpu" else 32),
            resolution=(options.resolution, options.resolution),
            min_objects=options.objects,
            max_objects=options.objects,
            textured=options.textured,
        )
    )
    keys = [jax.random.split(jax.random.key(seed), options.count) for seed in range(options.calls + 1)]
    start = time.perf_counter()
    pending = jax.block_until_ready(draw(keys[0]))
    print(f"first call, with compilation: {time.perf_counter() - start:.1f} s")

    walls, processors = [], []
    start, busy = time.perf_counter(), time.process_time()
    for key in keys[1:]:
        following = draw(key)
        jax.block_until_ready(pending)
        pending = following
        walls.append(time.perf_counter() - start)
        processors.append(time.process_time() - busy)
        start, busy = time.perf_counter(), time.process_time()
    jax.block_until_ready(pending)
    walls[0] += time.perf_counter() - start  # the first interval waited for nothing; it gets the last call's wait
    processors[0] += time.process_time() - busy

    wall, processor = statistics.median(walls), statistics.median(processors)
    rate = options.count / wall
    print(
        f"{jax.devices()[0].device_kind}: {options.count} scenes of {options.objects} objects at {options.resolution}"
    )
    print(f"{rate:.1f} images/s; {1000 * processor / options.count:.1f} ms of processor time an image")
    if options.step_seconds:
        print(f"rendering's share of a step: {100 * wall / (wall + options.step_seconds):.1f}%")
    memory = draw.lower(keys[0]).compile().memory_analysis()
    print(
        f"memory besides the pictures ({memory.output_size_in_bytes / 2**20:.0f} MiB): "
        f"{memory.temp_size_in_bytes / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
