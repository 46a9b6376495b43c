"""The published benchmarks of domain adaptation, one command each: from the data sets to the table."""
