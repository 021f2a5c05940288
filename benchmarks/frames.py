"""How the memory of a training step grows with a video's frames: python benchmarks/frames.py [--config FILE:VARIANTS]

What the backward pass keeps of one video, and work space, as `slotjax.training.memory` estimates it before anything is
compiled; with `model.remat`, frames are computed again one after another.
"""

import argparse

import jax
from tables import table

from slotjax.config.command_line import read_config
from slotjax.models import build_model
from slotjax.system.console import readable
from slotjax.system.paths import given
from slotjax.training.feed import open_feed
from slotjax.training.memory import bytes_per_image
from slotjax.training.objective import build_objective
from slotjax.training.restore import initial_state


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/video.py:savi")
    parser.add_argument("--frames", type=int, nargs="+", default=[2, 6, 12, 24])
    asked = parser.parse_args(arguments)
    rows = [
        [str(frames), *(readable(needed(asked.config, frames, remat)) for remat in (False, True))]
        for frames in asked.frames
    ]
    print(table(["frames", "kept", "computed again"], rows))


def needed(name: str, frames: int, remat: bool) -> int:
    """Bytes for one video."""
    path, _, variants = name.partition(":")
    config = read_config(given(path, "--config"), variants)
    config.data.num_frames, config.model.remat = frames, remat
    feed, model = open_feed(config), build_model(config.model)
    params = jax.eval_shape(lambda: initial_state(config, model)).params
    example = {name: feed.lesson[name] for name in feed.fields}
    return bytes_per_image(build_objective(model, config.train.losses), params, example)


if __name__ == "__main__":
    main()
