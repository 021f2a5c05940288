"""How a training step's time shrinks with devices: python benchmarks/devices.py [--config configs/clevr.py --batch 4]

The same step and batch on 1, 2, 4, ... of the devices there are, turn by turn in one run: medians, images a second, and
how many times faster than on one. A CPU's cores are devices here; on one of them XLA splits operations over all cores,
so that the rows compare `cores = "threads"` with "devices". The flags are those of benchmarks/step.py.
"""

import statistics
from pathlib import Path

import jax
import matplotlib
from step import choose_defaults, machine, ours, parse, read_config

from slotjax import cli
from slotjax.training.parallel import one_device_per_core

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FIGURE = Path("devices.png")


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    config = read_config(options)
    batch = config.train.batch_size
    one_device_per_core(batch)
    choose_defaults(options)
    devices = jax.devices()
    counts = [2**i for i in range(len(devices).bit_length()) if batch % 2**i == 0 and 2**i <= len(devices)]
    runs = {count: ours(config, options, devices[:count]) for count in counts}
    seconds = {count: [] for count in counts}
    for _ in range(options.rounds):
        for count, run in runs.items():
            seconds[count].append(run())
    print(f"{machine()}\n{options.config.stem}, {'x'.join(map(str, config.model.resolution))}, batch {batch}, ", end="")
    print(f"{config.model.dtype}; {options.rounds} rounds, {options.clock} clock\n")
    print("| devices | median ms | min to max | images/s | times one device |\n| --- | --- | --- | --- | --- |")
    for count, values in seconds.items():
        median = statistics.median(values)
        ratio = statistics.median(a / b for a, b in zip(seconds[1], values, strict=True))
        spread = f"{1e3 * min(values):.1f} to {1e3 * max(values):.1f}"
        print(f"| {count} | {1e3 * median:.1f} | {spread} | {batch / median:.1f} | {ratio:.2f} |")
    draw({count: batch / statistics.median(values) for count, values in seconds.items()})
    print(f"\nwrote {FIGURE}")


def draw(rates: dict[int, float]) -> None:
    """Images a second over devices, and the line of a perfect share."""
    figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
    counts = list(rates)
    axes.plot(counts, [rates[1] * count for count in counts], color="0.7", linestyle="--", label="perfect")
    axes.plot(counts, list(rates.values()), marker="o", label="measured")
    axes.set_xticks(counts)
    axes.set(xlabel="devices", ylabel="images a second", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(FIGURE, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    cli.run(main)
