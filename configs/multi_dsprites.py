"""multi-dSprites at 64x64, as in the paper (Locatello et al., 2020, appendix E): coloured sprites on grey.

Scenes are rendered while it trains. Variants, which combine:

    binarized           has white sprites on black
    colored_on_colored  has a coloured background too
    tfrecords           reads the original data set (`--config.data.path=FILE`)
    bf16                computes in bfloat16
    small               is the recipe for two CPU cores
    tiny                runs in seconds
"""

from ml_collections import ConfigDict

from slotjax.config import recipes
from slotjax.config.variants import apply_variants, bf16, experiment, stored, tiny


def get_config(variants: str | None = None) -> ConfigDict:
    model = recipes.paper_model((64, 64), 6, width=32, decoder=(1, 1, 1))
    config = experiment(model, cores="devices", data={"name": "multi_dsprites"})
    config.data.options = ConfigDict({"variant": "colored_on_grayscale"})
    kinds = {"binarized": binarized, "colored_on_colored": colored_on_colored}
    sizes = {"bf16": bf16, "small": small, "tiny": tiny}
    return apply_variants(config, variants, kinds | {"tfrecords": stored("multi_dsprites_tfrecords")} | sizes)


def binarized(config: ConfigDict) -> None:
    config.data.options.variant = "binarized"
    config.model.num_slots = 4


def colored_on_colored(config: ConfigDict) -> None:
    config.data.options.variant = "colored_on_colored"


def small(config: ConfigDict) -> None:
    """What sprites of any colour on any grey ask for, beyond the other small models.

    Features are normalised within each picture, whose background may be dark or light. Errors of colour, which tells
    most sprites from what is behind them, weigh more, and so do those of structure, for outlines.
    """
    recipes.small(config, patch=4)
    config.model.encoder.update(strides=(2, 1, 1), groups=8)
    config.model.decoder.update(hidden=(256, 256), sample=2)  # a quarter of each picture is drawn
    config.train.update(num_steps=120_000, eval_every=6_000)
    config.train.losses = ConfigDict({"chroma": 7.0, "ssim": 0.1, "expected": ((90_000, 0.0), (96_000, 0.1))})
    recipes.background_first(config, (2_000, 3_500, 5_000), until=6_000)
    recipes.needed_after(config, 20_000)
