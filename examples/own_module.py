# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Slot Attention as a part of your own code
#
# Whatever makes tokens [b, n, d] can have slots on top: a CNN, a ViT, points, the hidden states of a language model.
# Here the tokens are noisy copies of a few prototypes, and the model should give each prototype a slot. The same in
# five ways: in linen, as a pure function, in `flax.nnx`, in Equinox and in Haiku; and with weights from PyTorch.
#
# `python examples/own_module.py`, or open it as a notebook. The last two ways need `pip install equinox dm-haiku`.

# %%
# %pip install -q slotjax equinox dm-haiku

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util

import slotjax

BATCH, TOKENS, FEATURES, SLOTS, DIM = 8, 24, 16, 3, 32


def draw_tokens(key):
    """Noisy copies of three prototypes an example, [b, n, d]."""
    keys = jax.random.split(key, 3)
    prototypes = jax.random.normal(keys[0], (BATCH, SLOTS, FEATURES))
    which = jax.random.randint(keys[1], (BATCH, TOKENS), 0, SLOTS)
    noise = 0.1 * jax.random.normal(keys[2], (BATCH, TOKENS, FEATURES))
    return jnp.take_along_axis(prototypes, which[..., None], axis=1) + noise


def fit(redraw, params, steps=150):
    """Learns to redraw tokens: `redraw(params, tokens, key)`, what is drawn of them. Any tree of arrays will do."""
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, key):
        tokens = draw_tokens(key)
        loss, gradient = jax.value_and_grad(lambda p: ((redraw(p, tokens, key) - tokens) ** 2).mean())(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimizer.init(params), []
    for i in range(steps):
        params, state, loss = step(params, state, jax.random.fold_in(jax.random.key(1), i))
        losses.append(float(loss))
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
    return params, losses


found = {}
example = draw_tokens(jax.random.key(0))

# %% [markdown]
# ## In linen
# `slotjax.SlotAttention` is an ordinary module. `key` draws where slots start; without it the stream "slots" does.


# %%
class Finder(nn.Module):
    @nn.compact
    def __call__(self, tokens, key):
        slots, attention = slotjax.SlotAttention(num_slots=SLOTS, slot_dim=DIM)(tokens, key=key)
        return jnp.einsum("bkn,bkd->bnd", attention, nn.Dense(FEATURES)(slots))


finder = Finder()
params = finder.init(jax.random.key(0), example, jax.random.key(0))
_, found["linen"] = fit(finder.apply, params)

# %% [markdown]
# ## As a pure function
# The module only owns parameters: `slotjax.slot_attention` takes them, the tokens, and slots to start from.

# %%
attention_params = slotjax.SlotAttention(num_slots=SLOTS, slot_dim=DIM).init(
    jax.random.key(0), example, key=jax.random.key(0)
)["params"]


def start_of(params, key, batch):
    """Slots drawn from the learned Gaussian, [b, k, d]."""
    start = params["initializer"]
    return start["mu"] + jnp.exp(start["log_sigma"]) * jax.random.normal(key, (batch, SLOTS, DIM))


def redraw(params, tokens, key):
    start = start_of(params["attention"], key, len(tokens))
    slots, attention = slotjax.slot_attention(params["attention"], tokens, start, num_iterations=3)
    return jnp.einsum("bkn,bkd->bnd", attention, slots @ params["draw"])


own = {"attention": attention_params, "draw": 0.1 * jax.random.normal(jax.random.key(2), (DIM, FEATURES))}
_, found["pure"] = fit(redraw, own)

# %% [markdown]
# ## With weights from PyTorch
# `slotjax.convert.from_torch` takes the `state_dict()` of the package slot-attention 1.5.2, and `to_torch` gives one
# back. That module's projections have biases and its LayerNorms add 1e-5 to the variance, where the paper's have none
# and 1e-3: both come along in the parameters, so that the outputs are equal. `SlotAttention(foreign=True)` is the same
# as a module.

# %%
state = slotjax.convert.to_torch(
    slotjax.SlotAttention(num_slots=SLOTS, slot_dim=FEATURES).init(jax.random.key(0), example, key=jax.random.key(0))[
        "params"
    ]
)
print({name: array.shape for name, array in list(state.items())[:4]})
foreign = slotjax.convert.from_torch(state)  # of torch: {name: tensor} as it is
slots, attention = slotjax.slot_attention(foreign, example, np.zeros((BATCH, SLOTS, FEATURES), np.float32))

# %% [markdown]
# ## In flax.nnx
# Through the bridge that Flax has for linen modules.


# %%
class FinderNNX(nnx.Module):
    def __init__(self, rngs):
        module = slotjax.SlotAttention(num_slots=SLOTS, slot_dim=DIM)
        self.attention = nnx.bridge.ToNNX(module, rngs=rngs)
        nnx.bridge.lazy_init(self.attention, example, key=jax.random.key(0))
        self.draw = nnx.Linear(DIM, FEATURES, rngs=rngs)

    def __call__(self, tokens, key):
        slots, attention = self.attention(tokens, key=key, rngs=key)  # its own streams would count within jit
        return jnp.einsum("bkn,bkd->bnd", attention, self.draw(slots))


graph, weights, rest = nnx.split(FinderNNX(nnx.Rngs(0)), nnx.Param, ...)
_, found["nnx"] = fit(lambda p, tokens, key: nnx.merge(graph, p, rest)(tokens, key), weights)

# %% [markdown]
# ## In Equinox
# The parameters are a field of your module.

# %%
import equinox as eqx


class FinderEquinox(eqx.Module):
    attention: dict
    draw: jax.Array

    def __call__(self, tokens, key):
        return redraw({"attention": self.attention, "draw": self.draw}, tokens, key)


_, found["equinox"] = fit(lambda module, tokens, key: module(tokens, key), FinderEquinox(**own))

# %% [markdown]
# ## In Haiku
# `hk.lift` makes parameters of the function that draws them.

# %%
import haiku as hk


def forward(tokens, key):
    flat = hk.lift(lambda key: {"slots": traverse_util.flatten_dict(attention_params, sep="/")}, name="attention")(
        hk.next_rng_key() if hk.running_init() else None
    )
    attention = traverse_util.unflatten_dict(flat["slots"], sep="/")
    slots, shares = slotjax.slot_attention(attention, tokens, start_of(attention, key, len(tokens)))
    return jnp.einsum("bkn,bkd->bnd", shares, hk.Linear(FEATURES)(slots))


transformed = hk.transform(forward)
_, found["haiku"] = fit(
    lambda p, tokens, key: transformed.apply(p, None, tokens, key),
    transformed.init(jax.random.key(0), example, jax.random.key(0)),
)
