"""A decoder of patches: a slot repeated over a grid, and one MLP for all places; far cheaper than convolutions."""

import math
from typing import Annotated, Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.errors import UserError
from slotjax.nn.decoders.base import Drawn, Hidden, SlotwiseDecoder, check_multiple
from slotjax.nn.fields import Count, Counts, Range, Resolution, Small
from slotjax.nn.frames import Frame, PictureFrame
from slotjax.nn.initializers import keys_of_examples
from slotjax.nn.layers import Dense, PatchDense, product
from slotjax.nn.positions import fourier

MOST_FEATURES = 2**22  # octaves times positions
Places = tuple[jax.Array, jax.Array]  # rows and columns


class PlaceLayer(Protocol):
    """A linen module: what the first layer of an MLP makes of places."""

    def __call__(self, places: jax.Array, slots: jax.Array, extents: jax.Array, features: int) -> jax.Array:
        """places [h, w, c] or [m, h, w, c], slots [m, d], their frames' extents [m, s] -> [h, w, f] or [m, h, w, f]."""
        ...


class SharedPlaceLayer(nn.Module):
    """A linear map of places, the same for all slots: slot and place only add up."""

    @nn.compact
    def __call__(self, places: jax.Array, slots: jax.Array, extents: jax.Array, features: int) -> jax.Array:
        del slots, extents
        return product(places, shared_kernel(self, places, features).astype(places.dtype))


class OwnPlaceLayer(nn.Module):
    """A linear map of places for each slot (Ha et al., 2017, HyperNetworks), which is made once for all places.

    Its kernel is the shared one plus a linear function of the (normalised) slot and of its frame's extents, which
    begins at zero: at first it draws what `SharedPlaceLayer` does.
    """

    @nn.compact
    def __call__(self, places: jax.Array, slots: jax.Array, extents: jax.Array, features: int) -> jax.Array:
        kernel = shared_kernel(self, places, features)
        slots = jnp.concatenate([nn.LayerNorm(name="norm")(slots), extents], axis=-1)
        own = Dense(kernel.size, kernel_init=nn.initializers.zeros, name="own")(slots)
        own = own.reshape(slots.shape[0], *kernel.shape)
        form = "hwc,mcf->mhwf" if places.ndim == 3 else "mhwc,mcf->mhwf"
        return jnp.einsum(form, places, (kernel + own).astype(places.dtype))


class LearnedPlaceLayer(nn.Module):
    """A linear map of a learned vector for each place, as long as a slot (Seitzer et al., 2023, appendix E)."""

    @nn.compact
    def __call__(self, places: jax.Array, slots: jax.Array, extents: jax.Array, features: int) -> jax.Array:
        del extents
        dim = slots.shape[-1]
        shape = (*places.shape[-3:-1], dim)
        table = self.param("table", nn.initializers.normal(dim**-0.5), shape, jnp.float32)
        return product(table.astype(places.dtype), shared_kernel(self, table, features).astype(places.dtype))


def shared_kernel(layer: nn.Module, places: jax.Array, features: int) -> jax.Array:
    """The kernel [c, f] that a layer has for all slots."""
    return layer.param("kernel", nn.initializers.he_uniform(), (places.shape[-1], features), jnp.float32)


PLACE_LAYERS: dict[str, Any] = {"shared": SharedPlaceLayer, "own": OwnPlaceLayer, "learned": LearnedPlaceLayer}


