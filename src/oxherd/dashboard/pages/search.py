"""Where the search leads: a story, an event, or what was not found."""

from __future__ import annotations

from uuid import UUID

from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.reading import Reading


async def load(read: Reading, request: Request) -> Page:
    """Names the page that is looked for."""
    text = request.query.get("q", "").strip()
    names = [event.name for event in read.herd]
    near = [name for name in names if text.lower() in name.lower()]
    if text in names or len(near) == 1:
        return Page("", "", {}, redirect=f"/events/{text if text in names else near[0]}")
    try:
        return Page("", "", {}, redirect=f"/stories/{UUID(text)}")
    except ValueError:
        return Page("search.html", "Search", {"near": near[:50]}, status=200 if near else 404)
