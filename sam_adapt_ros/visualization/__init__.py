"""Pictures, plots and HTML reports."""
