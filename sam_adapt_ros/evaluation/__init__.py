"""Metrics of predictions and pseudo-labels: confusion, IoU, coverage, recovery; summaries of runs."""
