"""From slots to what they draw: for each slot a component and a mask logit for each pixel, or for each feature.

One more decoder is one file here and one line in `DECODERS`.
"""

from typing import Any

from slotjax.nn.decoders.base import Decoder
from slotjax.nn.decoders.broadcast import SpatialBroadcastDecoder
from slotjax.nn.decoders.mixer import SlotMixerDecoder
from slotjax.nn.decoders.mlp import MLPBroadcastDecoder
from slotjax.nn.decoders.readout import ReadoutDecoder
from slotjax.nn.decoders.transformer import TransformerDecoder

DECODERS: dict[str, Any] = {
    "spatial_broadcast": SpatialBroadcastDecoder,
    "mlp": MLPBroadcastDecoder,
    "mixer": SlotMixerDecoder,
    "readout": ReadoutDecoder,
}

# They draw one place after another from what they are to draw, so they take pictures alone.
SEQUENCE_DECODERS: dict[str, Any] = {"transformer": TransformerDecoder}

__all__ = [
    "DECODERS",
    "SEQUENCE_DECODERS",
    "Decoder",
    "MLPBroadcastDecoder",
    "ReadoutDecoder",
    "SlotMixerDecoder",
    "SpatialBroadcastDecoder",
    "TransformerDecoder",
]
