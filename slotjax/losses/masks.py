"""What masks should be like, besides composing the picture."""

from typing import Any

import jax
import jax.numpy as jnp

from slotjax.models import Output


def entropy(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """How undecided each image's masks are: the mean over pixels of the entropy over slots, in nats: [b].

    Slots to spare share an object, or the background, in halves, which costs no squared error; a price on undecided
    masks, once objects have parted, makes one slot of them (docs/ablation.md). From the start it would keep slots from
    parting.
    """
    del batch, step
    masks, logits = out.need("masks", "mask_logits")
    return -(masks * jax.nn.log_softmax(logits, axis=-3)).sum(-3).mean((-2, -1))


def expected(out: Output, batch: Any = None, step: Any = None) -> jax.Array:
    """The squared error that each image's slots make on their own, in the mean over slots by their masks: [b].

    The reconstruction's squared error falls short of it by the variance of the components under the masks, so where a
    pixel is shared every slot is asked to draw it right: a mask then ends where its slot's picture does. It is the
    limit of the mixture likelihood of Greff et al., 2017 (Neural Expectation Maximization), for a large sigma.
    """
    del batch, step
    masks, components, target = out.need("masks", "components", "target")
    errors = ((components - target[..., None, :, :, :]) ** 2).mean(-1)
    return jnp.sum(masks * errors, -3).mean((-2, -1))
