"""What of a payload the log may show: what the event's sanitiser returns, or the payload with its masks applied."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic_core import from_json, to_json, to_jsonable_python

from oxherd.errors import DeclarationError
from oxherd.payload.payload_type import PayloadType
from oxherd.payload.schema import Node, core_schema_of, has_masks, masked_serializer
from oxherd.privacy.allow import Allow, only
from oxherd.privacy.masks import HIDDEN, Mask
from oxherd.privacy.paths import Branch, branch

__all__ = ["NOTHING_SHOWN", "Mask", "Sanitizer", "Shown"]

T = TypeVar("T")

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_UNTYPED: Final = frozenset({dict, list, tuple, set, frozenset})


class Shown:
    """What the log shows of one payload: `json` and `value`, or the reason why it was `withheld`, or nothing at all."""

    __slots__ = ("json", "withheld")

    json: bytes | None
    """Compact JSON, ready to stand in a log line; None if there is nothing to show."""
    withheld: str | None
    """The name of the exception that kept the payload from being shown, if one did."""

    def __init__(self, json: bytes | None = None, withheld: str | None = None) -> None:
        self.json = json
        self.withheld = withheld

    @property
    def value(self) -> Any:
        """What `json` says, as Python values; None if there is nothing to show."""
        return None if self.json is None else from_json(self.json)

    def __repr__(self) -> str:
        return f"Shown(json={self.json!r}, withheld={self.withheld!r})"


NOTHING_SHOWN: Final = Shown()


class Sanitizer(Generic[T]):
    """Says what the log shows of an event's payloads, by the user's function or Allow, or by the masks of the type.

    Raises `DeclarationError` if the function is `async def`, or if an Allow names a field that the type does not have.
    """

    def __init__(self, payload_type: PayloadType[T], function: Callable[[T], Any] | Allow | None = None) -> None:
        # An object whose __call__ is async is no coroutine function itself.
        if function is not None and (iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)):
            raise DeclarationError(f"{payload_type.event}: the sanitiser is async: write it as a plain def or lambda.")
        if function is not None and not callable(function) and not isinstance(function, Allow):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all type-checked
            raise DeclarationError(
                f"{payload_type.event}: sanitize must be a function of the payload, or an Allow(...)."
            )
        schema = payload_type.schema
        self._function = None if isinstance(function, Allow) else function
        self._allowed: Branch | None = None
        if isinstance(function, Allow):
            self._allowed = branch(schema, function.paths, f"{payload_type.event}: {function!r}", by_alias=False)
        shows = function is not None or has_masks(schema)
        self._masked = masked_serializer(schema, jsonable) if shows else None

    def shown(self, payload: T) -> Shown:
        """Show one payload; whatever goes wrong withholds it, and nothing is raised."""
        if self._masked is None:
            return NOTHING_SHOWN
        try:
            raw = self._written(payload)
            if b"NaN" in raw or b"Infinity" in raw:
                from_json(raw, allow_inf_nan=False)
        except Exception as error:  # noqa: BLE001  # a payload in doubt is not shown
            return Shown(withheld=type(error).__name__)
        return Shown(raw)

    def _written(self, payload: T) -> bytes:
        if self._allowed is not None:
            return self._only(payload, self._allowed)
        return self._mask(payload) if self._function is None else self._returned(self._function(payload), payload)

    def _only(self, payload: T, allowed: Branch) -> bytes:
        assert self._masked is not None  # noqa: S101  # built whenever there is something to show
        # By the fields' names: an alias may be the name of another field.
        whole = self._masked.to_python(payload, mode="json", by_alias=False, warnings="error")
        return to_json(only(whole, allowed), inf_nan_mode="constants")

    def _mask(self, payload: T) -> bytes:
        assert self._masked is not None  # noqa: S101  # built whenever there is something to show
        return self._masked.to_json(payload, by_alias=True, warnings="error")

    def _returned(self, value: Any, payload: T) -> bytes:
        if value is payload:
            return self._mask(payload)
        return to_json(jsonable(value, self._same(payload)), inf_nan_mode="constants")

    def _same(self, payload: T) -> Callable[[Any], Any] | None:
        """A payload that is a mapping or a list does not know its type: it is recognised by being the same object."""
        if type(payload) not in _UNTYPED:
            return None

        def same(value: Any) -> Any:
            return from_json(self._mask(payload)) if value is payload else None

        return same


def jsonable(value: Any, same: Callable[[Any], Any] | None = None) -> Any:
    """Turn a value into what JSON can write, secrets as `***`, models and dataclasses with their masks applied."""
    cls = cast("type[Any]", type(value))
    if cls in _ATOMS:
        return value
    if same is not None and (masked := same(value)) is not None:
        return masked
    if cls is dict or isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {
            key if type(key) is str else _key(key): part if type(part) in _ATOMS else jsonable(part, same)
            for key, part in pairs
        }
    if isinstance(value, list | tuple | set | frozenset | deque | Iterator):
        return [jsonable(part, same) for part in cast("list[Any]", value)]
    if isinstance(value, SecretStr | SecretBytes | Secret):
        return HIDDEN
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return _class_masker(cls)(value, mode="json", by_alias=True, warnings="error")
    return to_jsonable_python(value, inf_nan_mode="constants")


def _key(key: Any) -> str:
    if isinstance(key, SecretStr | SecretBytes | Secret):
        return HIDDEN
    if isinstance(key, BaseModel) or is_dataclass(key) or isinstance(key, tuple | frozenset):
        raise TypeError("not a key of JSON")
    return str(next(iter(to_jsonable_python({key: None}))))


@lru_cache(maxsize=256)
def _class_masker(cls: type[Any]) -> Callable[..., Any]:
    schema: Node = core_schema_of(TypeAdapter(cls))
    return masked_serializer(schema, jsonable).to_python
