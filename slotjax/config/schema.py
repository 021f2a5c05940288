"""What a config holds: every field with its type, range, default and reason, in this one place.

The model's own fields are its parts' attributes (`slotjax.models.build`), and checked by them.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from ml_collections import ConfigDict

from slotjax.nn.fields import Range

STEPS = 2**31 - 1  # steps are counted in int32
MOST_IMAGES = 10**6
MOST_DEVICES = 10**6
FLOAT = 1e38  # the largest that float32 holds, or so

Steps = Annotated[int, Range(1, STEPS)]
Frames = Annotated[int, Range(0, 1000)]


@dataclass
class Data:
    """Which pictures: scenes that are rendered while training, or a stored data set."""

    name: str = ""  # a scene family or a stored data set
    path: str = ""  # stored data: a file or a folder
    options: dict = field(default_factory=dict)  # scenes: keywords of the family
    # Scenes: render so many, once, and train on those again and again; 0: new ones for every step.
    pool: Annotated[int, Range(0, 10**7)] = 0
    eval_images: Annotated[int, Range(0, MOST_IMAGES)] = 320  # held out; the paper's number; 0: a share of a small set
    num_frames: Frames = 0  # of the videos that are trained on; 0: pictures
    eval_frames: Frames = 0  # of held-out videos; 0: as many as num_frames
    max_objects: Annotated[int, Range(0, 1000)] = 0  # stored data: leave out scenes with more; 0 keeps all
    crop: Literal["default", "reference", "none"] = "default"  # stored CLEVR: "reference" are the original's numbers
    # Photographs: "flip" mirrors at random, "crop" takes a random part as well; MOVi: "crop" takes a random part.
    augment: Literal["none", "flip", "crop"] = "none"
    # Features of a pretrained backbone are kept on disk, up to so many GiB; 0: they are computed as they are needed.
    feature_cache: Annotated[float, Range(0, 10**6)] = 0.0
    num_workers: Annotated[int, Range(0, 1000)] = 0  # stored data: threads that read ahead


@dataclass
class Train:
    """How it is learned; the defaults are the paper's (Locatello et al., 2020, appendix E.3)."""

    batch_size: Annotated[int, Range(1, MOST_IMAGES)] = 64  # over all devices
    # The batch in so many parts, one after another, to the same effect; 0: as few as fit, or are fast.
    micro_batches: Annotated[int, Range(0, MOST_IMAGES)] = 0
    start_from: str = ""  # trained parameters to begin with: a run's directory, a weights file or packaged weights
    # A run's directory or a weights file: its masks are learned from by train.losses.distillation, its encoder (or a
    # vision transformer's file) is what train.losses.perceptual looks through.
    teacher: str = ""
    num_steps: Steps = 500_000
    losses: dict = field(default_factory=dict)  # by name, what each weighs: a number, or (step, weight) pairs
    stages: tuple[dict, ...] = ()  # a curriculum: {"until": step, "model.FIELD": value}, one after another
    learning_rate: Annotated[float, Range(0, FLOAT, open_below=True)] = 4e-4
    learning_rates: dict = field(default_factory=dict)  # by part ("decoder"), what it is multiplied by
    # All after a linear warm-up, which "exponential" and "cosine" do not wait for.
    schedule: Literal["exponential", "cosine", "warmup_cosine", "constant"] = "exponential"
    warmup_steps: Annotated[int, Range(0, STEPS)] = 10_000
    decay_rate: Annotated[float, Range(0, FLOAT)] = 0.5
    decay_steps: Steps = 100_000
    optimizer: Literal["adam", "muon"] = "adam"  # "muon" updates kernels by Muon, everything else by Adam
    # Adam's epsilon: before the bias correction, as Keras adds it, or after it, as Flax and Optax do.
    adam: Literal["keras", "flax"] = "keras"
    clip_norm: Annotated[float, Range(0, FLOAT)] = 0.0  # largest norm of the gradient; 0: no clipping
    weight_decay: Annotated[float, Range(0, FLOAT)] = 0.0  # of all but biases, norms and the slots' starts
    # Moving average of the parameters, used for evaluation; 0: none.
    ema_decay: Annotated[float, Range(0, 1, open_above=True, hint="0.999 say; 0 for none")] = 0.0
    # A loss or gradient that is not finite: stop, or leave that step out.
    on_nonfinite: Literal["stop", "skip"] = "stop"
    log_every: Steps = 100
    eval_every: Steps = 10_000
    checkpoint_every: Steps = 5_000
    keep_checkpoints: Steps = 3


@dataclass
class Eval:
    """How it is scored."""

    batch_size: Annotated[int, Range(1, 10**5)] = 32
    pictures: Annotated[int, Range(1, 1000)] = 8


@dataclass
class Mesh:
    """Which devices work together, with parallel="jit" (docs/scaling.md)."""

    data: Annotated[int, Range(0, MOST_DEVICES)] = 0  # shares of the batch; 0: as many as the devices make
    model: Annotated[int, Range(1, MOST_DEVICES)] = 1  # devices that have a share together, a part of each picture


@dataclass
class Experiment:
    """A whole config, but for `model`."""

    seed: Annotated[int, Range(-(2**63), 2**63 - 1)] = 0  # what `jax.random.key` takes
    parallel: Literal["pmap", "jit"] = "pmap"
    # Of a CPU: "devices" gives each core a share of the batch, which is faster if convolutions are large.
    cores: Literal["threads", "devices"] = "threads"
    mesh: Mesh = field(default_factory=Mesh)
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    eval: Eval = field(default_factory=Eval)


SECTIONS = {"mesh": Mesh, "data": Data, "train": Train, "eval": Eval}


def defaults() -> ConfigDict:
    """A config with all but the model."""
    return ConfigDict(dataclasses.asdict(Experiment()))


def hints() -> dict[str, Any]:
    """The type of every field, by its dotted name; sections are `dict`."""
    flat: dict[str, Any] = {}
    for name, hint in get_type_hints(Experiment, include_extras=True).items():
        if name in SECTIONS:
            flat[name] = dict
            flat |= {f"{name}.{key}": of for key, of in get_type_hints(SECTIONS[name], include_extras=True).items()}
        else:
            flat[name] = hint
    return flat
