"""CLEVR6 at 128x128, as in the paper (Locatello et al., 2020, sec. 4.1, appendix E).

Variants: (none) renders its scenes while it trains; `tfds` reads TFDS `clevr`; `masks` reads CLEVR-with-masks
TFRecords (`--config.data.path=FILE`); `clevr10` takes all scenes, up to 10 objects, with 11 slots; `bf16` computes in
bfloat16; `brief` takes a tenth of the paper's steps, on scenes that come back; `quick` is a small model at 64x64 for
two CPU cores; `relative` draws a slot around where it attends; `refine` goes on from trained weights that come with the
library (`quick,relative,refine`, also with `clevr10`), `longer` from what that gave, for an hour on a core, and `hyper`
from the best of these, with a first layer for every slot; `tiny` runs in seconds. They combine, as in
`clevr.py:masks,tiny`.
"""

from ml_collections import ConfigDict

from slotjax.config.variants import apply_variants, hasten, quicken, shorten, shrink_decoder
from slotjax.configuration import defaults, model_defaults


def get_config(variants: str | None = None) -> ConfigDict:
    config = defaults()
    config.cores = "devices"
    config.data.name = "clevr"
    config.data.options = ConfigDict({"min_objects": 3, "max_objects": 6})
    config.model = model_defaults(
        resolution=(128, 128),
        num_slots=7,
        encoder={
            "name": "cnn",
            "channels": (64, 64, 64, 64),
            "kernels": (5, 5, 5, 5),
            "strides": (1, 1, 1, 1),
            "mlp_dim": 64,
            "kernel_init": "glorot",  # or "he"
            "groups": 0,  # of GroupNorm after every convolution (Kipf et al., 2022); 0: none
        },
        decoder={
            "name": "spatial_broadcast",
            "channels": (64, 64, 64, 64, 64),
            "kernels": (5, 5, 5, 5, 5),
            "strides": (2, 2, 2, 2, 1),
            "last_kernel": 3,
            "relative": False,  # True: a slot is drawn around where it attends (Biza et al., 2023)
            "remat": False,  # True: less memory, more work
        },
    )
    kinds = {"tfds": tfds, "masks": masks, "clevr10": clevr10}
    sizes = {"bf16": bf16, "brief": brief, "quick": quick, "relative": relative}
    trained = {"refine": refine, "longer": longer, "hyper": hyper}
    return apply_variants(config, variants, kinds | sizes | trained | {"tiny": tiny})


def tfds(config: ConfigDict) -> None:
    stored(config, "clevr_tfds")


def masks(config: ConfigDict) -> None:
    stored(config, "clevr_with_masks")


def stored(config: ConfigDict, name: str) -> None:
    config.data.name = name
    config.data.options = ConfigDict()
    config.data.max_objects = 6


def clevr10(config: ConfigDict) -> None:
    config.model.num_slots = 11
    config.data.max_objects = 0
    if config.data.name == "clevr":
        config.data.options.max_objects = 10


def bf16(config: ConfigDict) -> None:
    config.model.dtype = "bfloat16"


def brief(config: ConfigDict) -> None:
    hasten(config)
    if config.data.name == "clevr":
        config.data.pool = 50_000  # to render new ones for every step would take its time


def quick(config: ConfigDict) -> None:
    quicken(config, patch=4)
    if config.data.name == "clevr":
        config.data.options.crop = True
        config.data.pool = 10_000  # rendering a scene costs more than learning from it once: scenes come back
    config.model.resolution = (64, 64)
    config.model.encoder.strides = (2, 2, 1)
    config.train.update(num_steps=20_000, learning_rate=1e-3, warmup_steps=500)


def relative(config: ConfigDict) -> None:
    config.model.decoder.relative = True


def refine(config: ConfigDict) -> None:
    """Goes on from trained weights with the paper's three iterations; from scratch they lost a seed (ablation.md)."""
    config.model.num_iterations = 3
    config.train.update(num_steps=6_000, learning_rate=4e-4)
    config.train.start_from = "clevr10" if config.model.num_slots == 11 else "clevr6"


def longer(config: ConfigDict) -> None:
    """Goes on from the refined weights: outlines keep getting better for long."""
    refine(config)
    config.train.num_steps = 60_000
    config.train.start_from += "_refined"


def hyper(config: ConfigDict) -> None:
    """Goes on from the best weights so far, every slot with a first layer of its own: outlines get sharper."""
    refine(config)
    config.train.num_steps = 40_000
    config.train.start_from = "clevr10_refined" if config.model.num_slots == 11 else "clevr6_longer"
    config.model.decoder.hyper = True


def tiny(config: ConfigDict) -> None:
    shorten(config)
    config.model.resolution = (32, 32)
    config.model.encoder.update(channels=(8, 8), kernels=(5, 5), strides=(2, 1), mlp_dim=16)
    config.model.update(slot_dim=16, mlp_dim=16)
    shrink_decoder(config, strides=(2, 2, 1))
