"""What the nodes report: counts and latencies of the stream, and the statuses that both nodes publish."""
