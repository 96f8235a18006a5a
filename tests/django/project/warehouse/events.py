"""What the suites emit."""

import threading

from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models import F
from pydantic import BaseModel

from oxherd import PerKey, Retry, Unique
from oxherd.django import herd
from warehouse.models import Box


class Stored(BaseModel):
    label: str


@herd.event("box.stored", concurrency=2, retry=Retry(attempts=1))
def box_stored(box: Stored) -> int:
    return Box.objects.filter(label=box.label).update(seen=F("seen") + 1)


@herd.event("box.looked-at", retry=Retry(attempts=1))
async def box_looked_at(box: Stored) -> list[int]:
    """The threads of two queries, one by the ORM and one by hand."""
    await Box.objects.filter(label=box.label).acount()
    found = await sync_to_async(lambda: (threading.get_ident(), id(connection.connection)))()
    again = await sync_to_async(lambda: (threading.get_ident(), id(connection.connection)))()
    return [*found, *again]


@herd.event("box.weighed", retry=Retry(attempts=1))
async def box_weighed(box: Stored) -> int:
    return len(box.label)


@herd.event("box.refused")
def box_refused(box: Stored) -> None:
    raise LookupError(f"no box {box.label}")


class Blocked:
    """What a test knows of a handler's sync code."""

    def __init__(self) -> None:
        self.began, self.may_end, self.ended_by_itself = threading.Event(), threading.Event(), False

    def wait(self) -> None:
        """Block until the test, or a minute, ends it."""
        Box.objects.count()
        self.began.set()
        self.ended_by_itself = self.may_end.wait(60)


blocked = Blocked()


@herd.event("box.blocked", timeout=0.1, retry=Retry(attempts=1))
async def box_blocked(_: Stored) -> None:
    await sync_to_async(blocked.wait)()


@herd.event("box.measured", run_in="process")
def box_measured(box: Stored) -> int:
    return len(box.label)


box_once = herd.declare("box.once", Stored, unique=Unique(until="done"), key=lambda box: box.label)
box_keyed = herd.declare("box.keyed", Stored, key=lambda box: box.label, per_key=PerKey(max_running=1))
