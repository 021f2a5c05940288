"""Videos: slots that follow objects through time (SAVi, Kipf et al., 2022); docs/video.md tells of it.

The paper's small model ("SAVi-S" in its program), without cues, by the colours of moving sprites, which are rendered
while it trains. Variants, which combine, as in `video.py:small,clevr`:

    savi     is as in the paper: slots start from the boxes of the first frame, and draw flow; on moving CLEVR
    movi     is the same on MOVi (`--config.data.path=DIR`)
    savipp   is SAVi++ (Elsayed et al., 2022), which draws depth too: for MOVi, `video.py:movi,savipp`
    clevr    takes moving CLEVR
    small    is the recipe for two CPU cores
    tiny     runs in seconds
"""

from ml_collections import ConfigDict

from slotjax.config import recipes
from slotjax.config.variants import apply_variants, experiment, stored, tiny


def get_config(variants: str | None = None) -> ConfigDict:
    config = experiment(savi_small(), cores="devices", data={"name": "moving_sprites"})
    config.data.update(num_frames=6, eval_frames=24, eval_images=64)  # the paper trains on 6 frames, and scores 24
    config.train.update(batch_size=64, num_steps=100_000, schedule="warmup_cosine", warmup_steps=2_500)
    config.train.update(learning_rate=2e-4, adam="flax", clip_norm=0.05, eval_every=2_500)
    config.train.losses = ConfigDict({"mse": 0.0, "sse": 1.0})
    config.eval.update(batch_size=8, pictures=4)
    kinds = {"savi": savi, "movi": movi, "savipp": savipp, "clevr": clevr, "small": small}
    return apply_variants(config, variants, kinds | {"tiny": tiny})


def savi_small() -> dict:
    """The paper's model for frames of 64x64 (Kipf et al., 2022, sec. 3 and appendix), by the program's numbers."""
    layers = {"channels": (32, 32, 32, 32), "kernels": (5, 5, 5, 5)}
    return {
        "name": "video",
        "resolution": (64, 64),
        "num_slots": 11,  # 10 objects and the background, as MOVi-A to C have them
        "slot_dim": 128,
        "attention": "corrector",
        "num_iterations": 1,
        "mlp_dim": 0,
        "initializer": {"name": "learned"},
        "encoder": {"name": "savi", **layers, "strides": (1, 1, 1, 1), "mlp_dim": 64},
        "predictor": {"name": "transformer", "heads": 4, "qkv_dim": 128, "mlp_dim": 256, "norm": "post"},
        "decoder": {"name": "readout", "channels": (64,) * 4, "kernels": (5,) * 4, "strides": (2, 2, 2, 1)},
    }


def savi(config: ConfigDict) -> None:
    config.model.initializer = ConfigDict({"name": "cues", "cue": "boxes", "hidden_dim": 256})
    config.model.targets = ("flow",)
    clevr(config)


def movi(config: ConfigDict) -> None:
    """MOVi-D and E hold up to 23 objects: `--config.data.max_objects=0 --config.model.num_slots=24`."""
    savi(config)
    config.model.targets = ("backward_flow",)  # which the paper's program takes where a set has it
    stored("movi", max_objects=10)(config)


def savipp(config: ConfigDict) -> None:
    """The paper's numbers (Elsayed et al., 2022, sec. 4 and appendix), and of MOVi random parts to train on."""
    on_movi = config.data.name == "movi"
    targets = ("depth", "backward_flow" if on_movi else "flow")
    config.model.update(resolution=(128, 128), qkv_dim=256, targets=targets)
    config.model.encoder = ConfigDict({"name": "resnet"})
    config.model.predictor.update(qkv_dim=256, mlp_dim=1024)
    config.model.decoder.update(strides=(2, 2, 2, 2))
    config.train.num_steps = 500_000
    config.data.augment = "crop" if on_movi else "none"


def clevr(config: ConfigDict) -> None:
    config.data.name = "moving_clevr"
    config.data.options = ConfigDict({"min_objects": 3, "max_objects": 6})


def small(config: ConfigDict) -> None:
    """A model of pictures, whose weights the recipe begins with, and a predictor that does nothing.

    Little moves from one frame to the next. Slots that are carried on before each has an object may part the picture
    instead; those of the picture model have objects, and what they learn here is to keep them.
    """
    model = config.model
    model.update(attention="slots", slot_dim=64, mlp_dim=128)
    model.encoder = ConfigDict({"name": "cnn", "channels": (32, 32, 32), "kernels": (5, 5, 5), "mlp_dim": 64})
    model.encoder.kernel_init = "he"
    model.predictor = ConfigDict({"name": "identity"})
    model.decoder = ConfigDict({"name": "mlp", "hidden": (128, 128), "patch": 4, "frequencies": 4, "position": "own"})
    config.cores = "threads"
    config.data.eval_frames = 20
    config.train.update(batch_size=4, schedule="cosine", warmup_steps=200, adam="keras", clip_norm=1.0)
    config.train.update(ema_decay=0.995, log_every=100, checkpoint_every=1_000)
    (from_clevr6 if config.data.name == "moving_clevr" else from_quick)(config)


def from_quick(config: ConfigDict) -> None:
    """Videos are long enough for sprites to hide and to come out again, once slots follow them."""
    config.cores = "devices"  # faster for this one, small as it is (docs/performance.md)
    config.model.update(num_slots=5, resolution=(32, 32), num_iterations=3)
    config.model.encoder.strides = (2, 1, 1)
    config.model.decoder.frame = "picture"
    config.data.update(num_frames=12, eval_images=192)
    config.train.update(start_from="quick", optimizer="muon", learning_rate=1e-3, num_steps=15_000, eval_every=3_000)
    sharp = {"entropy": 0.03, "mixture": ((3_000, 0.0), (4_000, 1.0)), "expected": ((7_000, 0.0), (8_000, 0.25))}
    kept = {"contrast": ((1_000, 0.0), (2_000, 0.02)), "steady": ((5_000, 0.0), (6_000, 2.0))}
    config.train.losses = ConfigDict({"mse": 1.0, "sse": 0.0} | sharp | kept)
    recipes.two_iterations_until(config, 5_000)
    config.train.stages = ({"until": 1_000, "model.restart": 6, "model.num_iterations": 2}, *config.train.stages)


def from_clevr6(config: ConfigDict) -> None:
    config.model.update(num_slots=7, resolution=(64, 64), num_iterations=1, first_iterations=2)
    config.model.encoder.strides = (2, 2, 1)
    config.model.decoder.frame = "slot"
    config.train.update(start_from="clevr6", learning_rate=4e-4, num_steps=6_000, eval_every=1_000)
    config.train.losses = ConfigDict({"mse": 1.0, "sse": 0.0, "entropy": ((2_000, 0.0), (2_001, 0.03))})
