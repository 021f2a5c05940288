"""Training: state, optimizer, step, devices, checkpoints, and the loop that reads like its own summary."""
