"""A page: what a module of `pages` returns, and what it may ask of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oxherd.dashboard.reading import Reading


@dataclass(frozen=True, slots=True)
class Request:
    """What a page is asked with: parts of its path, and its query, the first value of each name."""

    path: Mapping[str, str]
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """What a template needs.

    Attributes:
        template: its file; it extends `layout`, and fills the blocks `head` (once) and `live` (streamed anew).
        nav: which entry of the navigation it belongs to.
        status: the HTTP status.
        is_live: whether its live part is streamed.
        redirect: the address of another page instead, below the dashboard's own.
    """

    template: str
    title: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    nav: str = ""
    status: int = 200
    is_live: bool = True
    redirect: str = ""


# Data do not depend on who looks, so that they are read once for all; a template may ask `user.may_act`.
Load = Callable[[Reading, Request], Awaitable[Page]]
