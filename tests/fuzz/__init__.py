"""Fuzzing: targets that take any bytes, a Hypothesis test of each, and a runner that is guided by coverage."""