class MLPBroadcastDecoder(SlotwiseDecoder):
    """A slot repeated over a grid of patches, with Fourier features of their places, and one MLP for all of them.

    As in Dittadi et al., 2022, and DINOSAUR (Seitzer et al., 2023, appendix D).

    Attributes:
      resolution: height and width of the picture.
      hidden: widths of the hidden layers.
      patch: every position predicts patch x patch pixels; 1 where features of patches are drawn.
      frequencies: octaves of the position features.
      position: what the first layer makes of places.
      sample: in training a random one of so many rows, and of so many columns, of positions is drawn, of each picture
        others at each step: at high resolution most of the work is that of drawing.
      frame: in which coordinates slots are drawn.
      out_channels: of what is drawn; 3 are red, green and blue.
    """

    resolution: Resolution = (32, 32)
    hidden: Counts = (128, 128)
    patch: Small = 2
    frequencies: Annotated[int, Range(0, 24)] = 4
    position: PlaceLayer = SharedPlaceLayer()
    sample: Small = 1
    frame: Frame = PictureFrame()
    out_channels: Count = 3
    training: bool = False
    dtype: Any = jnp.float32

    def draw(self, slots: jax.Array, target: jax.Array | None, key: jax.Array | None, remat: bool) -> Drawn:
        """See `Decoder`; with `sample`, in training, a part of the picture as a smaller one."""
        if not self.training or target is None or key is None:
            plain = self.patch > 1 or remat or self.is_initializing()
            return super().draw(slots, target, key, remat) if plain else self._with_hidden(slots)
        places = jax.vmap(self._sampled)(keys_of_examples(key, len(slots)))
        drawn = self.drawn(slots, remat, jax.tree.map(lambda x: jnp.repeat(x, slots.shape[1], axis=0), places))
        return drawn._replace(target=jax.vmap(self._cut)(target, places))

    def in_training(self) -> "MLPBroadcastDecoder":
        """With the part that is drawn at random, where it is one."""
        return self.clone(training=True) if self.sample > 1 else self

    @property
    def _grid(self) -> tuple[int, int]:
        return self.resolution[0] // self.patch, self.resolution[1] // self.patch

    def _sampled(self, key: jax.Array) -> Places:
        """Rows and columns that are drawn, in their order."""
        keys, sizes = jax.random.split(key), self._grid
        rows, columns = (
            jnp.sort(jax.random.permutation(key, size)[: size // self.sample])
            for key, size in zip(keys, sizes, strict=True)
        )
        return rows, columns

    def _cut(self, picture: jax.Array, places: Places) -> jax.Array:
        """The patches of a picture [h, w, c] at these places."""
        (height, width), (rows, columns) = self._grid, places
        patches = picture.reshape(height, self.patch, width, self.patch, -1)[rows][:, :, columns]
        return patches.reshape(len(rows) * self.patch, len(columns) * self.patch, -1)

    def _with_hidden(self, slots: jax.Array) -> Drawn:
        """What slots [*b, k, d] draw. Inside jit components that nobody looks at cost nothing."""
        x, last = self._layers(slots.reshape(math.prod(slots.shape[:-1]), slots.shape[-1]))
        components = last(x).reshape(*slots.shape[:-1], *x.shape[1:-1], self.out_channels + 1, 1)[..., :-1, :]
        kernel, bias = (last.variables["params"][name].astype(self.dtype) for name in ("kernel", "bias"))
        x = x.reshape(*slots.shape[:-1], *x.shape[1:])
        logits = product(x, kernel[:, -1:]) + bias[-1:]
        return Drawn(components, logits[..., None], hidden=Hidden(x, kernel[:, :-1], bias[:-1]))

    def __call__(self, slots: jax.Array, places: Places | None = None) -> jax.Array:
        """slots [m, d + frame.size] -> [m, h / patch, w / patch, (out_channels + 1) * patch * patch].

        Components and mask logits of every patch, channel after channel, each row by row.

        Args:
          places: rows [m, r] and columns [m, c] of the positions that are drawn, as a smaller picture; None: all.
        """
        x, last = self._layers(slots, places)
        return last(x)

    @nn.compact
    def _layers(self, slots: jax.Array, places: Places | None = None) -> tuple[jax.Array, Any]:
        """As `__call__`, but the hidden features [m, h / patch, w / patch, f], and the last layer."""
        # Glorot's kernels would halve the signal at each ReLU; slots that hardly show stay alike for long.
        he = nn.initializers.he_uniform()
        slots, frames = self.frame.split(slots)
        coordinates = self.frame.coordinates(frames, *self._grid)
        if places is not None:
            coordinates = jnp.broadcast_to(coordinates, (len(slots), *coordinates.shape[-3:]))
            coordinates = jax.vmap(lambda own, rows, columns: own[rows][:, columns])(coordinates, *places)
        places_features = fourier(coordinates, self.frequencies)
        # The first layer is linear in (slot, place), so each is projected once and their sum is what is repeated.
        extents = self.frame.extents(frames)
        place = self.position(places_features.astype(self.dtype), slots, extents, self.hidden[0])
        slot = Dense(self.hidden[0], kernel_init=he, dtype=self.dtype, name="dense0")(slots)
        x = nn.relu(slot[:, None, None, :] + place)
        for i, features in enumerate(self.hidden[1:], start=1):
            x = nn.relu(Dense(features, kernel_init=he, dtype=self.dtype, name=f"dense{i}")(x))
        return x, PatchDense(self.out_channels + 1, self.patch, he, self.dtype, name=f"dense{len(self.hidden)}")

    def split(self, drawn: jax.Array) -> Drawn:
        """See `SlotwiseDecoder`."""
        drawn = drawn.reshape(*drawn.shape[:-1], self.out_channels + 1, self.patch**2)
        return Drawn(drawn[..., :-1, :], drawn[..., -1:, :])

    def check(self) -> None:
        """Raises a `UserError` if no grid gives `resolution`, or its features would not be worth their memory."""
        check_multiple(self.resolution, self.patch, f"the decoder's patch {self.patch}")
        if any(size % self.sample for size in self._grid):
            raise UserError(f"model.decoder.sample={self.sample}: must divide the grid of patches, {self._grid}")
        if not self.hidden:
            raise UserError("model.decoder.hidden=(): give at least one width")
        if math.prod(self.resolution) // self.patch**2 * self.frequencies > MOST_FEATURES:
            raise UserError(
                f"model.decoder.frequencies={self.frequencies}: too many for {self.resolution} in patches of "
                f"{self.patch}; take fewer, or larger patches"
            )
