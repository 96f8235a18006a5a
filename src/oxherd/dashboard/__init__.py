"""The dashboard: pages that show and steer a herd, in any ASGI application or by `oxherd dashboard`.

Needs `oxherd[dashboard]`.
"""

from oxherd.errors import ConfigError

try:
    import jinja2 as _jinja2
    import starlette as _starlette
except ImportError:
    raise ConfigError("Starlette or Jinja2 is not installed; install oxherd[dashboard].") from None
del _jinja2, _starlette

from oxherd.dashboard.access.user import Role, User
from oxherd.dashboard.mounted import dashboard

__all__ = ["Role", "User", "dashboard"]
