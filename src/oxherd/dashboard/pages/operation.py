"""A bulk operation: how far it is, and what it has done."""

from __future__ import annotations

from oxherd.dashboard.operations import Operations
from oxherd.dashboard.page import Load, Page, Request
from oxherd.dashboard.reading import Reading


def operation_page(operations: Operations) -> Load:
    """The page of operations."""

    async def load(read: Reading, request: Request) -> Page:  # noqa: ARG001
        running = operations.get(request.path["id"])
        if running is None:
            what = "Nothing is known of this operation any more; the audit log has its end."
            return Page("problem.html", "Operation", {"what": what, "again": False}, status=404)
        return Page("operation.html", running.title, {"running": running})

    return load
