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
    """The recipe of quick.py, frame by frame: a predictor that does nothing, as little moves from one to the next."""
    on_clevr = config.data.name == "moving_clevr"
    model = config.model
    model.update(attention="slots", slot_dim=64, mlp_dim=128, num_iterations=1, first_iterations=2)
    model.update(num_slots=7 if on_clevr else 5, resolution=(64, 64) if on_clevr else (32, 32))
    model.encoder = ConfigDict({"name": "cnn", "channels": (32, 32, 32), "kernels": (5, 5, 5), "mlp_dim": 64})
    model.encoder.update(strides=(2, 2, 1) if on_clevr else (2, 1, 1), kernel_init="he")
    model.predictor = ConfigDict({"name": "identity"})
    decoder = {
        "name": "mlp",
        "hidden": (128,) * 2 if on_clevr else (256,) * 2,
        "patch": 4,
        "frequencies": 4,
        "position": "own",
    }
    model.decoder = ConfigDict(decoder | {"frame": "slot" if on_clevr else "picture"})
    config.cores = "threads"
    config.data.update(eval_frames=20, eval_images=64)
    config.train.update(batch_size=4, num_steps=20_000, learning_rate=1.5e-3, schedule="cosine", warmup_steps=200)
    config.train.update(
        adam="keras", clip_norm=1.0, ema_decay=0.995, log_every=100, eval_every=2_000, checkpoint_every=1_000
    )
    (from_pictures if on_clevr else from_single_frames)(config)


def from_single_frames(config: ConfigDict) -> None:
    """Where slots are carried on before objects part, they may part the picture instead.

    Videos are long enough for sprites to hide and to come out again, once slots follow them.
    """
    config.data.num_frames = 12
    config.train.update(optimizer="muon", num_steps=12_000, eval_every=1_000)
    priced = {"entropy": ((2_500, 0.0), (2_501, 0.03)), "expected": ((9_000, 0.0), (10_000, 0.25))}
    kept = {"contrast": ((5_000, 0.0), (6_000, 0.02))}
    config.train.losses = ConfigDict({"mse": 1.0, "sse": 0.0} | priced | kept)
    recipes.background_first(config, (400, 700, 1_000), until=1_500, num_iterations=None)
    parting = (*config.train.stages, {"until": 2_500})
    config.train.stages = (*(stage | {"model.restart": 1} for stage in parting), {"until": 5_000, "model.restart": 6})


def from_pictures(config: ConfigDict) -> None:
    """Slots know objects from the pictures that `clevr6` was trained on; what they learn here is to keep them."""
    config.train.update(start_from="clevr6", num_steps=6_000, learning_rate=4e-4, eval_every=1_000)
    config.train.losses = ConfigDict({"mse": 1.0, "sse": 0.0, "entropy": ((2_000, 0.0), (2_001, 0.03))})
