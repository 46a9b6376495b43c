"""Data sets as recordings, one module each, and one way from any of them to a bag."""
