"""Your own pictures: `python train.py --config configs/folder.py --config.data.path=DIR`.

Pictures of any size and mode are cropped to a square and resized. With mask PNGs beside them (see
slotjax/data/stored/folder.py) the segmentation is scored too. Variants: `tiny` runs in seconds.
"""

from ml_collections import ConfigDict

from slotjax.config.variants import apply_variants, shorten, shrink_decoder
from slotjax.configuration import defaults, model_defaults


def get_config(variants: str | None = None) -> ConfigDict:
    config = defaults()
    config.cores = "devices"
    config.data.name = "folder"
    config.data.eval_images = 32
    config.model = model_defaults(
        resolution=(64, 64),
        num_slots=7,
        encoder={
            "name": "cnn",
            "channels": (64, 64, 64, 64),
            "kernels": (5, 5, 5, 5),
            "strides": (2, 1, 1, 1),
            "mlp_dim": 64,
            "kernel_init": "glorot",  # or "he"
            "groups": 0,  # of GroupNorm after every convolution (Kipf et al., 2022); 0: none
        },
        decoder={
            "name": "spatial_broadcast",
            "channels": (64, 64, 64, 64),
            "kernels": (5, 5, 5, 5),
            "strides": (2, 2, 2, 1),
            "last_kernel": 3,
            "relative": False,  # True: a slot is drawn around where it attends (Biza et al., 2023)
            "remat": False,  # True: less memory, more work
        },
    )
    config.train.update(num_steps=100_000, warmup_steps=5_000, eval_every=2_500)
    return apply_variants(config, variants, {"tiny": tiny})


def tiny(config: ConfigDict) -> None:
    shorten(config)
    config.model.resolution = (32, 32)
    config.model.encoder.update(channels=(8, 8), kernels=(5, 5), strides=(2, 1), mlp_dim=16)
    config.model.update(slot_dim=16, mlp_dim=16)
    shrink_decoder(config, strides=(2, 2, 1))
