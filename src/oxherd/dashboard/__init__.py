"""The dashboard: pages that show and steer a herd, in any ASGI application or by `oxherd dashboard`.

Needs `oxherd[dashboard]`.
"""

from __future__ import annotations

from importlib.util import find_spec

from oxherd.dashboard.access.user import Role, User
from oxherd.errors import ConfigError

if find_spec("starlette") is None or find_spec("jinja2") is None:
    raise ConfigError("Starlette or Jinja2 is not installed; install oxherd[dashboard].")

from oxherd.dashboard.mounted import dashboard

__all__ = ["Role", "User", "dashboard"]
