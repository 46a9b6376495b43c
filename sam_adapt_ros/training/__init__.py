"""Losses, augmentation, batches, the training step, supervised training and its checkpoints."""
