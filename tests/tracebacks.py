"""What tools show of an exception: its words, and the variables of our own frames that it has passed."""

from __future__ import annotations

import traceback
from pathlib import Path

import oxherd

_SOURCE = str(Path(oxherd.__file__).parent)


def told_by(error: BaseException) -> str:
    """All of it as one text, causes and contexts included."""
    found: list[str] = []
    each: BaseException | None = error
    while each is not None:
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename.startswith(_SOURCE):
                found += (f"{name}={value!r}" for name, value in frame.f_locals.items())
        found += (str(each), repr(each), repr(vars(each)))
        each = each.__cause__ or each.__context__
    return "\n".join(found)
