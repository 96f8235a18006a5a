"""Sealed texts: unsealed or changed ones do not open, and the error says no more."""

from __future__ import annotations

from oxherd import Keyring
from oxherd.payload.keyring import CannotOpen
from tests.fuzz.oracle import in_time, silent
from tests.fuzz.source import CANARY, Source

_RING = Keyring({"new": b"n" * 32, "old": b"o" * 32})
_PLAIN, _CONTEXT = CANARY.encode(), b"order.placed"


@in_time
def sealed(data: bytes) -> None:
    """Any text, and sealed ones of which something was changed."""
    source = Source(data, ("v1.", "v2.", "new", "old", ".", "=", "-", "_", "v1.old.b2xkb2xkb2xk"))
    text = source.text()
    if source.flag():
        whole = _RING.seal(_PLAIN, _CONTEXT)
        at = source.below(len(whole))
        text = source.choose((whole[:at] + text + whole[at:], whole[:at] + text, text + whole[at:], whole))
    context = source.choose((_CONTEXT, b"", source.raw()))
    try:
        opened = _RING.open(text, context)
    except CannotOpen as error:
        silent(error)
    else:
        assert (opened, context) == (_PLAIN, _CONTEXT)
