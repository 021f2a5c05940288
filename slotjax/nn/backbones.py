"""What a picture is made into before anything is learned: what slots see, and what they reconstruct.

One more backbone is a class here, or a file, and a line in `BACKBONES`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from slotjax.nn import vit_weights
from slotjax.nn.vit import VisionTransformer


@runtime_checkable
class Backbone(Protocol):
    """A linen module, convolutional ones too, that is never trained: its parameters come with it."""

    def __call__(self, images: jax.Array) -> jax.Array:
        """[b, h, w, 3] in [-1, 1], or whatever `inputs` says -> the target [b, h', w', c]."""
        ...

    def inputs(self, resolution: tuple[int, int]) -> Mapping[str, jax.ShapeDtypeStruct]:
        """What one example holds for it, by the names that batches have, for pictures of this height and width."""
        ...

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """h' and w' for a picture of this height and width; a `UserError` for one that it cannot take."""
        ...

    @property
    def channels(self) -> int:
        """c of the target."""
        ...

    def pretrained(self) -> Any:
        """Its parameters from where they are kept; None where it has none, or they are to be drawn."""
        ...

    def check(self) -> None:
        """Raises a `UserError` for attributes that do not go together."""
        ...


class Pixels(nn.Module):
    """The picture itself."""

    channels = 3

    def __call__(self, images: jax.Array) -> jax.Array:
        return images

    def inputs(self, resolution: tuple[int, int]) -> dict[str, jax.ShapeDtypeStruct]:
        return {"image": jax.ShapeDtypeStruct((*resolution, 3), jnp.float32)}

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        return resolution

    def pretrained(self) -> None:
        """There is nothing to read."""

    def check(self) -> None:
        """There is nothing to go wrong."""


class Given(nn.Module):
    """Features that another backbone has computed before, from a cache.

    Attributes:
      shape: [h', w', c].
    """

    shape: tuple[int, int, int]

    def __call__(self, features: jax.Array) -> jax.Array:
        return features

    def inputs(self, resolution: tuple[int, int]) -> dict[str, jax.ShapeDtypeStruct]:
        return {"features": jax.ShapeDtypeStruct(self.shape, jnp.float32)}

    def grid(self, resolution: tuple[int, int]) -> tuple[int, int]:
        return self.shape[:2]

    @property
    def channels(self) -> int:
        return self.shape[2]

    def pretrained(self) -> None:
        """There is nothing to read."""

    def check(self) -> None:
        """There is nothing to go wrong."""


BACKBONES: dict[str, Any] = {"pixels": Pixels, "vit": VisionTransformer}


def load_backbone(path: str | Path, **fields: Any) -> tuple[VisionTransformer, Any]:
    """A pretrained vision transformer from a .safetensors file, for `slotjax.features`.

    ViT, DINO, DINOv2 (with and without registers) and MAE's encoder in timm's or Hugging Face's names; see
    `slotjax.nn.vit_weights` for what is read off the names, and what is not.

    Args:
      path: the file.
      fields: of `VisionTransformer`, in place of what the file says or leaves open: `layer=9` for the tokens after
        block 9, `heads`, `mean` and `spread`, `dtype=jnp.bfloat16`.

    Returns:
      (backbone, weights): a frozen linen module that hashes, and its parameters.

    Raises:
      UserError: no such file, a pickle, weights of another architecture, or arrays that are missing.
    """
    backbone = VisionTransformer(**(vit_weights.describe(path) | fields))
    backbone.check()
    return backbone, jax.tree.map(jnp.asarray, backbone.pretrained())
