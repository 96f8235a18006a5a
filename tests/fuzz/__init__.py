"""Fuzzing: targets that take any bytes, a Hypothesis test of each, and a coverage-guided runner."""
