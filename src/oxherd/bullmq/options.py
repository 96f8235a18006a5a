"""A job's options, and what it carries among them of the events before it; read without raising, whoever wrote them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from pydantic_core import from_json

from oxherd.lineage import NO_LINEAGE, Lineage, parse_lineage
from oxherd.policy import json_number

LATEST_MS = 253_402_300_799_000  # the end of the year 9999: datetime knows no later time
# Bytes of options that are remembered with what they say: most jobs of an event bring the same.
LONGEST_CACHED = 4096
# The telemetry metadata among a job's options. Only a key of an object follows a brace or a comma so; its letters are
# looked for first, which is quick.
_METADATA = re.compile(rb'"tm"(?<=[{,\s]"tm")\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)
_OPTION_KEYS = ("fpof", "cpof", "idof", "rdof")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of a job that matter to a worker, and the text they were read from.

    `damaged` when they are not a JSON object.
    """

    text: bytes = b""
    raw: dict[str, Any] = field(default_factory=dict[str, Any])
    attempts: int | None = None
    damaged: bool = False
    delay_ms: int = 0

    def get(self, name: str) -> Any:
        """An option by BullMQ's name, or None."""
        return self.raw.get(name)

    @property
    def repeat(self) -> dict[str, Any]:
        """What a schedule's tick says of its schedule."""
        repeat = self.raw.get("repeat")
        return cast("dict[str, Any]", repeat) if isinstance(repeat, dict) else {}

    @property
    def parent_policies(self) -> dict[str, bool]:
        """What BullMQ does to a job's parent when the job fails."""
        return {key: self.raw.get(key) is True for key in _OPTION_KEYS}


def parse_options(raw: bytes) -> JobOptions:
    """The options from a job's hash; never raises."""
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
    # Node stores 0 where no attempts were asked for.
    delay = json_number(parsed.get("delay"))
    return JobOptions(
        raw,
        parsed,
        attempts=int(attempts) if attempts is not None and attempts >= 1 else None,
        delay_ms=int(delay) if delay is not None and 0 < delay < LATEST_MS else 0,
    )


_parsed = lru_cache(maxsize=1024)(_parse)


def options_of(raw: bytes) -> tuple[JobOptions, Lineage]:
    """A job's options and its lineage; never raises."""
    if b'"tm"' not in raw:
        return parse_options(raw), NO_LINEAGE
    rest, metadata = without_metadata(raw)
    return parse_options(rest), parse_lineage(metadata)


def without_metadata(raw: bytes) -> tuple[bytes, str]:
    """A job's options without its telemetry metadata, so that those of an event's jobs are alike; and that."""
    found = _METADATA.search(raw)
    if found is None:
        return raw, ""
    first, last = found.span(1)
    return raw[:first] + b'""' + raw[last:], _text_of(found[1])


def _text_of(string: bytes) -> str:
    """What a string of JSON says; the empty text where it is damaged."""
    # Mostly it is a map in JSON, in which nothing but the quotes is escaped.
    plain = string[1:-1].replace(b'\\"', b'"')
    try:
        return str(from_json(string)) if b"\\" in plain else plain.decode()
    except ValueError:
        return ""
