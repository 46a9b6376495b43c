"""From topics to synchronized frames: subscriptions, synchronizer, transforms, frame stream."""
