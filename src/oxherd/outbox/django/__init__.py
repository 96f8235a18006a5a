"""The outbox for Django: put `"oxherd.outbox.django"` into INSTALLED_APPS, and migrate. Needs `oxherd[django]`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from oxherd.errors import ConfigError

if find_spec("django") is None:
    raise ConfigError("Django is not installed; install oxherd[django].")

if TYPE_CHECKING:
    from oxherd.outbox.django.outbox import Outbox

__all__ = ["Outbox"]


if not TYPE_CHECKING:  # Django imports this package before its models may be

    def __getattr__(name: str) -> Any:
        if name != "Outbox":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from oxherd.outbox.django.outbox import Outbox

        return Outbox
