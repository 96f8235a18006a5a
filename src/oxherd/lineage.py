"""What an event carries of those before it: the event that emitted it, the first of them all, and its trace.

It is a small text map, stored as BullMQ's telemetry metadata, which Node's BullMQ reads and writes as well. Any program
may have written it: what does not fit the grammar of its key is left out.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

CAUSED_BY = "oxherd.caused_by"
ROOT = "oxherd.root"

_LONGEST = 4096
_IDS = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"  # a trace's, a span's, and the flags
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# W3C Trace Context: a later version than 00 may add parts, of which nothing is known.
_TRACEPARENT = re.compile(rf"(00|(?!ff)[0-9a-f]{{2}}(?=.{{53}}(?:$|-)))-({_IDS})")
_PARENT_LENGTH = 55
# As `Carrier.text` writes it, without a state: read for each event, and JSON would take several times as long.
_OWN = re.compile(
    rf'\{{(?:"traceparent":"(00-{_IDS})")?'
    rf'(?:(?:(?<=\{{)|,)"oxherd\.caused_by":"({_UUID.pattern})","oxherd\.root":"({_UUID.pattern})")?\}}'
)
_MOST_MEMBERS, _LONGEST_STATE = 32, 512
_MEMBER = re.compile(
    r"(?:[a-z0-9][-a-z0-9_*/]{0,255}|[a-z0-9][-a-z0-9_*/]{0,240}@[a-z][-a-z0-9_*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class Trace(NamedTuple):
    """A place in a trace, as W3C's two headers say it."""

    parent: str
    state: str = ""


class Carrier(NamedTuple):
    """The UUIDs, as text, of the event that emitted this one and of the first of them all; and the trace."""

    caused_by: str | None = None
    root: str | None = None
    trace: Trace | None = None

    def text(self) -> str:
        """The map as it is stored; empty where it would be."""
        # By hand: it is written for each event, and but for the state nothing in it needs quoting.
        parts: list[str] = []
        if self.trace is not None:
            parts.append(f'"traceparent":"{self.trace.parent}"')
            if self.trace.state:
                parts.append(f'"tracestate":{json.dumps(self.trace.state)}')
        if self.caused_by is not None:
            parts.append(f'"{CAUSED_BY}":"{self.caused_by}","{ROOT}":"{self.root}"')
        return f"{{{','.join(parts)}}}" if parts else ""


NOTHING = Carrier()


def read(text: str) -> Carrier:
    """What a stored map says, as far as it can be understood; never raises."""
    if not text or len(text) > _LONGEST:
        return NOTHING
    own = _OWN.fullmatch(text)
    if own is not None:
        parent, caused_by, root = own.groups()
        return Carrier(caused_by, root, None if parent is None else Trace(parent))
    try:
        found: Any = from_json(text)
    except ValueError:
        return NOTHING
    if not isinstance(found, dict):
        return NOTHING
    values = cast("dict[str, Any]", found)
    caused_by, root = values.get(CAUSED_BY), values.get(ROOT)
    trace = read_trace(values.get("traceparent"), values.get("tracestate"))
    if not (_is_uuid(caused_by) and _is_uuid(root)):
        caused_by = root = None
    return Carrier(caused_by, root, trace)


def read_trace(parent: object, state: object = "") -> Trace | None:
    """A place in a trace; None where the first header is none. Its state is left out where it is malformed."""
    if not isinstance(parent, str) or not (found := _TRACEPARENT.match(parent)):
        return None
    if found[1] == "00" and len(parent) != _PARENT_LENGTH:
        return None
    return Trace(f"00-{found[2]}", _state(state))


def _state(state: object) -> str:
    if not isinstance(state, str) or not state or len(state) > _LONGEST_STATE:
        return ""
    members = [member.strip(" \t") for member in state.split(",")]
    known = [member for member in members if member]
    fits = len(known) <= _MOST_MEMBERS and all(_MEMBER.fullmatch(member) for member in known)
    return ",".join(known) if fits else ""


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None
