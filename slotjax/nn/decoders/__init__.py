"""From slots to what they draw: every slot is decoded on its own to a component and a mask logit for each pixel.

One more decoder is one file here and one line in `DECODERS`.
"""

from typing import Any

from slotjax.nn.decoders.base import Decoder
from slotjax.nn.decoders.broadcast import SpatialBroadcastDecoder
from slotjax.nn.decoders.mlp import MLPBroadcastDecoder
from slotjax.nn.decoders.readout import ReadoutDecoder

DECODERS: dict[str, Any] = {
    "spatial_broadcast": SpatialBroadcastDecoder,
    "mlp": MLPBroadcastDecoder,
    "readout": ReadoutDecoder,
}

__all__ = ["DECODERS", "Decoder", "MLPBroadcastDecoder", "ReadoutDecoder", "SpatialBroadcastDecoder"]
