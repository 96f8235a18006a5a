"""The command line: a client of the public interface."""

from oxherd.cli.main import main

__all__ = ["main"]
