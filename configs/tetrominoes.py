"""Tetrominoes at 35x35, as in the paper (Locatello et al., 2020, appendix E).

Scenes are rendered while it trains. Variants, which combine:

    tfrecords  reads the original data set (`--config.data.path=FILE`)
    isa        is invariant slot attention (Biza et al., 2023)
    bf16       computes in bfloat16
    small      is the recipe for two CPU cores
    tiny       runs in seconds
"""

from ml_collections import ConfigDict

from slotjax.config import recipes
from slotjax.config.variants import apply_variants, bf16, experiment, stored, tiny


def get_config(variants: str | None = None) -> ConfigDict:
    model = recipes.paper_model((35, 35), 4, width=32, decoder=(1, 1, 1))
    config = experiment(model, cores="devices", data={"name": "tetrominoes"})
    models = {"bf16": bf16, "small": small, "isa": recipes.isa, "tiny": tiny}
    return apply_variants(config, variants, {"tfrecords": stored("tetrominoes_tfrecords")} | models)


def small(config: ConfigDict) -> None:
    """Slots part while place only adds to them; then each has a layer of its own, and draws sharp pieces with it.

    From the start, that layer lets slots share the background, and frames of their own let pieces of one colour share a
    slot. The first slot draws the background, which is black in all scenes, and no piece: where it could, slots parted
    the picture into territories in two seeds of three.
    """
    recipes.small(config, patch=5)
    config.model.update(centered=True, common_background=True)
    config.model.encoder.strides = (2, 1, 1)
    config.model.decoder.frame = "picture"
    config.train.update(num_steps=40_000, learning_rate=1.5e-3, warmup_steps=200)
    config.train.stages = ({"until": 10_000, "model.num_iterations": 2, "model.decoder.position": "shared"},)
