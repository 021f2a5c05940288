"""Your own pictures at 64x64: `--config.data.path=DIR`, a folder of them.

Pictures of any size and mode are cropped to a square and resized. With masks beside them (see docs/data.md) the
segmentation is scored too. Variants:

    small    is for two CPU cores
    tiny     runs in seconds
"""

from ml_collections import ConfigDict

from slotjax.config import recipes
from slotjax.config.variants import apply_variants, experiment, tiny


def get_config(variants: str | None = None) -> ConfigDict:
    model = recipes.paper_model((64, 64), 7, strides=(2, 1, 1, 1), decoder=(2, 2, 2, 1))
    config = experiment(model, cores="devices", data={"name": "folder", "eval_images": 0})
    config.train.update(num_steps=100_000, warmup_steps=5_000, eval_every=2_500)
    return apply_variants(config, variants, {"small": small, "tiny": tiny})


def small(config: ConfigDict) -> None:
    recipes.small(config, patch=4)
    config.model.encoder.strides = (2, 2, 1)
    config.train.num_steps = 20_000
    recipes.two_iterations_until(config, 10_000)
