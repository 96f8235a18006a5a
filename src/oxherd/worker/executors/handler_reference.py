"""How the process of a handler finds it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from oxherd.worker.executors.protocol import Message


def handler_reference(function: Callable[..., Any]) -> Message:
    """A handler's module and name, and what importing it needs; for a main module, also its own name or file."""
    reference: Message = {
        "module": function.__module__,
        "function": function.__qualname__,
        "path": sys.path,
        "argv": sys.argv,
    }
    if function.__module__ == "__main__":
        main = sys.modules["__main__"]
        spec = main.__spec__
        reference |= {"main_name": None if spec is None else spec.name, "main_path": getattr(main, "__file__", None)}
    return reference
