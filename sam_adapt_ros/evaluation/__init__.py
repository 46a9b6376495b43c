"""How good it is: confusion, IoU, pictures, reports. Prints no numbers that nobody computed."""
