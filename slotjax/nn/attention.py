"""Slot Attention (Locatello et al., 2020, sec. 2.1, algorithm 1): slots compete for the inputs, iteration by iteration.

`slot_attention` is the whole method as a pure function; `SlotAttention` owns its parameters.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError, shown
from slotjax.nn.assignments import ASSIGNMENTS
from slotjax.nn.competition import TOKENS, UNROLLED, Competition, History, check_rank
from slotjax.nn.fields import Choice, Count, Range, check
from slotjax.nn.fixed_point import fixed_point
from slotjax.nn.initializers import keys_of_examples, normal
from slotjax.nn.refinement import NORM_EPSILON, TORCH_EPSILON, Params, layer_norm, refine
from slotjax.nn.updates import OWN_PARAMS, UPDATES

LEAST = -1e30  # a logit that no softmax gives anything
MASKED = ("slots", "inputs")  # assignments that can leave tokens out
NOISE_STREAM = 2  # of an example's key: noise is drawn apart from slots

Normalize = Annotated[Any, Choice(ASSIGNMENTS)]
Update = Annotated[Any, Choice(UPDATES)]
Gradient = Literal["all", "last", "straight_through", "implicit"]


def norm_epsilon(params: Params) -> Any:
    """What the LayerNorms of foreign weights add to the variance, where they say so; it is not trained."""
    return jax.lax.stop_gradient(params["norm_epsilon"]) if "norm_epsilon" in params else NORM_EPSILON


def attend(
    params: Params,
    features: jax.Array,
    slots: jax.Array,
    normalize: str,
    update: str,
    centered: bool = False,
    mask: jax.Array | None = None,
    heads: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """One round of competition: what every slot gathers.

    Keys and values are linear in the features, so their projections are applied to the few slots instead of the many
    inputs: q . (W_k x) = (W_k^T q) . x, and sum_n a_n (W_v x_n) = W_v sum_n a_n x_n. Equal to the textbook form
    (`tests/test_attention.py`), at a fraction of the cost.

    Args:
      features: [b, n, d], normalised inputs.
      slots: [b, k, d].
      mask: [b, 1, n], which inputs count; None for all.
      heads: competitions side by side, each with its share of the queries, keys and values; slots gather what all do.

    Returns:
      updates [b, k, d] and attention [b, k, n], the heads' mean, both float32.
    """
    query = layer_norm(params["norm_slots"], slots, norm_epsilon(params)) @ params["project_q"]
    own = {"query": query, "keys": params["project_k"], "values": params["project_v"]}
    if "project_biases" in params:
        biases = params["project_biases"]
        own |= {"query": query + biases["q"], "key_bias": biases["k"], "value_bias": biases["v"]}
    take = partial(UPDATES[update], mask=mask, own=params.get("update"))
    compete = partial(_compete, features, normalize=normalize, take=take, centered=centered, mask=mask)
    if heads == 1:
        return compete(own)
    updates, attention = jax.vmap(compete)({name: jnp.stack(jnp.split(x, heads, -1)) for name, x in own.items()})
    return jnp.concatenate(list(updates), -1), attention.mean(0)


def _compete(
    features: jax.Array, own: Params, *, normalize: str, take: Callable, centered: bool, mask: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """One head's updates and attention, from its queries [b, k, d], and its projections to keys and values."""
    query = own["query"] * own["query"].shape[-1] ** -0.5
    on_features = (query @ own["keys"].T).astype(features.dtype)
    logits = jnp.einsum("bkd,bnd->bkn", on_features, features, preferred_element_type=jnp.float32)
    if "key_bias" in own:
        logits = logits + (query @ own["key_bias"])[..., None]
    if centered:
        logits = logits - logits.mean(-1, keepdims=True, where=mask)
    if mask is None:
        attention = ASSIGNMENTS[normalize](logits)
    else:
        attention = jnp.where(mask, ASSIGNMENTS[normalize](jnp.where(mask, logits, LEAST)), 0)

    def gather(weights):
        weights = weights.astype(features.dtype)
        gathered = jnp.einsum("bkn,bnd->bkd", weights, features, preferred_element_type=jnp.float32)
        values = gathered @ own["values"]
        if "value_bias" not in own:
            return values
        return values + weights.sum(-1, keepdims=True, dtype=jnp.float32) * own["value_bias"]

    return take(attention, gather), attention


def _noisy(features: jax.Array, keys: jax.Array, i: jax.Array | int, deviation: jax.Array | float) -> jax.Array:
    """features [b, n, d] with noise of this deviation, drawn for the i-th time with keys [b]."""
    drawn = normal(jax.vmap(jax.random.fold_in, (0, None))(keys, i), features.shape[1:])
    return features + (deviation * drawn).astype(features.dtype)


