"""Batches, the training loop, checkpoints and metrics."""
