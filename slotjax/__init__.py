"""Object-centric learning in JAX/Flax: networks that discover objects by reconstructing what they see."""

from slotjax import convert, data, metrics
from slotjax.api import STATIC, apply, decode, encode, init, responsibilities, segments
from slotjax.clustering import kmeans, soft_kmeans
from slotjax.models import Output, build_model
from slotjax.nn.attention import SlotAttention, slot_attention
from slotjax.system.version import VERSION as __version__
from slotjax.training.restore import load

__all__ = [
    "STATIC",
    "Output",
    "SlotAttention",
    "__version__",
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
    "responsibilities",
    "segments",
    "slot_attention",
    "soft_kmeans",
]
