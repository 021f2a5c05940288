"""Weights of other implementations for slotjax, and back: of the originals, and of PyTorch's module."""

from slotjax.convert.pytorch import from_torch, to_torch
from slotjax.convert.savi import from_savi
from slotjax.convert.tf2 import from_tf2, read_tf2

__all__ = ["from_savi", "from_tf2", "from_torch", "read_tf2", "to_torch"]
