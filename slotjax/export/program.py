"""What is exported of a model: one pure function of pictures, and in words what goes in and what comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from slotjax.api import SIGMA, responsibilities
from slotjax.errors import UserError
from slotjax.models import Model, Output
from slotjax.nn.frames import AttendedFrame
from slotjax.nn.invariant import FRAMES_STREAM
from slotjax.system.version import VERSION

MEANINGS = {
    "slots": "float32 [b, k, d]: what each slot holds",
    "attention": "float32 [b, k, n], sums to 1 over k: which slot each token went to, row by row of the encoder's grid",
    "masks": "float32 [b, k, h, w], sums to 1 over k: how much each slot claims each pixel",
    "components": "float32 [b, k, h, w, 3] in the units of the picture, not clipped: what each slot draws",
    "reconstruction": "float32 [b, h, w, 3]: the components weighted by their masks",
    "predictions": "float32 [b, k, 19] in [0, 1]: what each slot says of its object",
}
SEGMENTS = f"int32 [b, h, w] in [0, k): which slot drew each pixel, most likely (its mask and colour, sigma {SIGMA})"
PREPROCESSING = (
    "RGB, rows before columns; resize the whole picture to h x w (bilinear, antialiased), then bytes / 127.5 - 1"
)


@dataclass(frozen=True)
class Program:
    """A model with its parameters, for pictures alone.

    Attributes:
      call: float32 [b, h, w, 3] in [-1, 1] -> {name: array}; pure.
      picture: h, w and 3.
      outputs: the names, in order.
      about: what goes in and what comes out, for people and programs: JSON-like.
    """

    call: Callable[[jax.Array | np.ndarray], dict[str, jax.Array]]
    picture: tuple[int, ...]
    outputs: tuple[str, ...]
    about: dict[str, Any]


def program(model: Model, params: Any, source: str, seed: int = 0) -> Program:
    """The program of a trained model. The slots start as `seed` draws them, once, alike for every picture.

    Raises:
      UserError: the model takes something else than single pictures, or its slots start from them.
    """
    picture = next(iter(model.inputs.values())).shape
    if list(model.inputs) != ["image"] or len(picture) != 3:
        takes = ", ".join(f"{name} {list(x.shape)}" for name, x in model.inputs.items())
        raise UserError(f"{source}: its model takes {takes}; only models of single pictures [h, w, 3] can be exported")
    if model.attention.predicts_start:
        raise UserError(
            f"{source}: its slots start from each picture's tokens; only models whose slots are drawn or learned "
            "(model.initializer.name=gaussian or learned) can be exported"
        )
    start = first_slots(model, params, seed)

    def call(image: jax.Array | np.ndarray) -> dict[str, jax.Array]:
        slots = jnp.broadcast_to(start, (image.shape[0], *start.shape))
        out = cast(Output, model.apply({"params": params}, image, slots))
        found = {name: getattr(out, name) for name in MEANINGS if getattr(out, name) is not None}
        if "components" in found and found["components"].shape[-3:] == picture:
            found["segments"] = responsibilities(out, jnp.asarray(image)).argmax(1).astype(jnp.int32)
        return found

    outputs = tuple(sorted(jax.eval_shape(call, jax.ShapeDtypeStruct((1, *picture), jnp.float32))))
    return Program(call, picture, outputs, about(source, seed, picture, outputs))


def first_slots(model: Model, params: Any, seed: int) -> jax.Array:
    """Where the slots of one picture start, [k, d], followed by the frames that they attend in where they have such."""
    key, number = jax.random.key(seed), model.attention.num_slots
    initializer = cast(Any, model.attention.initializer)
    slots = initializer.apply({"params": params["attention"]["initializer"]}, key[None], number)[0]
    frame = cast(AttendedFrame | None, model.attention.own_frame())
    if frame is None:
        return slots
    return jnp.concatenate([slots, frame.draw(jax.random.fold_in(key, FRAMES_STREAM), number)], -1)


def about(source: str, seed: int, picture: tuple[int, ...], outputs: tuple[str, ...]) -> dict[str, Any]:
    height, width, _ = picture
    image = {"shape": ["b", *picture], "dtype": "float32", "range": [-1, 1], "preprocessing": PREPROCESSING}
    return {
        "made_by": f"slotjax {VERSION}",
        "made_from": source,
        "inputs": {"image": image},
        "outputs": {name: (MEANINGS | {"segments": SEGMENTS})[name] for name in outputs},
        "size": {"h": height, "w": width},
        "start_of_slots": f"drawn with seed {seed}, the same for every picture",
    }


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """How far outputs are apart at most, in units of each one's largest number, or of 1.

    What a slot draws where its mask is 0 can be large, and is of no use. `segments` are left out: a pixel that is as
    likely another slot's may differ.
    """
    pairs = [(np.asarray(ours[name]), theirs[name]) for name in ours if name != "segments"]
    return float(np.max([np.abs(a - b).max() / max(1, np.abs(a).max()) for a, b in pairs]))  # NaN stays NaN


def example(picture: tuple[int, ...]) -> np.ndarray:
    """Two pictures to try a program on: squares of some colours on a slope of grey, [2, h, w, 3]."""
    height, width, _ = picture
    images = np.empty((2, *picture), np.float32)
    images[:] = np.linspace(-1, 0, width, dtype=np.float32)[:, None]
    for i, color in enumerate(((1, -1, -1), (-1, 1, 0), (0, 0, 1))):
        row, column = height * (1 + 3 * i) // 10, width * (7 - 3 * i) // 10
        images[:, row : row + height // 5, column : column + width // 5] = color
    images[1] = images[1, ::-1]
    return images
