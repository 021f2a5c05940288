"""Variants of an experiment, as in `--config configs/clevr.py:quick,relative`: each a function that changes the config.

Those here are what the files in `configs/` share.
"""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from slotjax.models import choose


def apply_variants(
    config: ConfigDict, chosen: str | None, variants: Mapping[str, Callable[[ConfigDict], None]]
) -> ConfigDict:
    """Changes `config` by the comma-separated variants of `--config configs/x.py:a,b`; returns it.

    They are applied in the order of `variants`, so that it does not matter in which they are named.
    """
    names = list(filter(None, (chosen or "").split(",")))
    for name in names:
        choose("variant", variants, name)
    for name, change in variants.items():
        if name in names:
            change(config)
    return config


def quicken(config: ConfigDict, patch: int) -> None:
    """What the `:quick` variants of object discovery share: a small model, and training that is short, for a CPU.

    With a start for every slot the background becomes a slot of its own, though not from every seed (docs/results.md);
    the rest leaves the plateau on which all slots are alike sooner (docs/ablation.md).

    Args:
      patch: every place of the decoder predicts patch x patch pixels.
    """
    config.cores = "threads"
    config.model.num_iterations = 2
    config.model.initializer = ConfigDict({"name": "learned"})
    config.model.encoder.update(channels=(32, 32, 32), kernels=(5, 5, 5), mlp_dim=64, kernel_init="he")
    config.model.decoder = ConfigDict(
        {
            "name": "mlp",
            "hidden": (128, 128),
            "patch": patch,
            "frequencies": 4,
            "hyper": False,
            "relative": False,
            "remat": False,
        }
    )
    config.train.update(batch_size=8, schedule="cosine", clip_norm=1.0, ema_decay=0.995)
    config.train.update(log_every=100, eval_every=1_000, checkpoint_every=1_000)


def hasten(config: ConfigDict) -> None:
    """The `:brief` variants, a tenth of the paper's steps: minutes on a large GPU, it is thought (none ran it yet).

    The learning rate falls to nothing by then; halving it every 100,000 steps, as in the paper, would leave it high.
    """
    config.train.update(num_steps=50_000, warmup_steps=2_500, schedule="cosine")
    config.train.update(eval_every=2_500, checkpoint_every=1_000)


def shrink_decoder(config: ConfigDict, strides: tuple[int, ...]) -> None:
    """The part of a `:tiny` variant that is the decoder, whichever one the other variants chose.

    Args:
      strides: of the spatial broadcast decoder, which gets as many convolutions.
    """
    decoder = config.model.decoder
    if decoder.name == "mlp":
        decoder.hidden = (16,)
    else:
        decoder.update(channels=(8,) * len(strides), kernels=(5,) * len(strides), strides=strides)


def shorten(config: ConfigDict) -> None:
    """The part of every `:tiny` variant that is not the model: a few small steps, all of a run in seconds."""
    config.data.eval_images = 8
    config.data.pool = min(config.data.pool, 8)
    config.train.start_from = ""  # trained weights are of a larger model
    config.train.update(batch_size=4, num_steps=6, warmup_steps=2, log_every=2, eval_every=3, checkpoint_every=3)
    config.eval.update(batch_size=8, pictures=2)
