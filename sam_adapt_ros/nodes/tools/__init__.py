"""Player, recorder, launcher and other tools around the nodes."""
