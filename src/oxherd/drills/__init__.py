"""Failure drills: a real topology, load, something that breaks, and an account of every event afterwards."""
