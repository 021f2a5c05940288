"""How good is a segmentation, a reconstruction, a video, a predicted set: one file each."""

from slotjax.metrics.localisation import correct_localisation
from slotjax.metrics.segmentation import adjusted_rand_index, mask_entropy, mean_best_overlap, mean_iou, mse
from slotjax.metrics.video import end_point_error, frame_adjusted_rand_index, identity_switches

__all__ = [
    "adjusted_rand_index",
    "correct_localisation",
    "end_point_error",
    "frame_adjusted_rand_index",
    "identity_switches",
    "mask_entropy",
    "mean_best_overlap",
    "mean_iou",
    "mse",
]
