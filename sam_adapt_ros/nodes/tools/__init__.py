"""Player, recorder, launcher and other helpers around the nodes."""
