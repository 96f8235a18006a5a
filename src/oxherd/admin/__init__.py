"""Reading and steering what a herd's queues hold: what the command line and the dashboard are made of."""

from oxherd.admin.admin import Admin
from oxherd.admin.audit import Audited, AuditRow
from oxherd.admin.bulk import Bulk
from oxherd.admin.figures import HistoryRow, Times, summed
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
    "AuditRow",
    "Audited",
    "Bulk",
    "Effects",
    "EventRow",
    "Found",
    "FoundEvent",
    "HistoryRow",
    "KeyRow",
    "Progress",
    "ScheduleRow",
    "SearchState",
    "Story",
    "Summary",
    "Times",
    "UnknownQueue",
    "summed",
]
