"""The adapter node's parts.

Sweeps are joined with their labels (``exact_time_sync``), decoded where the frame buffer admits them
(``frame_intake``), and learned from (``training_thread``), within ``resource_limits``. ``request_queue`` brings the
services' requests to the training thread; ``duty_cycle`` lets it rest; ``state_dir`` holds the state on disk.
"""
