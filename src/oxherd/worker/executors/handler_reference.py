"""Where a handler is declared, as the process that is to run it must know."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from oxherd.worker.executors.protocol import Frame


def where_declared(function: Callable[..., Any]) -> Frame:
    """The module and the function, and what the import needs; of a main module its own name, or its file."""
    where: Frame = {
        "module": function.__module__,
        "function": function.__qualname__,
        "path": sys.path,
        "argv": sys.argv,
    }
    if function.__module__ == "__main__":
        main = sys.modules["__main__"]
        spec = main.__spec__
        where |= {"main_name": None if spec is None else spec.name, "main_path": getattr(main, "__file__", None)}
    return where
