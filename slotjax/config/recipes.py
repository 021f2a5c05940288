"""What the files in `configs/` share: the paper's model, and the recipe for two CPU cores."""

from typing import Any

from ml_collections import ConfigDict


def paper_model(
    resolution: tuple[int, int],
    num_slots: int,
    width: int = 64,
    strides: tuple[int, ...] = (1, 1, 1, 1),
    decoder: tuple[int, ...] = (2, 2, 2, 2, 1),
) -> dict[str, Any]:
    """The paper's model (Locatello et al., 2020, appendix E.2): 5 x 5 convolutions, and their transposes.

    Args:
      width: channels of all layers, and of the tokens.
      strides: of the encoder's layers; decoder: of the decoder's, before its last, 3 x 3, layer.
    """
    layers = {"kernels": (5,) * len(decoder), "strides": decoder, "last_kernel": 3}
    return {
        "name": "object_discovery",
        "resolution": resolution,
        "num_slots": num_slots,
        "slot_dim": 64,
        "mlp_dim": 128,
        "encoder": {
            "name": "cnn",
            "channels": (width,) * len(strides),
            "kernels": (5,) * len(strides),
            "strides": strides,
            "mlp_dim": width,
        },
        "decoder": {"name": "spatial_broadcast", "channels": (width,) * len(decoder), **layers},
    }


def isa(config: ConfigDict) -> None:
    """Slots attend and are drawn in frames of their own (Biza et al., 2023, appendix B), which have place and extent.

    Tokens then do not say where they are, nor see all of the picture, as those of a U-Net do. There are far more pairs
    of slot and token than tokens, so the encoder ends at an eighth of CLEVR's side, and at half of a smaller picture's.
    """
    for field in ("normalize", "update", "centered", "gradient"):  # of attention in the picture's frame
        if field in config.model:
            del config.model[field]
    config.model.update(attention="invariant", frame="scaled", initializer=ConfigDict({"name": "learned"}))
    if config.model.encoder.name == "unet":
        layers = {"channels": (32,) * 4, "kernels": (5,) * 4, "strides": (1,) * 4, "kernel_init": "he"}
        config.model.encoder = ConfigDict({"name": "cnn", "mlp_dim": 64} | layers)
    config.model.encoder.position_scale = 0.0
    if len(config.model.encoder.strides) == 4:  # the paper's, which keeps the picture's resolution
        config.model.encoder.strides = (2, 2, 2, 1) if max(config.model.resolution) > 64 else (2, 1, 1, 1)
    config.model.decoder.frame = "scaled"
    config.train.update(clip_norm=0.05, schedule="cosine")


def small(config: ConfigDict, patch: int) -> None:
    """What the recipes for two CPU cores share: a small model, and training that is short.

    Every slot has a start of its own, so that the background gets a slot (docs/parts.md), a frame of its own, and a
    first layer of its own in a decoder of patches. Two iterations at first, and three when objects have parted: from
    the start, three lost them in one seed or more.

    Args:
      patch: every place of the decoder predicts patch x patch pixels.
    """
    config.cores = "threads"
    config.model.initializer = ConfigDict({"name": "learned"})
    config.model.encoder.update(channels=(32, 32, 32), kernels=(5, 5, 5), mlp_dim=64, kernel_init="he")
    decoder = {"name": "mlp", "hidden": (128, 128), "patch": patch, "frequencies": 4}
    config.model.decoder = ConfigDict(decoder | {"frame": "slot", "position": "own"})
    config.train.update(batch_size=8, schedule="cosine", learning_rate=1e-3, warmup_steps=500)
    config.train.update(clip_norm=1.0, ema_decay=0.995, log_every=100, eval_every=1_000, checkpoint_every=1_000)


def two_iterations_until(config: ConfigDict, step: int) -> None:
    """The curriculum of `small`."""
    config.train.stages = ({"until": step, "model.num_iterations": 2},)


def background_first(config: ConfigDict, fades: tuple[int, int, int], until: int) -> None:
    """A curriculum in which the background gets a slot before objects part, and keeps it.

    The first slot has a head start that fades, so that it draws what all scenes have, and the others what is theirs:
    without, slots part the picture into territories. Until the end slot and place only add up.

    Args:
      fades: steps at which the head start goes from 3 to 2, to 1 and to 0.
      until: the step at which the curriculum, in which attention has two iterations, ends.
    """
    first = {"model.num_iterations": 2, "model.decoder.position": "shared"}
    starts = zip(fades, (3.0, 2.0, 1.0), strict=True)
    config.model.background = 0.0
    config.train.stages = (
        *({"until": step, "model.background": start} | first for step, start in starts),
        {"until": until} | first,
    )


def needed_after(config: ConfigDict, step: int) -> None:
    """After the curriculum, and when objects have parted, slots that a picture does not need are left out.

    Sooner they would all be alike, and one of them enough.
    """
    config.model.selection = "needed"
    stages = (*config.train.stages, {"until": step})
    config.train.stages = tuple(stage | {"model.selection": "all"} for stage in stages)
