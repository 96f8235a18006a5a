"""Which herd a command is about: MODULE:HERD as it is given, else what OXHERD_APP or pyproject.toml names."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from oxherd.cli.herd_loader import make_importable
from oxherd.errors import ConfigError

_UNNAMED = (
    "The first argument does not name a herd; write MODULE:HERD, for example app:herd, or name it once: in OXHERD_APP, "
    "or as `app` under [tool.oxherd] in pyproject.toml."
)


def split_target(words: Sequence[str]) -> tuple[str, list[str]]:
    """MODULE:HERD, and the other arguments of a command none of which has a colon.

    Raises:
        ConfigError: nothing names a herd.
    """
    if words and ":" in words[0]:
        return words[0], list(words[1:])
    return configured_target(), list(words)


def configured_target() -> str:
    """What OXHERD_APP names, else `app` under [tool.oxherd] in the nearest pyproject.toml upwards.

    The folder of that file becomes importable.

    Raises:
        ConfigError: neither names anything, or the file cannot be read.
    """
    named = os.environ.get("OXHERD_APP")
    if named is not None:
        if ":" not in named:
            raise ConfigError("OXHERD_APP does not name a herd; set it to MODULE:HERD, such as app:herd, or unset it.")
        return named
    folder = Path.cwd()
    for parent in (folder, *folder.parents):
        file = parent / "pyproject.toml"
        if file.is_file():
            app = _app_of(file)
            make_importable(str(parent))
            return app
    raise ConfigError(_UNNAMED)


def _app_of(file: Path) -> str:
    try:
        tools: Any = tomllib.loads(file.read_text()).get("tool")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({type(error).__name__}); correct it, or set OXHERD_APP.") from None
    ours = _table(_table(tools).get("oxherd"))
    if "app" not in ours:
        raise ConfigError(_UNNAMED)
    app = ours["app"]
    if not isinstance(app, str) or ":" not in app:
        raise ConfigError(
            f"`app` under [tool.oxherd] in {file} does not name a herd; write MODULE:HERD, such as app:herd."
        )
    return app


def _table(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
