"""Imports the herd that `MODULE:HERD` names, with the current folder on the path."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from oxherd.app import Oxherd
from oxherd.errors import ConfigError, OxherdError

_TARGET = re.compile(r"\w[\w.-]*:\w[\w.]*")


def load_herd(target: str) -> Oxherd:
    """The herd of `MODULE:HERD`.

    Raises:
        ConfigError: the module cannot be imported, or has no such herd.
        OxherdError: the module itself raised it, for a wrong declaration.
    """
    if not _TARGET.fullmatch(target):
        # Not quoted in the message: with arguments in the wrong order it may be a payload.
        raise ConfigError("The first argument does not name a herd; write MODULE:HERD, for example app:herd.")
    module_name, _, path = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except OxherdError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if missing == module_name or module_name.startswith(f"{missing}."):
            raise ConfigError(
                f"No module named {missing!r} in this folder or on the path; check MODULE:HERD."
            ) from None
        raise ConfigError(f"{module_name} imports {missing!r}, which is not installed; install it.") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
        raise ConfigError(
            f"{module_name} cannot be imported: {type(error).__name__} at {_where(error)}; "
            f"run python -c 'import {module_name}' for the traceback."
        ) from None
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, Oxherd):
        raise ConfigError(f"{module_name} has no herd named {path!r}; it must be an Oxherd().")
    found.server.folder = _folder(sys.modules[module_name])
    return found


def _folder(module: ModuleType) -> Path | None:
    """The folder of a module that is a file in one, whose project the embedded server is for."""
    folder = Path(module.__file__).parent if module.__file__ else None
    return folder if folder is not None and folder.is_dir() else None


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
