"""What is counted of a herd, for any exporter. Begin with `snapshot`."""
