"""What is counted of a herd, by any exporter."""
