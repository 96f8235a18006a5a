"""Every drill with many seeds, several at a time, and the table in `docs/drills.md`."""
