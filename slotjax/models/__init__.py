"""Parts put together into models, and what a model takes and returns."""

from slotjax.models.base import Model, Output
from slotjax.models.build import build_model
from slotjax.models.discovery import ObjectDiscovery
from slotjax.models.set_prediction import SetPrediction
from slotjax.models.video import VideoDiscovery

__all__ = ["Model", "ObjectDiscovery", "Output", "SetPrediction", "VideoDiscovery", "build_model"]
