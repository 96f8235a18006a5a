"""`oxherd tail`: events as they begin and end, until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from oxherd.admin.target import Place, places
from oxherd.app import Oxherd
from oxherd.bullmq.job import is_event_id
from oxherd.bullmq.stream_tail import Happening, StreamTail, read_all
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_error, write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Screen, Style, folded, screen_of
from oxherd.errors import OxherdError, RedisUnavailable
from oxherd.payload.failure import EventError
from oxherd.redis.client import ScriptError
from oxherd.wording import duration

_POLL_SECONDS = 0.5
# Of what has failed in one read, so many errors are looked up.
_MOST_ERRORS = 10
_STYLES = {"completed": Style.GOOD, "began": Style.DIM, "retrying": Style.WARNING}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened to an event."""

    ts: datetime
    what: str
    event: str | None
    id: UUID
    queue: str
    outcome: str | None
    seconds: float | None
    error: EventError | None


def run(target: str, *, json: bool) -> None:
    """Print what happens from now on."""

    async def follow(herd: Oxherd) -> None:
        await _follow(herd, json=json)

    with suppress(KeyboardInterrupt):
        with_herd(target, follow)


async def _follow(herd: Oxherd, *, json: bool) -> None:
    found = {place.queue: place for place in await places(herd)}
    tails = [StreamTail(place.queue, with_names=len(place.events) > 1) for place in found.values()]
    is_away = False
    while True:
        try:
            happenings, more = await read_all(tails)
            is_away = False
        except RedisUnavailable as error:
            happenings, more = [], False
            if not is_away:
                write_error(f"oxherd: {error}")
            is_away = True
        except ScriptError as error:
            raise OxherdError(f"An event stream cannot be read ({error}); mend that key.") from None
        lookups = _MOST_ERRORS
        for each in happenings:
            wants_error = each.outcome == "failed" and lookups > 0
            lookups -= wants_error
            line = await _line(herd, found[each.queue], each, with_error=wants_error)
            if json:
                write_json(line)
            else:
                _print(screen_of(), line)
        sys.stdout.flush()
        if not more:
            await asyncio.sleep(_POLL_SECONDS)


async def _line(herd: Oxherd, place: Place, each: Happening, *, with_error: bool) -> Line:
    event = place.events[0] if len(place.events) == 1 else place.event_of(each.name)
    event_id = place.event_id(each.job_id.encode())
    error, outcome = None, each.outcome
    # Of another id it would be searched for.
    if with_error and event is not None and is_event_id(each.job_id):
        with suppress(RedisUnavailable):
            story = await herd.admin.show(event_id, event=event.name)
            if story is not None and story.state == "failed":
                error, outcome = story.error, story.outcome or outcome
    return Line(
        ts=datetime.fromtimestamp(each.at_ms / 1000, UTC),
        what=each.what,
        event=None if event is None else event.name,
        id=event_id,
        queue=each.queue.keys.queue,
        outcome=outcome or None,
        seconds=None if each.ms is None else each.ms / 1000,
        error=error,
    )


def _print(screen: Screen, line: Line) -> None:
    what = line.outcome or line.what
    took = "" if line.seconds is None else f" in {duration(line.seconds)}"
    text = f"{line.ts.astimezone():%H:%M:%S} {line.id} {line.event or line.queue} {what}{took}"
    if line.error is not None:
        text += f": {line.error}"
    for part in folded(text, screen.width, indent="  "):
        write_styled(screen.styled(part, _STYLES.get(what, Style.WRONG)))
