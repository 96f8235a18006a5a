"""Connections and topology: the only folder that imports `redis`."""
