"""From the sensors' topics to synchronized sweeps.

The way of a LiDAR message through the segmenter is five hops:

1. ``input.subscriptions``: ``TopicSubscription`` receives it;
2. ``input.synchronizer``: ``SensorSynchronizer`` waits for its images, then for the calibration and poses it needs;
3. ``input.work_queue``: ``WorkQueue`` hands it to the inference thread, and drops the oldest under overload;
4. ``segmenter.inference``: ``InferenceCallback`` decodes it and predicts;
5. ``segmenter.publishers``: ``SegmenterPublishers`` publishes its labels.

In the adapter the first two are followed by ``adapter.exact_time_sync`` (waits for the labels that the segmenter
published of it), ``adapter.frame_intake`` (decodes it where the frame buffer admits it) and
``adapter.training_thread``. ``input.frame_stream`` connects the first two hops, ``input.frame_decoder`` holds
calibration and poses.
"""
