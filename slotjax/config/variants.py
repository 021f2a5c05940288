"""Experiments and their variants, as in `--config configs/clevr.py:masks,tiny`.

An experiment is one file in `configs/` with `get_config(variants)`: it starts from `experiment()`, says what differs,
and ends in `apply_variants`. A variant is a function that changes the config.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from slotjax.config.check import complete
from slotjax.config.schema import defaults
from slotjax.nn.fields import choose

Variant = Callable[[ConfigDict], None]


def experiment(model: Mapping[str, Any], **sections: Any) -> ConfigDict:
    """The defaults, a model, and what else differs: `data={"name": "clevr"}` or `cores="devices"`."""
    config = defaults()
    config.model = ConfigDict(dict(model))
    for name, value in sections.items():
        if isinstance(value, Mapping):
            config[name].update(value)
        else:
            config[name] = value
    return complete(config)


def apply_variants(config: ConfigDict, chosen: str | None, variants: Mapping[str, Variant]) -> ConfigDict:
    """Changes `config` by the comma-separated variants of `--config configs/x.py:a,b`; returns it, complete.

    They are applied in the order of `variants`, so that it does not matter in which they are named.
    """
    names = list(filter(None, (chosen or "").split(",")))
    for name in names:
        choose("variant", variants, name)
    for name, change in variants.items():
        if name in names:
            change(config)
    return complete(config)


def bf16(config: ConfigDict) -> None:
    """Computes in bfloat16; parameters, norms, softmax and loss stay in float32."""
    config.model.dtype = "bfloat16"


def stored(name: str, max_objects: int = 0) -> Variant:
    """Reads a stored data set in place of rendering scenes."""

    def change(config: ConfigDict) -> None:
        config.data.update(name=name, pool=0, max_objects=max_objects)
        config.data.options = ConfigDict()  # `update` would add nothing to those that are there

    return change


def tiny(config: ConfigDict) -> None:
    """A few small steps of a small model: all of a run in seconds, whatever the other variants chose."""
    config.data.update(eval_images=8, pool=min(config.data.pool, 8))
    config.train.update(batch_size=4, num_steps=6, warmup_steps=2, log_every=2, eval_every=3, checkpoint_every=3)
    config.train.start_from = ""  # trained weights are of a larger model
    config.train.stages = tuple({**stage, "until": 2} for stage in config.train.stages[:1])
    config.eval.update(batch_size=8, pictures=2)
    if config.data.num_frames:
        config.data.update(num_frames=2, eval_frames=0)
    model = config.model
    model.update(slot_dim=16, mlp_dim=16)
    if max(model.resolution) > 35:  # Tetrominoes have one size only
        model.resolution = (32, 32)
    if model.encoder.name == "resnet":
        model.encoder.update(channels=(32,), blocks=(1,), strides=(2,), mlp_dim=16, layers=1, hidden=16)
    elif model.encoder.name == "unet":
        model.encoder.update(channels=(8, 8), stride=2, mlp_dim=16)
    else:
        model.encoder.update(channels=(8, 8), kernels=(5, 5), strides=(2, 1), mlp_dim=16)
    if model.name == "set_prediction":
        model.head.hidden = (16,)
    elif model.decoder.name == "mlp":
        model.decoder.hidden = (16,)
    else:
        strides = (2, 2, 1) if max(model.decoder.strides) > 1 else (1,)
        model.decoder.update(channels=(8,) * len(strides), kernels=(5,) * len(strides), strides=strides)
