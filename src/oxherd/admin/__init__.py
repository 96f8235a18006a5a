"""Reading and steering what a herd's queues hold: what the command line and the dashboard are made of."""

from oxherd.admin.admin import Admin
from oxherd.admin.bulk import Bulk
from oxherd.admin.rows import (
    AttemptInfo,
    Effects,
    EventRow,
    FoundEvent,
    KeyRow,
    Progress,
    ScheduleRow,
    Story,
    Summary,
    UnknownQueue,
)
from oxherd.admin.search import Found
from oxherd.admin.selection import SearchState

__all__ = [
    "Admin",
    "AttemptInfo",
    "Bulk",
    "Effects",
    "EventRow",
    "Found",
    "FoundEvent",
    "KeyRow",
    "Progress",
    "ScheduleRow",
    "SearchState",
    "Story",
    "Summary",
    "UnknownQueue",
]
