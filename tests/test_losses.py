"""Losses against their formulas, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compose

from slotjax.errors import UserError
from slotjax.losses import weigh
from slotjax.losses.masks import entropy, expected, mixture
from slotjax.losses.reconstruction import mse
from slotjax.losses.slots import contrast, kept, start, steady
from slotjax.losses.structure import ssim
from slotjax.models import Output
from slotjax.models.base import gated


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_ssim_is_the_mean_of_what_each_window_says():
    x, y = (np.clip(0.4 * normal(seed, 1, 14, 13, 2), -1, 1) for seed in range(2))
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    similar = []
    for row in range(4):
        for column in range(3):
            for channel in range(2):
                a, b = (picture[0, row : row + 11, column : column + 11, channel] for picture in (x, y))
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
                both = (weights * (a - mean_a) * (b - mean_b)).sum()
                similar.append(
                    (2 * mean_a * mean_b + 0.02**2)
                    * (2 * both + 0.06**2)
                    / ((mean_a**2 + mean_b**2 + 0.02**2) * (var_a + var_b + 0.06**2))
                )
    found = ssim(Output(reconstruction=jnp.asarray(x), target=jnp.asarray(y)))
    np.testing.assert_allclose(found, [1 - np.mean(similar)], rtol=1e-4)
    np.testing.assert_allclose(ssim(Output(reconstruction=jnp.asarray(x), target=jnp.asarray(x))), 0, atol=1e-6)


def composed(slots: int) -> Output:
    out = compose(jnp.asarray(0.3 * normal(0, 2, slots, 4, 5, 3)), jnp.asarray(normal(1, 2, slots, 4, 5)))
    return out.replace(target=jnp.asarray(0.3 * normal(2, 2, 4, 5, 3)))


def test_the_mixture_likelihood_is_that_of_gaussians():
    out, sigma = composed(3), 0.3
    errors = ((np.asarray(out.components) - np.asarray(out.target)[:, None]) ** 2).sum(-1)
    likelihood = (np.asarray(out.masks) * np.exp(-errors / (2 * sigma**2))).sum(1)
    np.testing.assert_allclose(mixture(out), -2 * sigma**2 / 3 * np.log(likelihood).mean((1, 2)), rtol=1e-4)


def test_the_mixture_lies_below_what_slots_expect_and_of_one_slot_is_the_squared_error():
    np.testing.assert_allclose(mixture(composed(1)), mse(composed(1)), rtol=1e-5)
    assert (mixture(composed(3)) < expected(composed(3))).all()


def test_the_price_of_undecided_masks_has_a_gradient_where_a_slot_is_not_drawn():
    """Of two slots that are drawn the entropy is that of those two."""
    logits = jnp.asarray(normal(0, 1, 3, 2, 2))[..., None, None]

    def price(logits, gates):
        masks, logits = gated(logits, gates[..., None, None, None, None])
        return entropy(Output(masks=masks[..., 0, 0], mask_logits=logits[..., 0, 0])).sum()

    value, slopes = jax.value_and_grad(price, (0, 1))(logits, jnp.asarray([[1.0, 0.0, 1.0]]))
    two = jax.nn.softmax(logits[:, ::2, ..., 0, 0], axis=1)
    np.testing.assert_allclose(value, -(two * jnp.log(two)).sum(1).mean(), rtol=1e-5)
    assert all(np.isfinite(slope).all() and np.abs(slope).max() < 10 for slope in slopes) and slopes[1][0, 0] != 0


def test_contrast_is_the_cross_entropy_of_the_same_slot_in_the_next_frame():
    slots = normal(0, 2, 3, 4, 6)
    losses = []
    for video in slots:
        terms = []
        for now, after in zip(video[:-1], video[1:], strict=True):
            for k in range(4):
                cosines = [now[k] @ other / np.linalg.norm(now[k]) / np.linalg.norm(other) for other in after]
                odds = np.exp(np.array(cosines) / 0.1)
                terms.append(-np.log(odds[k] / odds.sum()))
        losses.append(np.mean(terms))
    np.testing.assert_allclose(contrast(Output(slots=jnp.asarray(slots))), losses, rtol=1e-4)


def test_contrast_is_low_where_slots_stay_and_high_where_they_swap():
    still = jnp.broadcast_to(jnp.eye(4, 6), (1, 3, 4, 6))
    swapped = still.at[:, 1].set(still[:, 1, ::-1])
    low, high = (float(jax.jit(contrast)(Output(slots=slots))[0]) for slots in (still, swapped))
    assert low < 0.001 and high > 5


def coloured(masks, colours) -> Output:
    """Slots whose components [1, t, k, h, w, 3] are of one colour each."""
    components = jnp.broadcast_to(jnp.asarray(colours)[..., None, None, :], (*masks.shape, 3))
    return Output(masks=jnp.asarray(masks), components=components)


def test_steady_is_the_change_of_colours_by_the_smaller_share():
    masks = np.asarray(jax.nn.softmax(jnp.asarray(normal(0, 2, 3, 4, 5, 6)), axis=2))
    components = normal(1, 2, 3, 4, 5, 6, 3)
    losses = np.zeros(2)
    for b, t, k in np.ndindex(2, 2, 4):
        pixels = masks[b, t : t + 2, k].sum((1, 2))
        sums = np.einsum("thw,thwc->tc", masks[b, t : t + 2, k], components[b, t : t + 2, k])
        before, after = sums / (pixels[:, None] + 1)
        losses[b] += pixels.min() / 30 * ((after - before) ** 2).sum() / 2
    found = steady(Output(masks=jnp.asarray(masks), components=jnp.asarray(components)))
    np.testing.assert_allclose(found, losses, rtol=1e-4)


def test_steady_costs_a_swap_of_colours_and_no_motion():
    masks = np.zeros((1, 2, 3, 6, 6), np.float32)
    masks[0, 0, 1, :2, :2] = masks[0, 0, 2, 4:, 4:] = masks[0, 1, 1, 2:4, :2] = masks[0, 1, 2, 4:, 2:4] = 1
    masks[:, :, 0] = 1 - masks[:, :, 1:].sum(2)
    colours = np.array([[-1, -1, -1], [1, -1, -1], [-1, 1, -1]], np.float32)
    kept, swapped = np.stack([colours, colours])[None], np.stack([colours, colours[[0, 2, 1]]])[None]
    np.testing.assert_allclose(steady(coloured(masks, kept)), 0, atol=1e-6)
    np.testing.assert_allclose(steady(coloured(masks, swapped)), 2 * 4 / 36 * 8 * (4 / 5) ** 2, rtol=1e-5)
    slope = jax.grad(lambda masks: steady(coloured(masks, swapped)).sum())(jnp.asarray(masks))
    assert jnp.isfinite(slope).all()


def test_losses_of_what_a_model_does_not_return_are_refused():
    with pytest.raises(UserError, match="frames of videos"):
        contrast(Output(slots=jnp.zeros((2, 4, 6))))
    with pytest.raises(UserError, match="frames of videos"):
        steady(Output(masks=jnp.zeros((2, 4, 6, 6)), components=jnp.zeros((2, 4, 6, 6, 3))))
    with pytest.raises(UserError, match="^train.losses.kept: all slots are drawn; choose a model.selection"):
        weigh({"kept": 0.1}, Output(slots=jnp.zeros((2, 4, 6))), {}, jnp.zeros(()))


def test_starts_are_drawn_to_the_slots_and_no_slot_to_its_start():
    begun, slots = (jnp.asarray(normal(seed, 2, 3, 4)) for seed in range(2))
    found = start(Output(start=begun, slots=slots))
    np.testing.assert_allclose(found, np.mean((np.asarray(begun) - np.asarray(slots)) ** 2, (1, 2)), rtol=1e-5)
    to_starts, to_slots = jax.grad(lambda a, b: start(Output(start=a, slots=b)).sum(), (0, 1))(begun, slots)
    assert not to_slots.any() and jnp.abs(to_starts).min() > 0


def test_the_price_is_of_the_slots_that_are_likely_drawn():
    np.testing.assert_allclose(kept(Output(kept=jnp.array([[1.0, 0.5, 0.0], [0.2, 0.2, 0.2]]))), [0.5, 0.2], rtol=1e-6)
