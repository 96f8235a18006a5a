"""Runs every drill with many seeds and writes the table of `docs/drills.md`."""
