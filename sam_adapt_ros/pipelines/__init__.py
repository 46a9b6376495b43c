"""What a user starts: replay, adaptive replay, pseudo-labelling, a live bag, the demo."""
