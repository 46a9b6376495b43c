"""Files that survive a kill or a power cut at any instant, and locks between processes."""
