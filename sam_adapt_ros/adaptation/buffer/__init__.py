"""Which frames are kept for training and evaluation, and which frames are unfit for training."""
