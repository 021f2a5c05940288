"""What slots should be like: from frame to frame, when they start, and how many."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.models import Output

TEMPERATURE = 0.1


def contrast(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """How hard it is to tell which slot of the next frame each slot becomes (SlotContrast, Manasyan et al., 2025): [b].

    The cross entropy of picking a slot's successor by the cosine of their angle, over all slots of the same video's
    next frame, at a temperature of 0.1; the mean over slots and frames. The paper also picks among
    the slots of the batch's other videos, which would make a video's loss depend on which others share its device. With
    `model.restart` a part's last frame is followed by the next part's first: weigh it when no stage restarts any more.
    """
    del batch, step
    (slots,) = out.need("slots")
    if slots.ndim != 4:
        raise UserError("compares the frames of videos; with pictures set it to 0")
    directions = slots * jax.lax.rsqrt((slots**2).sum(-1, keepdims=True) + 1e-12)
    alike = jnp.einsum("btkd,btjd->btkj", directions[:, :-1], directions[:, 1:]) / TEMPERATURE
    return -jnp.diagonal(jax.nn.log_softmax(alike), axis1=-2, axis2=-1).mean((1, 2))


def steady(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """How much each slot's colour changes from a frame to the next, by how much it draws: [b].

    To the reconstruction it is all one which slot draws which object, and to `contrast` where a slot can be told by
    what it keeps of its start. Here two slots that swap objects of different colours pay for it: what is seen of a
    thing changes slowly (Wiskott & Sejnowski, 2002, Slow Feature Analysis, sec. 1). A slot's colour is the mean over
    pixels of what it draws, weighted by its mask; a change counts by the smaller of the two frames' shares of pixels,
    which get no gradient, or slots would draw less. With `model.restart` weigh it as `contrast`.
    """
    del batch, step
    masks, components = out.need("masks", "components")
    if masks.ndim != 5:
        raise UserError("compares the frames of videos; with pictures set it to 0")
    pixels = masks.sum((-2, -1))
    colours = jnp.einsum("btkhw,btkhwc->btkc", masks, components) / (pixels[..., None] + 1)  # finite where none is left
    shares = jax.lax.stop_gradient(jnp.minimum(pixels[:, :-1], pixels[:, 1:])) / math.prod(masks.shape[-2:])
    return (shares * ((colours[:, 1:] - colours[:, :-1]) ** 2).sum(-1)).sum(-1).mean(-1)


def start(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """How far predicted starts are from the slots that attention makes of them (SmoothSA, Zhao et al., 2025): [b].

    The mean squared distance; slots are not drawn towards their starts.
    """
    del batch, step
    begun, slots = out.need("start", "slots")
    slots = jax.lax.stop_gradient(slots[..., : begun.shape[-1]])  # without a place
    return ((begun - slots) ** 2).mean((-2, -1))


def kept(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """The share of its slots that each image likely draws, which is their price (AdaSlot, Fan et al., 2024): [b].

    Give it no weight as long as all slots are drawn: `train.losses.kept=((1500,0.0),(1501,0.3))` with a stage until
    step 1500 that sets `model.selection` to all.
    """
    del batch, step
    if out.kept is None:
        raise UserError("all slots are drawn; choose a model.selection, or weigh it 0 during the stages without one")
    return out.kept.mean(-1)
