"""Invariant Slot Attention (Biza et al., 2023): every slot sees the tokens from a frame of its own, which it moves.

`invariant_slot_attention` is the whole method as a pure function; `InvariantSlotAttention` owns its parameters.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.competition import UNROLLED, Competition, History
from slotjax.nn.fields import Count, check
from slotjax.nn.frames import EPSILON, AttendedFrame, Frame, ScaledFrame
from slotjax.nn.initializers import keys_of_examples
from slotjax.nn.positions import corners
from slotjax.nn.refinement import FLAX_EPSILON, GLOROT, Params, layer_norm, mlp_params, norm_params, refine

FRAMES_STREAM = 1  # of an example's key: frames are drawn apart from slots


class Placed(NamedTuple):
    """What of keys (or values) is the same for all slots; see `placed`."""

    hidden: jax.Array  # [b, n, h]
    square: jax.Array  # [b, n]
    cross: jax.Array  # [b, n, 2]


def placed(params: Params, tokens: jax.Array) -> Placed:
    """Prepares tokens [b, n, d] for `embed`, which adds a place to them for each slot.

    LayerNorm's mean is linear in (token, place) and its variance quadratic, and so is the dense layer behind it; each
    is computed once for the tokens, once for the two coordinates, and only summed for every pair of slot and token.
    """
    kernel = _centered(params["position"]["kernel"])
    tokens = _centered(tokens + params["position"]["bias"])
    dim = tokens.shape[-1]
    return Placed(
        hidden=tokens @ _first_kernel(params),
        square=(tokens**2).mean(-1),
        cross=2 * tokens @ kernel.T / dim,
    )


def embed(params: Params, tokens: Placed, places: jax.Array) -> jax.Array:
    """The hidden layer of the MLP that mixes tokens with places [b, k, n, 2] about each slot: [b, k, n, h]."""
    kernel = _centered(params["position"]["kernel"])
    gram = kernel @ kernel.T / kernel.shape[1]
    row, column = places[..., 0], places[..., 1]
    variance = tokens.square[:, None] + tokens.cross[:, None, :, 0] * row + tokens.cross[:, None, :, 1] * column
    variance = variance + gram[0, 0] * row**2 + 2 * gram[0, 1] * row * column + gram[1, 1] * column**2
    rows, columns = kernel @ _first_kernel(params)
    scale = jax.lax.rsqrt(variance + FLAX_EPSILON)[..., None]
    hidden = tokens.hidden[:, None] + row[..., None] * rows + column[..., None] * columns
    weights = params["embed"]
    return jax.nn.relu(scale * hidden + (weights["norm"]["bias"] @ weights["kernel0"] + weights["bias0"]))


def _centered(x: jax.Array) -> jax.Array:
    return x - x.mean(-1, keepdims=True)


def _first_kernel(params: Params) -> jax.Array:
    weights = params["embed"]
    return weights["norm"]["scale"][:, None] * weights["kernel0"]


def invariant_slot_attention(
    params: Params,
    inputs: jax.Array,
    slots: jax.Array,
    frames: jax.Array,
    grid: jax.Array,
    frame: AttendedFrame,
    num_iterations: int = 3,
    *,
    return_history: bool = False,
) -> tuple[jax.Array, jax.Array] | tuple[jax.Array, jax.Array, History]:
    """Refines slots and their frames (Biza et al., 2023, algorithm 1).

    Keys and values are tokens with their places relative to each slot's frame, mixed by an MLP. One more round of
    attention than there are iterations ends with frames that belong to the last slots.

    Args:
      params: the tree of `InvariantSlotAttention` (its `initializer` is not needed).
      inputs: [b, n, d_inputs]; should not say where they are, for slots to be equivariant.
      slots, frames: [b, k, d] and [b, k, frame.size], the start.
      grid: [n, 2], row and column of the inputs.
      num_iterations: t >= 1.
      return_history: also return every iteration.

    Returns:
      slots followed by their frames [b, k, d + frame.size], and attention [b, k, n], float32; with `return_history`
      also a `History`.
    """
    features = layer_norm(params["norm_inputs"], inputs, FLAX_EPSILON).astype(jnp.float32)
    keys, values = (placed(params, features @ params[name]) for name in ("project_k", "project_v"))
    last = params["embed"]

    def attend(slots, frames):
        query = layer_norm(params["norm_slots"], slots, FLAX_EPSILON) @ params["project_q"] * slots.shape[-1] ** -0.5
        places = frame.relative(frames, grid)
        logits = jnp.einsum("bkh,bknh->bkn", query @ last["kernel1"].T, embed(params, keys, places))
        attention = jax.nn.softmax(logits + (query @ last["bias1"])[..., None], axis=1)
        weights = attention / (attention.sum(-1, keepdims=True) + EPSILON)
        gathered = jnp.einsum("bkn,bknh->bkh", weights, embed(params, values, places))
        updates = gathered @ last["kernel1"] + weights.sum(-1, keepdims=True) * last["bias1"]
        return updates, frame.place(weights, grid), attention

    def iteration(carry, _):
        slots, frames, updates, _ = carry
        slots = refine(params, updates, slots, FLAX_EPSILON)
        updates, frames, attention = attend(slots, frames)
        seen = (jnp.concatenate([slots, frames], -1), attention) if return_history else None
        return (slots, frames, updates, attention), seen

    slots = slots.astype(jnp.float32)
    updates, frames, attention = attend(slots, frame.clip(frames.astype(jnp.float32)))
    start = slots, frames, updates, attention
    unroll = num_iterations <= UNROLLED
    (slots, frames, _, attention), history = jax.lax.scan(iteration, start, length=num_iterations, unroll=unroll)
    located = jnp.concatenate([slots, frames], -1)
    if not return_history:
        return located, attention
    return located, attention, History.of(history)


class InvariantSlotAttention(Competition):
    """`invariant_slot_attention` with its parameters and a draw of the initial slots; see `Competition` for its sizes.

    Attributes:
      embed_dim: width of the hidden layer that mixes tokens with places.
      frame: what a slot's frame is, and how it is found; the decoder's must be the same.
      grid: rows and columns of the tokens.
    """

    embed_dim: Count = 128
    frame: AttendedFrame = ScaledFrame()
    grid: tuple[int, int] = (16, 16)

    def own_frame(self) -> Frame:
        return self.frame

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        slots: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        num_slots: int | None = None,
        num_iterations: int | None = None,
        return_history: bool = False,
    ):
        """inputs [b, n, d_inputs] -> slots [b, k, d + frame.size], attention [b, k, n] (and a `History`).

        The initial slots are `slots` where given, else drawn with `key` (one key, or one for each example), else with
        the rng stream "slots"; so are frames where `slots` [b, k, d] come without.

        Raises:
          UserError: nothing to draw them with.
        """
        num_iterations = self.num_iterations if num_iterations is None else num_iterations
        check("num_iterations", Count, num_iterations)
        slots = self.start(inputs, slots, key, num_slots)
        if slots.shape[-1] == self.slot_dim:
            if key is None and not self.has_rng("slots"):
                whole = self.slot_dim + self.frame.size
                raise UserError(f"key=None: slots without frames; pass a key that draws them, or slots [b, k, {whole}]")
            keys = keys_of_examples(self.make_rng("slots") if key is None else key, inputs.shape[0])
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys, FRAMES_STREAM)
            slots = jnp.concatenate([slots, jax.vmap(self.frame.draw, (0, None))(keys, slots.shape[1])], -1)
        slots, frames = self.frame.split(slots)
        grid = jnp.asarray(corners(*self.grid)).reshape(-1, 2)
        params = self.refinement_params(inputs.shape[-1]) | {
            "position": self.param("position", position_params, self.slot_dim),
            "embed": self.param("embed", embed_params, self.slot_dim, self.embed_dim),
        }
        options = {"return_history": return_history}
        return invariant_slot_attention(params, inputs, slots, frames, grid, self.frame, num_iterations, **options)


def position_params(key: jax.Array, dim: int) -> dict[str, jax.Array]:
    """A dense layer of places."""
    return {"kernel": GLOROT(key, (2, dim), jnp.float32), "bias": jnp.zeros(dim, jnp.float32)}


def embed_params(key: jax.Array, dim: int, hidden: int) -> dict[str, Any]:
    """An MLP behind a LayerNorm."""
    return {"norm": norm_params(key, dim), **mlp_params(key, dim, hidden)}
