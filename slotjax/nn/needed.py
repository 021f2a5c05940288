"""Which slots a picture needs: those without which it would be another."""

import jax
import jax.numpy as jnp

LEAST_CHANGE = 3e-4  # of the picture, mean squared over its pixels and channels
MOST_BELOW = 60.0  # by how much logits fall behind the highest: what is left without it can be told apart
FAINTEST = 1e-30  # of what is left of a pixel: where no slot is left the division stays finite


def needed(components: jax.Array, mask_logits: jax.Array, least_change: float = LEAST_CHANGE) -> jax.Array:
    """Backward elimination: of each picture, slots are left out while the others draw what all of them drew.

    Step by step the one goes whose absence changes the picture least, until without any of those that are left the
    mean squared difference from what all slots composed would exceed `least_change`.

    Args:
      components: [*b, k, h, w, c, q], and mask_logits [*b, k, h, w, 1, q], as in `slotjax.nn.decoders.base.Drawn`.

    Returns:
      bool [*b, k], at least one of them True.
    """
    k = mask_logits.shape[-5]
    behind = jnp.maximum(mask_logits - mask_logits.max(-5, keepdims=True), -MOST_BELOW)
    weights = jnp.exp(behind.astype(jnp.float32))
    parts = weights * components
    whole = parts.sum(-5, keepdims=True) / weights.sum(-5, keepdims=True)

    def changes(kept: jax.Array) -> jax.Array:
        """How far from the whole picture that of the kept slots [*b, k] is without each of them, [*b, k]."""
        others = kept[..., None, :] * (1 - jnp.eye(k))
        part, weight = (jnp.einsum("...kj,...jhwcq->...khwcq", others, x) for x in (parts, weights))
        return ((part / jnp.maximum(weight, FAINTEST) - whole) ** 2).mean((-4, -3, -2, -1))

    def leave_one_out(kept: jax.Array, _: None) -> tuple[jax.Array, None]:
        change = jnp.where(kept > 0, changes(kept), jnp.inf)
        least = jax.nn.one_hot(change.argmin(-1), k) * (change.min(-1, keepdims=True) < least_change)
        return kept * (1 - least), None

    kept, _ = jax.lax.scan(leave_one_out, jnp.ones(mask_logits.shape[:-4]), length=k - 1)
    return kept > 0
