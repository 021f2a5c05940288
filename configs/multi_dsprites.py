"""multi-dSprites at 64x64, as in the paper (Locatello et al., 2020, appendix E): coloured sprites on grey.

Variants: `binarized` and `colored_on_colored` for the other scenes; `tfrecords` reads the original data set
(`--config.data.path=FILE`); `brief` takes a tenth of the paper's steps; `quick` is a small one for a CPU, at 32x32;
`tiny` runs in seconds.
"""

from ml_collections import ConfigDict

from slotjax.config.variants import apply_variants, hasten, quicken, shorten, shrink_decoder
from slotjax.configuration import defaults, model_defaults


def get_config(variants: str | None = None) -> ConfigDict:
    config = defaults()
    config.cores = "devices"
    config.data.name = "multi_dsprites"
    config.data.options = ConfigDict({"variant": "colored_on_grayscale"})
    config.model = model_defaults(
        resolution=(64, 64),
        num_slots=6,
        encoder={
            "name": "cnn",
            "channels": (32, 32, 32, 32),
            "kernels": (5, 5, 5, 5),
            "strides": (1, 1, 1, 1),
            "mlp_dim": 32,
            "kernel_init": "glorot",  # or "he"
            "groups": 0,  # of GroupNorm after every convolution (Kipf et al., 2022); 0: none
        },
        decoder={
            "name": "spatial_broadcast",
            "channels": (32, 32, 32),
            "kernels": (5, 5, 5),
            "strides": (1, 1, 1),
            "last_kernel": 3,
            "relative": False,  # True: a slot is drawn around where it attends (Biza et al., 2023)
            "remat": False,  # True: less memory, more work
        },
    )
    kinds = {"binarized": binarized, "colored_on_colored": colored_on_colored, "tfrecords": tfrecords}
    return apply_variants(config, variants, kinds | {"brief": hasten, "quick": quick, "tiny": tiny})


def binarized(config: ConfigDict) -> None:
    config.data.options.variant = "binarized"
    config.model.num_slots = 4


def colored_on_colored(config: ConfigDict) -> None:
    config.data.options.variant = "colored_on_colored"


def tfrecords(config: ConfigDict) -> None:
    config.data.name = "multi_dsprites_tfrecords"
    config.data.options = ConfigDict()


def quick(config: ConfigDict) -> None:
    """What sprites of any colour on any grey ask for, beyond the other small models.

    Without `groups` and `centered` those on dark backgrounds were blurred into one, and without frames of their own
    more slots shared a sprite; colour, which tells most sprites from what is behind them, is learned sooner weighted.
    """
    quicken(config, patch=4)
    config.model.update(resolution=(32, 32), num_iterations=3, centered=True)
    config.model.encoder.update(strides=(2, 1, 1), groups=8)
    config.model.decoder.relative = True
    config.train.update(batch_size=16, num_steps=25_000, learning_rate=1e-3, warmup_steps=200, chroma_weight=8.0)


def tiny(config: ConfigDict) -> None:
    shorten(config)
    config.model.update(slot_dim=16, mlp_dim=16)
    config.model.encoder.update(channels=(8, 8), kernels=(5, 5), strides=(4, 1), mlp_dim=16)
    shrink_decoder(config, strides=(1,))
