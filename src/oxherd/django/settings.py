"""`settings.OXHERD`: what it may hold, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.conf import ENVIRONMENT_VARIABLE, settings

from oxherd.app import Oxherd
from oxherd.errors import ConfigError, UsageError, did_you_mean
from oxherd.redis.url import parse_url

# The arguments of `Oxherd` by their settings.
_ARGUMENTS = {
    "URL": "url",
    "EMBEDDED": "embedded",
    "PREFIX": "prefix",
    "EMIT_TIMEOUT": "emit_timeout",
    "STOP_TIMEOUT": "stop_timeout",
    "VERSION": "version",
}
_OWN = ("EMIT_ON_COMMIT", "EVENTS_MODULE")
_KNOWN = (*_ARGUMENTS, *_OWN)


@dataclass(frozen=True)
class OxherdSettings:
    """`settings.OXHERD`, with what it leaves out.

    Attributes:
        arguments: those of `Oxherd`.
        emit_on_commit: whether `emit_sync` in a transaction waits for its commit.
        events_module: the module of each app that declares its events.
    """

    arguments: Mapping[str, Any]
    emit_on_commit: bool = False
    events_module: str = "events"


def read_settings() -> OxherdSettings:
    """What the project has set.

    Raises:
        ConfigError: the settings are not configured yet, or something in OXHERD is wrong.
    """
    require_settings()
    for fault in find_faults():
        raise ConfigError(fault)
    given = _given()
    arguments = {argument: given[name] for name, argument in _ARGUMENTS.items() if name in given}
    own = {name.lower(): given[name] for name in _OWN if name in given}
    return OxherdSettings(arguments, **own)


def require_settings() -> None:
    """Raises ConfigError: nothing says which settings are this process's."""
    if not settings.configured and not os.environ.get(ENVIRONMENT_VARIABLE):
        raise ConfigError(
            f"Django's settings are not configured; set {ENVIRONMENT_VARIABLE} (manage.py, wsgi.py and asgi.py do) "
            "before oxherd.django.herd is used."
        )


def find_faults() -> Iterator[str]:
    """A sentence on each thing that is wrong with OXHERD. None quotes a value, which may have a password in it."""
    found: object = getattr(settings, "OXHERD", {})
    if not isinstance(found, dict):
        yield f'OXHERD is a {type(found).__name__}; make it a dict such as {{"URL": "redis://127.0.0.1:6379/0"}}.'
        return
    given = cast("dict[object, Any]", found)
    for name in given:
        if name not in _KNOWN:
            hint = did_you_mean(str(name).upper(), _KNOWN, f"it takes {', '.join(_KNOWN)}.")
            yield f"OXHERD has no setting {name!r}; {hint}"
    for name, argument in _ARGUMENTS.items():
        if name in given and (fault := _fault_of(argument, given[name])) is not None:
            yield f'OXHERD["{name}"]: {fault}'
    if not isinstance(given.get("EMIT_ON_COMMIT", False), bool):
        yield 'OXHERD["EMIT_ON_COMMIT"] must be True or False.'
    module = given.get("EVENTS_MODULE", "events")
    if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
        yield 'OXHERD["EVENTS_MODULE"] must be the name of a module in each app, such as "events".'


def _given() -> dict[str, Any]:
    return getattr(settings, "OXHERD", {})


def _fault_of(argument: str, value: Any) -> str | None:
    try:
        Oxherd(**{argument: value})  # connects to nothing
        if argument == "url" and value is not None:
            parse_url(value)
    except UsageError as error:
        return str(error)
    return None
