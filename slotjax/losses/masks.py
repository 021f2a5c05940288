"""What masks should be like, besides composing the picture."""

from typing import Any

import jax
import jax.numpy as jnp

from slotjax.metrics.matching import linear_assignment
from slotjax.models import Output

FAINTEST = 1e-12  # of attention: its logarithm stays finite
SIGMA, CHANNELS = 0.3, 3  # of `slotjax.responsibilities`; features count as three channels together


def entropy(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """How undecided each image's masks are: the mean over pixels of the entropy over slots, in nats: [b].

    Slots to spare share an object, or the background, in halves, which costs no squared error; a price on undecided
    masks, once objects have parted, makes one slot of them (docs/parts.md). From the start it would keep slots from
    parting. A slot that is not drawn adds nothing, and is not asked to.
    """
    del batch, step
    masks, logits = out.need("masks", "mask_logits")
    terms = masks * jax.nn.log_softmax(logits, axis=-3)
    return -jnp.where(masks > 0, terms, 0.0).sum(-3).mean((-2, -1))


def expected(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """The squared error that each image's slots make on their own, in the mean over slots by their masks: [b].

    The reconstruction's squared error falls short of it by the variance of the components under the masks, so where a
    pixel is shared every slot is asked to draw it right: a mask then ends where its slot's picture does. It is the
    limit of `mixture` for a large sigma.
    """
    del batch, step
    return jnp.sum(out.need("masks")[0] * _own_errors(out), -3).mean((-2, -1))


def mixture(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """How unlikely each image is where every pixel is drawn by one slot, which one by the masks: [b].

    The negative log likelihood of a mixture of Gaussians whose means the slots draw (Greff et al., 2017, Neural
    Expectation Maximization, sec. 2.1), as `slotjax.responsibilities` has it, without its constant and in units of the
    squared error: of a single slot it is the mean squared error.

    In place of the squared error it keeps objects from parting (docs/parts.md). Beside it, once they have, it sees what
    the squared error hardly does: masks that have settled on a slot and are wrong. To the logits of such masks the
    squared error's gradient vanishes, and the likelihood's is masks minus responsibilities.
    """
    del batch, step
    scale = 2 * SIGMA**2 / CHANNELS
    log_masks = jax.nn.log_softmax(out.need("mask_logits")[0], axis=-3)
    return -scale * jax.nn.logsumexp(log_masks - _own_errors(out) / scale, axis=-3).mean((-2, -1))


def distillation(out: Output, batch: Any, step: Any = None) -> jax.Array:
    """How badly attention says which of a teacher's masks wins each place: cross-entropy in nats, the mean: [b].

    The second stage of SPOT (Kakogeorgiou et al., 2024, sec. 3.1): what the teacher's decoder has decided, one mask a
    place, is what the student's last attention should say, after the two sets of slots are matched so that the winners
    overlap best (Hungarian, by IoU).

    Args:
      batch: holds `teacher_masks` [b, k, h, w], of as many slots and places as `out.attention` [b, k, h * w].
    """
    del step
    (attention,) = out.need("attention")
    winners = _winners(batch["teacher_masks"].reshape(attention.shape))
    own = _winners(attention)
    shared = jnp.einsum("bkn,bjn->bkj", winners, own)
    either = winners.sum(-1)[:, :, None] + own.sum(-1)[:, None] - shared
    _, columns = linear_assignment(1 - shared / jnp.maximum(either, 1))
    said = jnp.log(jnp.maximum(jnp.take_along_axis(attention, columns[..., None], 1), FAINTEST))
    return -(winners * said).sum(1).mean(1)


def _own_errors(out: Output) -> jax.Array:
    """Each slot's squared error at each pixel, in the mean over the channels: [b, k, h, w]."""
    components, target = out.need("components", "target")
    return ((components - target[..., None, :, :, :]) ** 2).mean(-1)


def _winners(masks: jax.Array) -> jax.Array:
    """[b, k, n] -> 1 where a slot is the largest, else 0."""
    return jax.nn.one_hot(masks.argmax(1), masks.shape[1], axis=1)
