"""`dashboard(herd)`: the pages behind their guard, as an ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from oxherd.dashboard.application import application

if TYPE_CHECKING:
    from oxherd.app import Oxherd


def dashboard(herd: Oxherd) -> ASGIApp:
    """The dashboard of a herd."""
    return application(herd)
