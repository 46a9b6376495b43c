"""Inference, hot swap of weights, and what the segmenter node publishes."""