def slot_attention(
    params: Params,
    inputs: jax.Array,
    slots: jax.Array,
    num_iterations: int = 3,
    normalize: Normalize = "slots",
    update: Update = "mean",
    *,
    mask: jax.Array | None = None,
    centered: bool = False,
    gradient: Gradient = "all",
    heads: int = 1,
    noise: float = 0.0,
    keys: jax.Array | None = None,
    return_history: bool = False,
) -> tuple[jax.Array, jax.Array] | tuple[jax.Array, jax.Array, History]:
    """Refines slots by attending to inputs, `num_iterations` times with the same weights.

    Args:
      params: the tree of `SlotAttention` (its `initializer` is not needed). With `project_biases` {q, k, v: [d]} the
        projections have biases, and `norm_epsilon` is that of the LayerNorms, as of `slotjax.convert.from_torch`.
      inputs: [b, n, d_inputs], before their LayerNorm; float32 or bfloat16.
      slots: [b, k, d], the start.
      num_iterations: t >= 1.
      normalize: who gets what, a name in `slotjax.nn.assignments`. "slots": slots compete for every input (the method).
      update: what a slot takes from what it gets, a name in `slotjax.nn.updates`. "mean" is the method.
        Those in `OWN_PARAMS`, there, have parameters of their own in `params["update"]`.
      mask: bool [b, n], False where a token is padding, which changes nothing, whatever it holds, and which no slot
        attends to; each example needs a token that is none. None: all count. For normalize "slots" and "inputs" alone.
      centered: subtract from each slot's logits their mean over the inputs, so that no slot wins a whole picture for
        being dark, say. A step towards slots of equal size, as optimal transport has them (Zhang et al., 2023,
        Unlocking slot attention by changing optimal transport costs). False is the method.
      gradient: "all" differentiates through every iteration; "last" only through the last one, from a stopped fixed
        point (Chang et al., 2022, sec. 4); "straight_through" also passes the gradient of that last iteration to the
        initial slots as they are (Jia et al., 2023, sec. 3.2); "implicit" takes the slots for a fixed point, which they
        are after iterations enough, and solves for its gradient (Chang et al., 2022, sec. 3).
      heads: in each of which slots compete with a share of their d; 1 is the method, and attention the heads' mean.
      noise: deviation of what is added to the normalised inputs in the first iteration; it fades in equal steps, to 0
        in the last (MetaSlot, Liu et al., 2025). 0 is the method.
      keys: [b], from which the noise is drawn; None: there is none.
      return_history: also return every iteration.

    Returns:
      slots [b, k, d] and attention [b, k, n] of the last iteration, float32, before a mean's division;
      with `return_history` also a `History`.

    Raises:
      UserError: inputs or slots of another rank, a mask of another shape or type, an option that there is not, or
        parameters that an update lacks.
    """
    check_options(num_iterations, normalize, update, gradient)
    check_rank("inputs", inputs, TOKENS)
    check_rank("slots", slots, "[b, k, d]; one example's are slots[None]")
    check_heads(heads, slots.shape[-1])
    if update in OWN_PARAMS and "update" not in params:
        raise UserError(f"update={update}: has parameters of its own, params['update'], which are not there")
    if mask is not None:
        mask = _check_mask(mask, inputs.shape[:2], normalize)
        inputs = jnp.where(mask.swapaxes(1, 2), inputs, 0)  # padding may hold NaN
    features = layer_norm(params["norm_inputs"], inputs, norm_epsilon(params))
    slots, keys = slots.astype(jnp.float32), keys if noise else None
    fading = max(num_iterations - 1, 1)

    def iteration(carry, i):
        slots, _ = carry
        seen = features if keys is None else _noisy(features, keys, i, noise * (1 - i / fading))
        updates, attention = attend(params, seen, slots, normalize, update, centered, mask, heads)
        slots = refine(params, updates, slots, norm_epsilon(params))
        return (slots, attention), ((slots, attention) if return_history else None)

    empty = jnp.zeros((*slots.shape[:2], inputs.shape[1]), jnp.float32)
    start, numbered = (slots, empty), keys is not None
    (slots, attention), history = _iterated(iteration, start, num_iterations, gradient, numbered)
    if not return_history:
        return slots, attention
    return slots, attention, History.of(history)


