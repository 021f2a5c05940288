"""Objects in minutes on two CPU cores, without a data set: discs, squares and triangles at 32x32.

The method is the paper's; the model is small: tokens at half the resolution, each of which sees a whole sprite, and an
MLP decoder that predicts patches. Every slot has a learned start, and one of them takes the background; when objects
have parted, undecided masks get a price, and later every slot is asked to draw what it shares (docs/parts.md).

Variant:

    tiny  runs in seconds
"""

from ml_collections import ConfigDict

from slotjax.config.variants import apply_variants, experiment, tiny


def get_config(variants: str | None = None) -> ConfigDict:
    model = {
        "name": "object_discovery",
        "resolution": (32, 32),
        "num_slots": 5,
        "slot_dim": 64,
        "mlp_dim": 128,
        "num_iterations": 2,
        "initializer": {"name": "learned"},
        "encoder": {
            "name": "cnn",
            "channels": (32, 32, 32),
            "kernels": (5, 5, 5),
            "strides": (2, 1, 1),
            "mlp_dim": 64,
            "kernel_init": "he",
        },
        "decoder": {"name": "mlp", "hidden": (128, 128), "patch": 4, "frequencies": 4, "position": "own"},
    }
    config = experiment(model, cores="devices", data={"name": "sprites"})
    config.data.options = ConfigDict({"min_objects": 2, "max_objects": 4, "background": "black"})
    config.train.update(batch_size=8, num_steps=9_000, learning_rate=1.5e-3, schedule="cosine", warmup_steps=200)
    config.train.update(clip_norm=1.0, ema_decay=0.995, log_every=100, eval_every=1_000, checkpoint_every=1_000)
    priced = {"entropy": ((3_000, 0.0), (3_001, 0.1)), "expected": ((7_000, 0.0), (7_001, 0.25))}
    config.train.losses = ConfigDict(priced)
    return apply_variants(config, variants, {"tiny": tiny})
