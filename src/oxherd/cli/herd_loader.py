"""Imports the herd that `MODULE:HERD` names; the current folder is importable."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sys
import sysconfig
import traceback
from collections.abc import Collection
from pathlib import Path
from types import ModuleType, TracebackType

import oxherd
from oxherd.app import Oxherd
from oxherd.cli.output import write_error
from oxherd.errors import ConfigError, OxherdError, did_you_mean

_TARGET = re.compile(r"\w[\w.-]*:\w[\w.]*")
# The frames between a command and the user's module.
_NOT_THE_USERS = ("<frozen importlib", importlib.__file__, f"{Path(oxherd.__file__).parent}{os.sep}")


def load_herd(target: str, told: Collection[int] = ()) -> Oxherd:
    """The herd of `MODULE:HERD`. What its module raises is printed with its traceback from the module's frame on.

    Once there are signals in `told`, they have caused what the module raises: it is raised as it is.

    Raises:
        ConfigError: the module cannot be imported, or has no such herd.
        OxherdError: the module itself raised it, for a wrong declaration.
    """
    if not _TARGET.fullmatch(target):
        # Not quoted in the message: with arguments in the wrong order it may be a payload.
        raise ConfigError("The first argument does not name a herd; write MODULE:HERD, for example app:herd.")
    module_name, _, path = target.partition(":")
    make_importable(str(Path.cwd()))
    try:
        module = found = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name, None)
    except OxherdError as error:
        where = _last_frame(error.__traceback__)
        if where is not None:
            error.add_note(f"({where})")
        raise
    except BaseException as error:
        if told or isinstance(error, KeyboardInterrupt):
            raise
        raise _import_error(module_name, error) from None
    if not isinstance(found, Oxherd):
        raise ConfigError(_no_herd(module, path, found))
    if found.server.folder is None:  # a framework's module knows its project
        found.server.folder = _folder(module)
    return found


def _folder(module: ModuleType) -> Path | None:
    """The folder of a module that is a file in one, whose project the embedded server is for."""
    folder = Path(module.__file__).parent if module.__file__ else None
    return folder if folder is not None and folder.is_dir() else None


def make_importable(folder: str) -> None:
    """Put a folder behind the standard library, which a project's `queue.py` must not replace, and before the rest."""
    if folder in sys.path:
        return
    standard = sysconfig.get_path("stdlib")
    last = max((n for n, path in enumerate(sys.path) if path in (standard, f"{standard}/lib-dynload")), default=-1)
    sys.path.insert(last + 1, folder)


def _import_error(module_name: str, error: BaseException) -> ConfigError:
    begin = _first_frame(error.__traceback__)
    summary = f"{module_name} cannot be imported: {type(error).__name__}."
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if begin is None:
            hint = did_you_mean(error.name, _importable_modules(error.name.rpartition(".")[0]), "check MODULE:HERD.")
            return ConfigError(f"No module named {error.name!r} in this folder or on the path; {hint}")
        summary = f"{module_name} imports {error.name!r}, which cannot be found; install it, or correct the import."
    write_error("".join(traceback.format_exception(type(error), error, begin)).rstrip())
    return ConfigError(summary)


def _first_frame(frames: TracebackType | None) -> TracebackType | None:
    """The first frame that is the user's own."""
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frames = frames.tb_next
    return frames


def _last_frame(frames: TracebackType | None) -> str | None:
    """The user's line that led to an error of ours."""
    own = [frame for frame in traceback.extract_tb(frames) if not frame.filename.startswith(_NOT_THE_USERS)]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else None


def _importable_modules(parent: str) -> list[str]:
    """The modules of this folder, and of the package `parent`."""
    own = [found.name for found in pkgutil.iter_modules([str(Path.cwd())])]
    package = getattr(sys.modules.get(parent), "__path__", [])
    return own + [found.name for found in pkgutil.iter_modules(package, f"{parent}.")]


def _no_herd(module: ModuleType, path: str, found: object) -> str:
    # By the type itself: isinstance() would evaluate lazy objects.
    herds = [name for name, value in list(vars(module).items()) if issubclass(type(value), Oxherd)]
    if len(herds) == 1:
        hint = f"did you mean {herds[0]!r}?"
    elif herds:
        hint = did_you_mean(path, herds, f"it has {', '.join(herds)}.")
    else:
        hint = "it must be an Oxherd() at the top level of the module."
    kind = "" if found is None else f" (that is of type {type(found).__name__})"
    return f"{module.__name__} ({getattr(module, '__file__', None)}) has no herd named {path!r}{kind}; {hint}"
