"""Reads a job's options, and the lineage among them, without raising: any program may have written them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from pydantic_core import from_json

from oxherd.bullmq.clock import LATEST_MS
from oxherd.lineage import NO_LINEAGE, Lineage, parse_lineage
from oxherd.policy import EXPIRES, json_number

# Options up to this size are cached: most jobs of an event have the same.
LONGEST_CACHED = 4096
# The telemetry metadata among a job's options. Only a key follows a brace or a comma like this; to match the key first
# is fast.
_METADATA = re.compile(rb'"tm"(?<=[{,\s]"tm")\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)
_PARENT_POLICIES = ("fpof", "cpof", "idof", "rdof")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """A job's options, as far as workers use them; `text` is what they were read from.

    `damaged`: it is not a JSON object. `expires_ms` is 0 for a job that does not expire.
    """

    text: bytes = b""
    raw: dict[str, Any] = field(default_factory=dict[str, Any])
    attempts: int | None = None
    damaged: bool = False
    delay_ms: int = 0
    expires_ms: int = 0

    def get(self, name: str) -> Any:
        """An option by BullMQ's name, or None."""
        return self.raw.get(name)

    @property
    def repeat(self) -> dict[str, Any]:
        """The schedule of a tick."""
        repeat = self.raw.get("repeat")
        return cast("dict[str, Any]", repeat) if isinstance(repeat, dict) else {}

    @property
    def parent_policies(self) -> dict[str, bool]:
        """What BullMQ does to the job's parent if the job fails."""
        return {key: self.raw.get(key) is True for key in _PARENT_POLICIES}


def parse_options(raw: bytes) -> JobOptions:
    """Parse the options of a job's hash; never raises."""
    return _parsed(raw) if len(raw) <= LONGEST_CACHED else _parse(raw)


def _parse(raw: bytes) -> JobOptions:
    try:
        options: Any = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        return JobOptions(raw, damaged=True)
    if not isinstance(options, dict):
        return JobOptions(raw, damaged=True)
    parsed = cast("dict[str, Any]", options)
    parsed.pop("tm", None)
    attempts = json_number(parsed.get("attempts"))
    delay, expires = json_number(parsed.get("delay")), json_number(parsed.get(EXPIRES))
    return JobOptions(
        raw,
        parsed,
        # Node stores 0 if no attempts were asked for.
        attempts=int(attempts) if attempts is not None and attempts >= 1 else None,
        delay_ms=int(delay) if delay is not None and 0 < delay < LATEST_MS else 0,
        expires_ms=math.ceil(expires) if expires is not None and 0 < expires < LATEST_MS else 0,
    )


_parsed = lru_cache(maxsize=1024)(_parse)


def options_of(raw: bytes) -> tuple[JobOptions, Lineage]:
    """Parse the options of a job's hash, and its lineage; never raises."""
    if b'"tm"' not in raw:
        return parse_options(raw), NO_LINEAGE
    rest, metadata = without_metadata(raw)
    return parse_options(rest), parse_lineage(metadata)


def without_metadata(raw: bytes) -> tuple[bytes, str]:
    """Split a job's options from its telemetry metadata, without which an event's jobs have the same options."""
    found = _METADATA.search(raw)
    if found is None:
        return raw, ""
    first, last = found.span(1)
    return raw[:first] + b'""' + raw[last:], _text_of(found[1])


def _text_of(string: bytes) -> str:
    """The text of a JSON string; empty if it is damaged."""
    # Usually it is JSON itself, with nothing but quotes escaped.
    plain = string[1:-1].replace(b'\\"', b'"')
    try:
        return str(from_json(string)) if b"\\" in plain else plain.decode()
    except ValueError:
        return ""
