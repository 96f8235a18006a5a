"""How a handler's process finds the handler: by importing the module that declares it."""

from __future__ import annotations

import importlib
import runpy
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from oxherd.errors import ConfigError
from oxherd.handler import DeclaredHandler, DeclaresHandlers
from oxherd.worker.executors.protocol import Message

# multiprocessing's name for a main module that a child imports: users' modules may check for it.
_MAIN = "__mp_main__"


def handler_reference(function: Callable[..., Any], application: str | None = None) -> Message:
    """A handler's module and name, and what importing it needs; for a main module, also its own name or file.

    `application` is a module that is imported before it.
    """
    reference: Message = {
        "module": function.__module__,
        "function": function.__qualname__,
        "path": sys.path,
        "argv": sys.argv,
        "application": application,
    }
    if function.__module__ == "__main__":
        main = sys.modules["__main__"]
        spec = main.__spec__
        reference |= {"main_name": None if spec is None else spec.name, "main_path": getattr(main, "__file__", None)}
    return reference


def import_handler(reference: Message, event: str) -> DeclaredHandler:
    """Import a handler; takes over the worker's path and arguments.

    Raises:
        ConfigError: the module does not declare it when it is imported.
    """
    # What user modules import of oxherd: on the worker's path the project's own redis.py may come before redis-py.
    importlib.import_module("oxherd.app")
    sys.path[:] = reference["path"]
    sys.argv[:] = reference["argv"]
    if reference["application"] is not None:
        importlib.import_module(reference["application"])
    name = reference["module"]
    module = _import_main(reference) if name == "__main__" else importlib.import_module(name)
    for declared in _declared_handlers(module):
        found = (declared.declaration.name, declared.handler.function.__qualname__)
        if found == (event, reference["function"]):
            return declared
    raise ConfigError(
        f"{event}: importing {name} in the process of its handler does not declare it; "
        f"declare it at the top level of the module, with the Oxherd or the event as a global."
    )


def _import_main(reference: Message) -> types.ModuleType:
    """Import the worker's main module without what stands below `if __name__ == "__main__"`."""
    module = types.ModuleType(_MAIN)
    if reference["main_name"]:
        content = runpy.run_module(reference["main_name"], run_name=_MAIN, alter_sys=True)
    else:
        content = runpy.run_path(reference["main_path"], run_name=_MAIN)
    vars(module).update(content)
    sys.modules["__main__"] = sys.modules[_MAIN] = module
    return module


def _declared_handlers(module: types.ModuleType) -> Iterator[DeclaredHandler]:
    for value in list(vars(module).values()):
        # By the type itself: isinstance() would evaluate lazy objects.
        if issubclass(type(value), DeclaresHandlers):
            yield from value.declared_handlers()
