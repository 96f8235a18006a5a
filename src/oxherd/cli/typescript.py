"""`oxherd types`: TypeScript's declarations and JSON Schemas of a herd's events."""

from __future__ import annotations

import sys
from pathlib import Path

from oxherd.cli.herd_loader import load_herd
from oxherd.cli.output import write_line
from oxherd.errors import OxherdError
from oxherd.typescript.declarations import json_text, typescript
from oxherd.typescript.event_schemas import herd_schemas


def run(target: str, folder: Path | None) -> None:
    """Print the declarations, or write them and the schemas into `folder`, which is made if there is none.

    Raises:
        ConfigError: the herd cannot be loaded, or has an event that cannot be described.
        OxherdError: the folder cannot be written.
    """
    herd = load_herd(target)
    schemas = herd_schemas(herd.prefix, herd)
    if folder is None:
        sys.stdout.write(typescript(schemas))
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("events.d.ts", typescript(schemas)), ("events.json", json_text(schemas))):
            _replace(folder / name, text)
    except OSError as error:
        raise OxherdError(f"{folder} cannot be written ({error.strerror}); give --out another folder.") from None
    many = "1 event" if len(schemas.events) == 1 else f"{len(schemas.events)} events"
    write_line(f"{many}: {folder / 'events.d.ts'}, {folder / 'events.json'}")


def _replace(path: Path, text: str) -> None:
    """Write a file whole, or leave the old one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
