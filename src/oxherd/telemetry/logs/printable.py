"""Text of any origin, as a terminal may get it."""

from __future__ import annotations

import re
from typing import Any

# Ends a line, steers a terminal, reverses the direction of text, is invisible, or has no UTF-8.
_UNPRINTABLE = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(value: Any) -> str:
    """A value as text, what is not plain text of it escaped as in a Python string."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(value))
