"""Which frames are kept to learn from and to judge by, and which frames are not fit to learn from."""
