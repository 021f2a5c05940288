"""Slot Attention in JAX/Flax: networks that discover objects by reconstructing images."""

from slotjax import convert, data, metrics
from slotjax.api import apply, decode, encode, init
from slotjax.clustering import kmeans, soft_kmeans
from slotjax.models import Output, build_model
from slotjax.nn.attention import SlotAttention, slot_attention
from slotjax.weights import load

__version__ = "0.1.0"

__all__ = [
    "Output",
    "SlotAttention",
    "apply",
    "build_model",
    "convert",
    "data",
    "decode",
    "encode",
    "init",
    "kmeans",
    "load",
    "metrics",
    "slot_attention",
    "soft_kmeans",
]
