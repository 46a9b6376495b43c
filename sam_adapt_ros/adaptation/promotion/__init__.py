"""Whether candidate weights may replace those in use: evaluation on held-out frames, criteria, the gate."""
