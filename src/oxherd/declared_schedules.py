"""The schedules of a declaration, validated, with their payloads as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from json import dumps
from typing import Any, cast

from oxherd.errors import DeclarationError, InvalidPayload, PayloadTooLarge
from oxherd.payload.payload_type import PayloadType
from oxherd.schedule import When
from oxherd.schedule.declared import MISSED, Missed, Schedule

_MOST = 1_000


@dataclass(frozen=True, slots=True)
class DeclaredSchedule:
    """A schedule; `json` is its payload's, not sealed."""

    when: When
    json: bytes = field(repr=False)
    missed: Missed

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """BullMQ's options of its ticks, of an event's."""
        return options if self.missed == "one" else options | {MISSED: self.missed}


def declared_schedules(event: str, schedules: Any, payload: PayloadType[Any]) -> dict[str, DeclaredSchedule]:
    """Validate `schedules=`, apart from the names.

    Raises:
        DeclarationError: it is no mapping of schedules, or a payload does not fit.
    """
    if schedules is None:
        return {}
    if not isinstance(schedules, Mapping):
        raise DeclarationError(
            f'{event}: schedules must be a mapping, such as {{"nightly": Schedule(Cron("0 2 * * *"), payload)}}.'
        )
    named = cast("Mapping[str, Any]", schedules)
    if len(named) > _MOST:
        raise DeclarationError(f"{event}: an event has at most {_MOST:,} schedules in code; make others at run time.")
    return {name: _declared(event, name, each, payload) for name, each in named.items()}


def digest_of(schedules: Mapping[str, DeclaredSchedule], options: dict[str, Any], payload: PayloadType[Any]) -> str:
    """What tells one version's schedules from another's; empty for none.

    What is sealed is told apart with its key, so that nobody without it can guess.

    Raises:
        ConfigError: an encryption key cannot be read.
    """
    if not schedules:
        return ""
    each = [
        [name, repr(schedule.when), schedule.missed, schedule.json.decode()] for name, schedule in schedules.items()
    ]
    text = dumps([sorted(each), options], sort_keys=True).encode()
    keyring = payload.sealer.keyring
    return sha256(text).hexdigest()[:32] if keyring is None else keyring.fingerprint(text)


def _declared(event: str, name: str, schedule: Any, payload: PayloadType[Any]) -> DeclaredSchedule:
    if not isinstance(schedule, Schedule):
        raise DeclarationError(
            f"{event}: the schedule {name} must be a Schedule(when, payload), and is of the type "
            f"{type(schedule).__name__}."
        )
    given = cast("Schedule[Any]", schedule)
    try:
        return DeclaredSchedule(given.when, payload.json_of(given.payload), given.missed)
    except (InvalidPayload, PayloadTooLarge) as error:
        why = str(error).removeprefix(f"{event}: ")
    raise DeclarationError(f"{event}: the schedule {name}: {why}")
