"""The project: a shop whose orders are confirmed by mail after they are committed."""