def _iterated(
    iteration: Callable, start: tuple[jax.Array, jax.Array], count: int, gradient: str, numbered: bool
) -> tuple[Any, Any]:
    """The last (slots, attention), and what `iteration` keeps of each, differentiated as `slot_attention` says.

    Args:
      numbered: whether iterations differ, so that each is told its number.
    """

    def iterate(length):
        numbers = jnp.arange(length, dtype=jnp.int32) if numbered else None
        return jax.lax.scan(iteration, start, numbers, length, unroll=count <= UNROLLED)

    if gradient == "all":
        return iterate(count)
    (slots, attention), history = iterate(count - 1)
    slots = jax.lax.stop_gradient(slots)
    initial, empty = start
    if gradient == "implicit":
        slots = fixed_point(lambda slots: iteration((slots, empty), count - 1)[0][0], slots)
    if gradient == "straight_through":
        slots = slots + initial - jax.lax.stop_gradient(initial)
    out, last = iteration((slots, attention), count - 1)
    return out, jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), history, last)


def check_options(num_iterations: int, normalize: str, update: str, gradient: str) -> None:
    """Raises a `UserError` for an option that `slot_attention` does not have."""
    check("num_iterations", Count, num_iterations)
    for name, kind, value in (
        ("normalize", Normalize, normalize),
        ("update", Update, update),
        ("gradient", Gradient, gradient),
    ):
        check(name, kind, value)


def check_heads(heads: int, dim: int) -> None:
    """Raises a `UserError` for heads that do not divide the numbers of a slot."""
    check("heads", Count, heads)
    if dim % heads:
        raise UserError(f"heads={heads}: must divide the {dim} numbers of a slot")


def _check_mask(mask: Any, shape: tuple[int, ...], normalize: str) -> jax.Array:
    """The mask as [b, 1, n]."""
    if normalize not in MASKED:
        raise UserError(f"mask with normalize={normalize}: tokens can be left out only with {' and '.join(MASKED)}")
    mask = jnp.asarray(mask)
    if mask.shape != shape or mask.dtype != bool:
        raise UserError(
            f"mask of shape {shown(mask.shape)} and dtype {mask.dtype}: expected booleans {shown(shape)}, one a token"
        )
    return mask[:, None]


def bias_params(key: jax.Array, dim: int) -> dict[str, jax.Array]:
    """The biases of the projections."""
    del key
    return {name: jnp.zeros(dim, jnp.float32) for name in "qkv"}


class SlotAttention(Competition):
    """`slot_attention` with its parameters and a draw of the initial slots; see `Competition` for its sizes.

    Attributes:
      normalize, update, centered, gradient, heads: as in `slot_attention`.
      noise: as there, drawn with the `key` of a call; there is none where slots are given and no key.
      foreign: its parameters are those of PyTorch's module (`slotjax.convert.from_torch`): the projections have biases,
        and the LayerNorms PyTorch's epsilon.
    """

    normalize: Normalize = "slots"
    update: Update = "mean"
    centered: bool = False
    gradient: Gradient = "all"
    heads: Count = 1
    noise: Annotated[float, Range(0, 1000)] = 0.0
    foreign: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        slots: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        num_slots: int | None = None,
        num_iterations: int | None = None,
        mask: jax.Array | None = None,
        return_history: bool = False,
    ):
        """inputs [b, n, d_inputs] -> slots [b, k, d], attention [b, k, n] (and a `History`).

        `mask` bool [b, n] is False where a token is padding. The initial slots are `slots` [b, k, d] where given, else
        drawn with `key` (one key, or one for each example), else with the rng stream "slots".
        """
        slots = self.start(inputs, slots, key, num_slots)
        keys = None
        if self.noise and key is not None:
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys_of_examples(key, inputs.shape[0]), NOISE_STREAM)
        return slot_attention(
            self.refinement_params(inputs.shape[-1]) | self.own_params(),
            inputs,
            slots,
            self.num_iterations if num_iterations is None else num_iterations,
            self.normalize,
            self.update,
            mask=mask,
            centered=self.centered,
            gradient=self.gradient,
            heads=self.heads,
            noise=self.noise,
            keys=keys,
            return_history=return_history,
        )

    def own_params(self) -> dict[str, Any]:
        """What its `update` has besides, and what PyTorch's module has."""
        own = OWN_PARAMS.get(self.update)
        params: dict[str, Any] = {"update": self.param("update", own)} if own else {}
        if self.foreign:
            params["project_biases"] = self.param("project_biases", bias_params, self.slot_dim)
            params["norm_epsilon"] = self.param("norm_epsilon", lambda key: jnp.float32(TORCH_EPSILON))
        return params
