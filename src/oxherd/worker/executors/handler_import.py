"""How the process of a handler comes to the handler: by importing the module that declares it."""

from __future__ import annotations

import importlib
import runpy
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from oxherd.app import Oxherd
from oxherd.declaration import Declaration
from oxherd.errors import ConfigError
from oxherd.event import Event
from oxherd.handler import Handler
from oxherd.signals import Signals
from oxherd.worker.executors.protocol import Frame

# multiprocessing's name for a main module that is imported by a child: users' modules may know it.
_MAIN = "__mp_main__"


@dataclass(frozen=True, slots=True)
class Imported:
    """An event's handler, and its herd's signals; `close` ends the connections that the handler opened by its herd."""

    declaration: Declaration
    handler: Handler
    signals: Signals
    close: Callable[[], None]


def import_handler(where: Frame, name: str) -> Imported:
    """The event's handler, where `where_declared` has found it.

    Raises:
        ConfigError: its module does not declare it when it is imported.
    """
    sys.path[:] = where["path"]
    sys.argv[:] = where["argv"]
    module = _import_main(where) if where["module"] == "__main__" else importlib.import_module(where["module"])
    for event in _events(module):
        handler = event.handler
        if event.name == name and handler is not None and handler.function.__qualname__ == where["function"]:
            return Imported(event.declaration, handler, event.herd.signals, event.herd.close_sync)
    raise ConfigError(
        f"{name}: importing {where['module']} in the process of its handler does not declare it; "
        f"declare it at the top level of the module, with the Oxherd or the event as a global."
    )


def _import_main(where: Frame) -> types.ModuleType:
    """Import the worker's main module without what stands below `if __name__ == "__main__"`."""
    module = types.ModuleType(_MAIN)
    if where["main_name"]:
        content = runpy.run_module(where["main_name"], run_name=_MAIN, alter_sys=True)
    else:
        content = runpy.run_path(where["main_path"], run_name=_MAIN)
    vars(module).update(content)
    sys.modules["__main__"] = sys.modules[_MAIN] = module
    return module


def _events(module: types.ModuleType) -> Iterator[Event[Any, Any]]:
    for value in list(vars(module).values()):
        # By the type itself: isinstance() would wake up lazy objects.
        if issubclass(type(value), Event):
            yield value
        elif issubclass(type(value), Oxherd):
            yield from value
