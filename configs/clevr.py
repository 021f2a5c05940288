"""CLEVR6 at 128x128, as in the paper (Locatello et al., 2020, sec. 4.1, appendix E).

Scenes are rendered while it trains. Variants, which combine, as in `clevr.py:masks,tiny`:

    tfds      reads TFDS `clevr`
    masks     reads CLEVR-with-masks TFRecords (`--config.data.path=FILE`)
    textured  renders scenes of up to 10 objects with patterns on objects and ground, with 11 slots
    clevr10   takes all scenes, up to 10 objects, with 11 slots
    isa       is invariant slot attention (Biza et al., 2023)
    bf16      computes in bfloat16
    small     is the recipe for two CPU cores
    tiny      runs in seconds
"""

from ml_collections import ConfigDict

from slotjax.config import recipes
from slotjax.config.variants import apply_variants, bf16, experiment, stored, tiny

SCENES = ("clevr", "clevr_textured")


def get_config(variants: str | None = None) -> ConfigDict:
    config = experiment(recipes.paper_model((128, 128), 7), cores="devices", data={"name": "clevr"})
    config.data.options = ConfigDict({"min_objects": 3, "max_objects": 6})
    kinds = {"tfds": stored("clevr_tfds", max_objects=6), "masks": stored("clevr_with_masks", max_objects=6)}
    kinds |= {"textured": textured}
    models = {"bf16": bf16, "small": small, "isa": recipes.isa, "tiny": tiny}
    return apply_variants(config, variants, kinds | {"clevr10": clevr10} | models)


def textured(config: ConfigDict) -> None:
    config.data.name = "clevr_textured"
    config.data.options.max_objects = 10
    config.model.num_slots = 11


def clevr10(config: ConfigDict) -> None:
    config.model.num_slots = 11
    config.data.max_objects = 0
    if config.data.name in SCENES:
        config.data.options.max_objects = 10


def small(config: ConfigDict) -> None:
    recipes.small(config, patch=8)
    if config.data.name in SCENES:
        config.data.options.crop = True
        config.data.pool = 20_000  # rendering a scene costs more than learning from it once: scenes come back
    config.model.encoder = ConfigDict({"name": "unet", "channels": (32,) * 4, "stride": 4, "mlp_dim": 64})
    config.model.gradient = "straight_through"
    config.model.decoder.update(hidden=(256, 256), sample=2)  # a quarter of each picture is drawn
    config.train.update(num_steps=60_000, eval_every=4_000, learning_rate=5e-4, warmup_steps=1_000)
    config.train.losses = ConfigDict({"expected": ((50_000, 0.0), (52_000, 0.05))})
    recipes.background_first(config, (5_000, 9_000, 13_000), until=16_000)
    recipes.needed_after(config, 20_000)
