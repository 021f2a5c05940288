"""Set prediction on CLEVR10, as in the paper (Locatello et al., 2020, sec. 4.2, appendix E).

The whole picture, not a crop of it, is resized to 128x128; scenes are rendered while it trains. Variants, which
combine, as in `clevr_set.py:masks,tiny`:

    tfds     reads TFDS `clevr`
    masks    reads CLEVR-with-masks TFRecords (`--config.data.path=FILE`)
    bf16     computes in bfloat16
    small    is the recipe for two CPU cores, for scenes of up to 4 objects (docs/set_prediction.md)
    tiny     runs in seconds
"""

from ml_collections import ConfigDict

from slotjax.config import recipes
from slotjax.config.variants import apply_variants, bf16, experiment, stored, tiny


def get_config(variants: str | None = None) -> ConfigDict:
    model = recipes.paper_model((128, 128), 10, strides=(1, 2, 2, 1))
    del model["decoder"]
    model |= {"name": "set_prediction", "head": {"name": "mlp", "hidden": (64,)}}
    config = experiment(model, cores="devices", data={"name": "clevr", "crop": "none"})
    config.data.options = ConfigDict({"min_objects": 3, "max_objects": 10, "crop": False})
    config.train.update(batch_size=512, num_steps=150_000, warmup_steps=1_000, decay_steps=50_000)
    kinds = {"tfds": stored("clevr_tfds"), "masks": stored("clevr_with_masks"), "bf16": bf16}
    return apply_variants(config, variants, kinds | {"small": small, "tiny": tiny})


def small(config: ConfigDict) -> None:
    config.cores = "threads"
    # The usual crop, so that a small object is 7 pixels wide and not 4; some 3% of the objects lie outside it.
    config.data.update(crop="default", max_objects=4)  # the same of stored scenes
    if config.data.name == "clevr":
        config.data.options = ConfigDict({"min_objects": 1, "max_objects": 4, "crop": True})
        config.data.pool = 40_000  # rendering a scene costs more than learning from it once: scenes come back
    # Each of these left the first plateau, on which all slots say the same, in fewer seconds (docs/set_prediction.md).
    config.model.update(resolution=(64, 64), num_slots=7, num_iterations=2)
    config.model.initializer = ConfigDict({"name": "learned"})
    config.model.encoder.update(channels=(32, 32, 32, 64), kernels=(5, 5, 3, 3), strides=(2, 2, 2, 1))
    config.model.encoder.kernel_init = "he"
    config.train.update(batch_size=8, num_steps=200_000, learning_rate=1e-3, schedule="cosine", warmup_steps=200)
    config.train.update(clip_norm=1.0, ema_decay=0.995, log_every=500, eval_every=10_000, checkpoint_every=5_000)
