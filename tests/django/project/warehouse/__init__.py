"""What the suites store and emit."""
