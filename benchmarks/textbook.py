"""The paper's CLEVR6 model in Flax linen as one writes it from the paper: what `benchmarks/step.py` compares with.

Transposed convolutions are Flax's, keys and values are projected one by one, the GRU is Flax's cell in a Python loop,
Adam is optax's. `from_slotjax` turns slotjax's parameters into its own; `tests/test_textbook.py` shows that equal
parameters give equal outputs and gradients.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


def grid(height: int, width: int) -> jax.Array:
    """Coordinates [1, h, w, 4]."""
    y, x = jnp.meshgrid(jnp.linspace(0, 1, height), jnp.linspace(0, 1, width), indexing="ij")
    return jnp.stack([y, x, 1 - y, 1 - x], axis=-1)[None]


class SlotAttention(nn.Module):
    """Algorithm 1 of Locatello et al., 2020."""

    num_slots: int
    dim: int
    hidden: int
    iterations: int
    dtype: Any

    @nn.compact
    def __call__(self, inputs: jax.Array, noise: jax.Array) -> jax.Array:
        """inputs [b, n, d], noise [b, k, d] -> slots [b, k, d]."""
        mu = self.param("mu", nn.initializers.glorot_uniform(), (1, 1, self.dim))
        log_sigma = self.param("log_sigma", nn.initializers.glorot_uniform(), (1, 1, self.dim))
        slots = mu + jnp.exp(log_sigma) * noise

        inputs = nn.LayerNorm(epsilon=1e-3, dtype=self.dtype, name="norm_inputs")(inputs)
        k = nn.Dense(self.dim, use_bias=False, dtype=self.dtype, name="k")(inputs)
        v = nn.Dense(self.dim, use_bias=False, dtype=self.dtype, name="v")(inputs)
        norm_slots, norm_mlp = (nn.LayerNorm(epsilon=1e-3, name=f"norm_{name}") for name in ("slots", "mlp"))
        project_q = nn.Dense(self.dim, use_bias=False, dtype=self.dtype, name="q")
        gru = nn.GRUCell(self.dim, name="gru")
        mlp0, mlp1 = nn.Dense(self.hidden, name="mlp0"), nn.Dense(self.dim, name="mlp1")

        for _ in range(self.iterations):
            q = project_q(norm_slots(slots)) * self.dim**-0.5
            logits = jnp.einsum("bnd,bkd->bnk", k, q).astype(jnp.float32)
            attention = jax.nn.softmax(logits, axis=-1) + 1e-8
            attention = attention / attention.sum(axis=1, keepdims=True)
            updates = jnp.einsum("bnk,bnd->bkd", attention.astype(self.dtype), v).astype(jnp.float32)
            slots, _ = gru(slots, updates)
            slots = slots + mlp1(nn.relu(mlp0(norm_mlp(slots))))
        return slots


class AutoEncoder(nn.Module):
    """Slot Attention for object discovery; the picture's sides are multiples of 16."""

    num_slots: int = 7
    dim: int = 64
    hidden: int = 128
    iterations: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, noise: jax.Array) -> jax.Array:
        """images [b, h, w, 3], noise [b, k, d] -> reconstruction [b, h, w, 3]."""
        batch, height, width, _ = images.shape
        x = images.astype(self.dtype)
        for i in range(4):
            x = nn.relu(nn.Conv(self.dim, (5, 5), dtype=self.dtype, name=f"conv{i}")(x))
        x = x + nn.Dense(self.dim, dtype=self.dtype, name="encoder_position")(grid(height, width))
        x = x.reshape(batch, height * width, self.dim)
        x = nn.LayerNorm(epsilon=1e-3, dtype=self.dtype, name="norm")(x)
        x = nn.relu(nn.Dense(self.dim, dtype=self.dtype, name="dense0")(x))
        x = nn.Dense(self.dim, dtype=self.dtype, name="dense1")(x)

        attention = SlotAttention(self.num_slots, self.dim, self.hidden, self.iterations, self.dtype, name="attention")
        slots = attention(x, noise)

        x = slots.astype(self.dtype).reshape(batch * self.num_slots, 1, 1, self.dim)
        x = jnp.tile(x, (1, height // 16, width // 16, 1))
        x = x + nn.Dense(self.dim, dtype=self.dtype, name="decoder_position")(grid(height // 16, width // 16))
        for i, stride in enumerate((2, 2, 2, 2, 1)):
            x = nn.relu(nn.ConvTranspose(self.dim, (5, 5), (stride, stride), dtype=self.dtype, name=f"deconv{i}")(x))
        x = nn.ConvTranspose(4, (3, 3), dtype=self.dtype, name="deconv5")(x)
        x = x.reshape(batch, self.num_slots, height, width, 4).astype(jnp.float32)
        return (x[..., :3] * nn.softmax(x[..., 3:], axis=1)).sum(axis=1)


def loss(model: AutoEncoder, params: Any, images: jax.Array, noise: jax.Array) -> jax.Array:
    """Mean squared error of the reconstruction."""
    return jnp.mean((model.apply({"params": params}, images, noise) - images) ** 2)


def build_step(model: AutoEncoder) -> tuple[Callable, Callable]:
    """`start(params)` -> state, and the training step `(state, images, key)` -> (state, loss)."""
    optimizer = optax.adam(4e-4)

    def start(params):
        return params, optimizer.init(params)

    @jax.jit
    def step(state, images, key):
        params, moments = state
        noise = jax.random.normal(key, (len(images), model.num_slots, model.dim))
        value, gradients = jax.value_and_grad(lambda p: loss(model, p, images, noise))(params)
        updates, moments = optimizer.update(gradients, moments)
        return (optax.apply_updates(params, updates), moments), value

    return start, step


def from_slotjax(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of slotjax's model (configs/clevr.py) as `AutoEncoder` takes them."""
    encoder, decoder = params["encoder"], params["decoder"]
    convolutions = {name: encoder[name] for name in ("conv0", "conv1", "conv2", "conv3", "norm", "dense0", "dense1")}
    transposed = {name: decoder[name] for name in decoder if name.startswith("deconv")}
    positions = {f"{part}_position": params[part]["position"]["dense"] for part in ("encoder", "decoder")}
    return convolutions | transposed | positions | {"attention": attention_from_slotjax(params["attention"])}


def attention_from_slotjax(params: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the attention alone."""
    norms = {name: params[name] for name in ("norm_inputs", "norm_slots", "norm_mlp")}
    projections = {name: {"kernel": params[f"project_{name}"]} for name in "qkv"}
    mlp = {f"mlp{i}": {"kernel": params["mlp"][f"kernel{i}"], "bias": params["mlp"][f"bias{i}"]} for i in range(2)}
    return norms | projections | mlp | params["initializer"] | {"gru": _gru(params["gru"])}


def _gru(params):
    """Flax's cell has one bias where update and reset gates have two."""
    kernels, biases = (
        [jnp.split(params[f"{part}_{kind}"], 3, -1) for part in ("input", "recurrent")] for kind in ("kernel", "bias")
    )
    cell = {}
    for i, gate in enumerate("zr"):
        cell[f"i{gate}"] = {"kernel": kernels[0][i], "bias": biases[0][i] + biases[1][i]}
        cell[f"h{gate}"] = {"kernel": kernels[1][i]}
    candidate = {f"{part}n": {"kernel": kernels[j][2], "bias": biases[j][2]} for j, part in enumerate("ih")}
    return cell | candidate
