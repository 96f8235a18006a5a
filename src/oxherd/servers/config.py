"""Writes the servers' configuration files and reads their logs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Value: TypeAlias = str | int | Path
Settings: TypeAlias = Mapping[str, Value | tuple[Value, ...]]

_LOG_LINE = re.compile(r"^\d+:\w+ .*? (?P<level>[.*#-]) (?P<text>.*)$")
_ADVICE = ("overcommit", "Transparent Huge Pages", "somaxconn")


def write_config(path: Path, settings: Settings) -> None:
    """Write a configuration file that only this user can read (0600)."""
    lines = [f"{name} {_quoted(value)}\n" for name, value in settings.items()]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.writelines(lines)


def log_since(log: Path, offset: int) -> str:
    """The text of a log from byte `offset` on, all of it if it was emptied since; empty where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(offset if offset <= log_size(log) else 0)
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def log_size(log: Path) -> int:
    """The size of a log in bytes, 0 where there is none."""
    return log.stat().st_size if log.exists() else 0


def failure_reason(logged: str) -> str:
    """The last warnings of a log, or its last lines, on one line; without times and general advice."""
    lines: list[str] = []
    warnings: list[str] = []
    for line in logged.splitlines():
        match = _LOG_LINE.match(line)
        text = match["text"] if match else line.strip()
        if not text or any(word in text for word in _ADVICE):
            continue
        lines.append(text)
        if match is None or match["level"] == "#":
            warnings.append(text)
    return " / ".join((warnings or lines)[-4:]) or "it logged nothing"


def _quoted(value: Value | tuple[Value, ...]) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_quoted, value))
    if isinstance(value, int):
        return str(value)
    characters = (
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in os.fsencode(value)
    )
    return '"' + "".join(characters) + '"'
