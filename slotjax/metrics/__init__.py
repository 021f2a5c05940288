"""How good is a segmentation, a reconstruction, a predicted set: see `segmentation` and `average_precision`."""

from slotjax.metrics.segmentation import adjusted_rand_index, mask_entropy, mean_best_overlap, mean_iou, mse

__all__ = ["adjusted_rand_index", "mask_entropy", "mean_best_overlap", "mean_iou", "mse"]
