"""An outbox: emits that are rows of the caller's transaction, sent once it is committed.

`Outbox` is for SQLAlchemy 2, and needs `oxherd[outbox]`; `oxherd.outbox.django` is for Django.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oxherd.errors import ConfigError
from oxherd.outbox.rows import OutboxBacklog

if TYPE_CHECKING:
    from oxherd.outbox.sqlalchemy import Outbox

__all__ = ["Outbox", "OutboxBacklog"]


if not TYPE_CHECKING:  # Django's has no need of SQLAlchemy

    def __getattr__(name: str) -> Any:
        if name != "Outbox":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from oxherd.outbox.sqlalchemy import Outbox
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "sqlalchemy":
                raise
            raise ConfigError("SQLAlchemy is not installed; install oxherd[outbox].") from None
        return Outbox
