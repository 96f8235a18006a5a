"""The folder in which servers of ours keep everything, removed when they stop."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path


def new_workdir(parent: Path | None) -> Path:
    """A name for a new folder, in `parent` or the temporary folder; whoever starts a server there makes it."""
    return (parent or Path(tempfile.gettempdir())).resolve() / f"oxherd-{secrets.token_hex(6)}"


def remove_workdir(folder: Path) -> None:
    """Remove it with all that is in it; without effect if it has gone."""
    if folder.exists():
        shutil.rmtree(folder)
