"""The command line: a client of the public interface; begin with `main.py`. May import everything but `testing`."""

from oxherd.cli.main import main

__all__ = ["main"]
