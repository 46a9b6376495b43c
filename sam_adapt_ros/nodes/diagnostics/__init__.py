"""What the nodes report on /diagnostics and /adaptation/status."""
