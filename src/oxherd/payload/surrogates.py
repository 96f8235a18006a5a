"""Lone surrogates: halves of a character, which JavaScript keeps where it cuts a text, and no other text may hold."""

from __future__ import annotations

import re
from typing import Final

# Each escape of a JSON text in turn, so that the `\ud83d` of `\\ud83d` is none.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def replace_lone_surrogates(raw: bytes) -> bytes:
    """JSON with each lone surrogate as U+FFFD, as a TextEncoder or `toWellFormed` writes it."""
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return raw
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], raw)
