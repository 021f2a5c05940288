"""How good is a segmentation, a reconstruction, a predicted set: see `segmentation` and `average_precision`."""

from slotjax.metrics.segmentation import (
    adjusted_rand_index,
    has_foreground,
    mask_entropy,
    mask_purity,
    mean_best_overlap,
    mean_iou,
    mse,
    psnr,
    segmentation_covering,
    segments_from_masks,
)

__all__ = [
    "adjusted_rand_index",
    "has_foreground",
    "mask_entropy",
    "mask_purity",
    "mean_best_overlap",
    "mean_iou",
    "mse",
    "psnr",
    "segmentation_covering",
    "segments_from_masks",
]
