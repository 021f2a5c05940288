"""What slots draw of a video: its frames, its flow, its depth."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from slotjax.nn.fields import Choice

FLOWS = ("flow", "backward_flow")  # where what is seen goes, and where it comes from; both in pixels a frame
FLOW_GAIN = 50  # a motion of 1/50 of the diagonal in one frame is drawn in full colour


def flow_picture(flow: jax.Array) -> jax.Array:
    """Motion as colour, as SAVi's targets have it: float32 [*b, h, w, 2] in pixels a frame -> [*b, h, w, 3] in [0, 1].

    Hue is the direction, saturation the speed relative to the diagonal, value 1. The numbers are those of bytes / 255.
    """
    height, width = flow.shape[-3:-1]
    first, second = flow[..., 0], flow[..., 1]
    hue = (jnp.arctan2(second, first) / jnp.pi + 1) / 2
    speed = jnp.sqrt(first**2 + second**2)
    saturation = jnp.clip(speed * (FLOW_GAIN / jnp.hypot(float(height), float(width))), 0, 1)
    shades = jnp.stack([jnp.abs(6 * hue - 3) - 1, 2 - jnp.abs(6 * hue - 2), 2 - jnp.abs(6 * hue - 4)], -1)
    picture = 1 - saturation[..., None] * (1 - jnp.clip(shades, 0, 1))
    return jnp.floor(picture * 255.5) * jnp.float32(1 / 255)


def flow_of(picture: jax.Array) -> jax.Array:
    """The motion that a colour means: the inverse of `flow_picture`, up to the speed that is full colour.

    Args:
      picture: [*b, h, w, 3], in [0, 1] but for errors.

    Returns:
      float32 [*b, h, w, 2], in pixels a frame.
    """
    height, width = picture.shape[-3:-1]
    red, green, blue = jnp.moveaxis(jnp.clip(picture, 0, 1), -1, 0)
    most, least = jnp.maximum(jnp.maximum(red, green), blue), jnp.minimum(jnp.minimum(red, green), blue)
    spread = jnp.where(most > least, most - least, 1)
    turns = (green - blue) / spread, 2 + (blue - red) / spread, 4 + (red - green) / spread
    sector = jnp.where(most == red, turns[0], jnp.where(most == green, turns[1], turns[2]))
    angle = (sector / 3 - 1) * jnp.pi
    speed = (most - least) * jnp.hypot(float(height), float(width)) / FLOW_GAIN
    return speed[..., None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def log_depth(depth: jax.Array) -> jax.Array:
    """log(1 + depth), as SAVi++ predicts it (Elsayed et al., 2022): float32 [*b, h, w, 1] twice."""
    return jnp.log1p(depth)


def grey(depth: jax.Array) -> jax.Array:
    """What `log_depth` makes, as grey in [-1, 1]: what is near is bright. [*b, h, w, 1] -> [*b, h, w, 3]."""
    return jnp.repeat(2 * jnp.exp(-depth / 2) - 1, 3, axis=-1)


class Target(NamedTuple):
    """A kind of what slots draw.

    Attributes:
      channels: how many numbers a pixel has.
      make: of a batch's entry of that name, [*b, h, w, c].
      colours: of those numbers, red, green and blue in [-1, 1], [*b, h, w, 3].
    """

    channels: int
    make: Callable[[jax.Array], jax.Array]
    colours: Callable[[jax.Array], jax.Array]


TARGETS = {
    "image": Target(3, lambda image: image, lambda image: image),
    **dict.fromkeys(FLOWS, Target(3, flow_picture, lambda flow: 2 * flow - 1)),
    "depth": Target(1, log_depth, grey),
}
Targets = tuple[Annotated[str, Choice(TARGETS)], ...]


def channels(targets: Targets) -> int:
    """How many numbers a pixel of these has together."""
    return sum(TARGETS[name].channels for name in targets)


def flows_of(targets: Targets, pictures: jax.Array) -> dict[str, jax.Array]:
    """The flows among the targets, in pictures of all of them [*b, h, w, c], by name: as of `flow_of`."""
    starts = {name: channels(targets[: targets.index(name)]) for name in FLOWS if name in targets}
    return {name: flow_of(pictures[..., start : start + TARGETS[name].channels]) for name, start in starts.items()}


def colours(targets: Targets, pictures: jax.Array) -> jax.Array:
    """The first target in pictures of all of them [*b, h, w, c], as red, green and blue in [-1, 1]: [*b, h, w, 3]."""
    return TARGETS[targets[0]].colours(pictures[..., : TARGETS[targets[0]].channels])


def target_of(targets: Targets, batch: Mapping[str, Any]) -> jax.Array | None:
    """What a batch holds of these, one after another in the last axis [*b, h, w, c]; None where it lacks one."""
    if not set(targets) <= set(batch):
        return None
    return jnp.concatenate([TARGETS[name].make(batch[name]) for name in targets], axis=-1)
