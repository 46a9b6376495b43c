"""Pictures, plots and HTML reports. Prints no numbers that nobody computed."""
