"""What people have done."""

from __future__ import annotations

from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.pages.event import rows_asked
from oxherd.dashboard.reading import Reading


async def load(read: Reading, request: Request) -> Page:
    """The audit log, the newest first."""
    most = rows_asked(request)
    entries = await read(f"audit {most}", lambda: read.admin.audit(limit=most))
    more = most * 4 if len(entries) == most and most < 1_000 else None
    return Page("audit.html", "Audit", {"entries": entries, "more": more}, nav="audit")
