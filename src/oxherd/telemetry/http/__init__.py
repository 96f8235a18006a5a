"""The health endpoint, and what answers its questions."""
