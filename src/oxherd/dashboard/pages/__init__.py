"""The pages, each a module: it reads from `herd.admin` and returns what its template needs."""

from __future__ import annotations

from oxherd.dashboard.page import Load
from oxherd.dashboard.pages import audit, event, failed, limits, overview, schedules, search, story, workers

# By their addresses, below the one where the dashboard is mounted.
PAGES: dict[str, Load] = {
    "/": overview.load,
    "/events/{name}": event.load,
    "/stories/{id}": story.load,
    "/failed": failed.load,
    "/schedules": schedules.load,
    "/workers": workers.load,
    "/limits": limits.load,
    "/audit": audit.load,
    "/search": search.load,
}
