"""Makes HTML of pages: the templates, and how they write times and numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from oxherd import __version__
from oxherd.dashboard.time_ranges import RANGES
from oxherd.telemetry.logs.printable import printable
from oxherd.wording import ago, duration


def environment() -> Environment:
    """The templates; everything that they print is escaped."""
    made = Environment(
        loader=PackageLoader("oxherd.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_plain,
    )
    made.filters.update(ago=ago, duration=duration, rate=rate, stamp=stamp, iso=iso, short=short, query=query)
    made.globals.update(ranges=RANGES, version=__version__)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return made


def _plain(value: object) -> object:
    """A text with what is not plain text of it escaped, such as controls that turn the order of what follows."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(printable, value.split("\n")))


def render(templates: Environment, name: str, **values: Any) -> str:
    """A page, or with `layout="fragment.html"` only what of it is live."""
    return templates.get_template(name).render(now=datetime.now(UTC), **values)


def rate(per_minute: float) -> str:
    """A number a minute."""
    return f"{per_minute:,.0f}" if per_minute >= 10 or not per_minute else f"{per_minute:.1f}"


def stamp(moment: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(moment: datetime) -> str:
    """A moment as RFC 3339."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short(event_id: object) -> str:
    """The end of a UUID, which tells those of one minute apart; its beginning is the time."""
    return f"…{str(event_id)[-12:]}"


def query(values: dict[str, object], **changed: object) -> str:
    """The query of an address: values with some changed; empty ones are left out."""
    return urlencode({name: value for name, value in {**values, **changed}.items() if value not in (None, "", False)})
