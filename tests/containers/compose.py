"""A compose file as Docker reads it: variables put in, merged; and its services as commands."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compose_spec import PyCompose, parse_duration

# It has no annotations.
yaml: Any = importlib.import_module("yaml")

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")


@dataclass(frozen=True)
class Service:
    """What a container of a service runs."""

    name: str
    command: list[str]
    environment: dict[str, str]
    healthcheck: list[str]
    stop_seconds: float
    replicas: int

    def with_replaced(self, texts: Mapping[str, str]) -> Service:
        """The same with other addresses and ports."""

        def replaced(value: str) -> str:
            for old, new in texts.items():
                value = value.replace(old, new)
            return value

        return Service(
            self.name,
            [replaced(each) for each in self.command],
            {name: replaced(value) for name, value in self.environment.items()},
            [replaced(each) for each in self.healthcheck],
            self.stop_seconds,
            self.replicas,
        )


def merged(text: str) -> str:
    """The file without merge keys, which the validation does not know."""
    return yaml.safe_dump(yaml.safe_load(text), sort_keys=False)


def read(text: str) -> dict[str, dict[str, Any]]:
    """Its services; raises ValueError where it does not follow the compose specification."""
    compose = PyCompose.from_yaml(merged(text))
    compose.validate()
    return compose.to_dict()["services"]


def services(text: str, variables: Mapping[str, str]) -> dict[str, Service]:
    """The services of a compose file, as commands."""
    found = yaml.safe_load(text)["services"]
    return {name: _service(name, _put_in(given, variables)) for name, given in found.items()}


def _service(name: str, given: dict[str, Any]) -> Service:
    kind, *check = given["healthcheck"]["test"]
    return Service(
        name,
        given.get("command", []),
        given.get("environment", {}),
        check if kind == "CMD" else ["sh", "-c", *check],
        parse_duration(given["stop_grace_period"]) if "stop_grace_period" in given else 10.0,
        given.get("deploy", {}).get("replicas", 1),
    )


def _put_in(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _put_in(each, variables) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_put_in(each, variables) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return _VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    if name is None:
        return "$"
    if given := variables.get(name):
        return given
    if kind == "-":
        return rest
    raise ValueError(f"{name}: {rest}")
