"""Trained models as programs that run without slotjax: StableHLO for JAX, and ONNX."""
