"""Tetrominoes at 35x35, as in the paper (Locatello et al., 2020, appendix E).

Variants: (none) renders its scenes while it trains; `tfrecords` reads the original data set
(`--config.data.path=FILE`); `brief` takes a tenth of the paper's steps; `quick` is a small model for two CPU cores;
`hyper` goes on from its trained weights with a first layer for every slot (`quick,hyper`); `relative` draws a slot
around where it attends; `tiny` runs in seconds.
"""

from ml_collections import ConfigDict

from slotjax.config.variants import apply_variants, hasten, quicken, shorten, shrink_decoder
from slotjax.configuration import defaults, model_defaults


def get_config(variants: str | None = None) -> ConfigDict:
    config = defaults()
    config.cores = "devices"
    config.data.name = "tetrominoes"
    config.model = model_defaults(
        resolution=(35, 35),
        num_slots=4,
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
    sizes = {"brief": hasten, "quick": quick, "relative": relative, "hyper": hyper, "tiny": tiny}
    return apply_variants(config, variants, {"tfrecords": tfrecords} | sizes)


def tfrecords(config: ConfigDict) -> None:
    config.data.name = "tetrominoes_tfrecords"


def quick(config: ConfigDict) -> None:
    quicken(config, patch=5)
    config.model.centered = True  # the background is one slot in two seeds of three; without, in one
    config.model.encoder.strides = (2, 1, 1)
    config.train.update(num_steps=12_000, learning_rate=1.5e-3, warmup_steps=200)


def relative(config: ConfigDict) -> None:
    config.model.decoder.relative = True


def hyper(config: ConfigDict) -> None:
    """Goes on from trained weights with three iterations, as in the paper, and a decoder layer for every slot."""
    config.model.num_iterations = 3
    config.model.decoder.hyper = True
    config.train.update(start_from="tetrominoes", num_steps=20_000, learning_rate=7e-4)


def tiny(config: ConfigDict) -> None:
    shorten(config)
    config.model.update(slot_dim=16, mlp_dim=16)
    config.model.encoder.update(channels=(8, 8), kernels=(5, 5), strides=(2, 1), mlp_dim=16)
    shrink_decoder(config, strides=(1,))
