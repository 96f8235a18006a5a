"""An event's lineage: the event that emitted it, the first one of all, and its trace context.

Stored as BullMQ's telemetry metadata, a map of strings that Node's BullMQ reads and writes too. Any program may have
written it: values that do not fit their key's grammar are ignored.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

CAUSED_BY = "oxherd.caused_by"
ROOT = "oxherd.root"

_LONGEST = 4096
_IDS = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"  # trace id, span id and flags
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# W3C Trace Context: a version after 00 may append fields, which are ignored.
_TRACEPARENT = re.compile(rf"(?:00-({_IDS})|(?!00|ff)[0-9a-f]{{2}}-({_IDS})(?:-.*)?)", re.DOTALL)
# As `Lineage.to_json` writes it without a tracestate: parsing JSON would take several times as long, for each event.
_OWN = re.compile(
    rf'\{{(?:"traceparent":"(00-{_IDS})")?'
    rf'(?:(?:(?<=\{{)|,)"oxherd\.caused_by":"({_UUID.pattern})","oxherd\.root":"({_UUID.pattern})")?\}}'
)
_MOST_MEMBERS, _LONGEST_TRACESTATE = 32, 512
_MEMBER = re.compile(
    r"(?:[a-z0-9][-a-z0-9_*/]{0,255}|[a-z0-9][-a-z0-9_*/]{0,240}@[a-z][-a-z0-9_*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class TraceContext(NamedTuple):
    """W3C's `traceparent` and `tracestate` headers."""

    parent: str
    state: str = ""


class Lineage(NamedTuple):
    """The UUIDs, as text, of the event that emitted this one and of the first of all; and the trace context."""

    caused_by: str | None = None
    root: str | None = None
    trace: TraceContext | None = None

    def to_json(self) -> str:
        """The metadata as it is stored; "" for none."""
        # By hand, since it is written for each event: only the tracestate needs quoting.
        parts: list[str] = []
        if self.trace is not None:
            parts.append(f'"traceparent":"{self.trace.parent}"')
            if self.trace.state:
                parts.append(f'"tracestate":{json.dumps(self.trace.state)}')
        if self.caused_by is not None:
            parts.append(f'"{CAUSED_BY}":"{self.caused_by}","{ROOT}":"{self.root}"')
        return f"{{{','.join(parts)}}}" if parts else ""


NO_LINEAGE = Lineage()


def parse_lineage(text: str) -> Lineage:
    """Read stored metadata, ignoring what is malformed; never raises."""
    if not text or len(text) > _LONGEST:
        return NO_LINEAGE
    own = _OWN.fullmatch(text)
    if own is not None:
        parent, caused_by, root = own.groups()
        return Lineage(caused_by, root, None if parent is None else TraceContext(parent))
    try:
        found: Any = from_json(text)
    except ValueError:
        return NO_LINEAGE
    if not isinstance(found, dict):
        return NO_LINEAGE
    values = cast("dict[str, Any]", found)
    caused_by, root = values.get(CAUSED_BY), values.get(ROOT)
    if not (_is_uuid(caused_by) and _is_uuid(root)):
        caused_by = root = None
    return Lineage(caused_by, root, parse_trace_context(values.get("traceparent"), values.get("tracestate")))


def parse_trace_context(parent: object, state: object = "") -> TraceContext | None:
    """Read W3C's headers; None without a valid `traceparent`. A malformed `tracestate` is dropped."""
    found = _TRACEPARENT.fullmatch(parent) if isinstance(parent, str) else None
    return None if found is None else TraceContext(f"00-{found[1] or found[2]}", _tracestate(state))


def _tracestate(state: object) -> str:
    if not isinstance(state, str) or not state or len(state) > _LONGEST_TRACESTATE:
        return ""
    members = [stripped for member in state.split(",") if (stripped := member.strip(" \t"))]
    is_valid = len(members) <= _MOST_MEMBERS and all(_MEMBER.fullmatch(member) for member in members)
    return ",".join(members) if is_valid else ""


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None
