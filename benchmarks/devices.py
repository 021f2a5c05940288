"""How a training step's time shrinks with devices: python benchmarks/devices.py [--config configs/quick.py]

The same step and batch on 1, 2, 4, ... of the devices there are, turn by turn in one run: medians, images a second, and
how many times faster than on one. A CPU's cores are devices here; on one of them XLA splits operations over all cores,
so that the rows compare `cores = "threads"` with "devices". The flags are those of benchmarks/step.py.
"""

import statistics

import jax
from step import choose_defaults, described, ours, parse, read_config
from tables import table
from timing import TIMES, in_turns, machine, ratio, times

from slotjax import cli
from slotjax.training.parallel import one_device_per_core


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    config = read_config(options)
    batch = config.train.batch_size
    one_device_per_core(batch)
    choose_defaults(options)
    devices = jax.devices()
    counts = [2**i for i in range(len(devices).bit_length()) if batch % 2**i == 0 and 2**i <= len(devices)]
    seconds = in_turns({str(count): ours(config, options, devices[:count]) for count in counts}, options.rounds)
    print(f"{machine()}\n{described(config, options)}\n")
    rows = [
        [count, *times(took), f"{batch / statistics.median(took):.1f}", f"{ratio(seconds['1'], took):.2f}"]
        for count, took in seconds.items()
    ]
    print(table(["devices", *TIMES, "images/s", "times faster than one"], rows))


if __name__ == "__main__":
    cli.run(main)
