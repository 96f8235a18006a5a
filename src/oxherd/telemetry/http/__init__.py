"""The health endpoint, and what it answers with. Begin with `endpoint`."""
