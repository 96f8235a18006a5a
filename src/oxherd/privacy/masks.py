"""Masks: how the log shows a field, `Annotated[str, Mask("email")]`."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from pydantic import GetCoreSchemaHandler, Secret
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from oxherd.errors import ConfigError, DeclarationError
from oxherd.payload.schema import SECRET_TYPES

HIDDEN: Final = "***"
MASK_KEY: Final = "oxherd.mask"

LAST4_SHOWN: Final = 4
LAST4_SHORTEST: Final = 8
# Between the groups of a card, account or telephone number.
SEPARATORS: Final = re.compile(r"[\s._/\-\u2010-\u2015]+")

_KEYED: Final = "hash"
_SHORTEST_KEY: Final = 16
_KEY_FORMAT: Final = f"bytes or a str of at least {_SHORTEST_KEY} bytes"
_HASH_DIGITS: Final = 16

Key = bytes | str | Callable[[], bytes | str]


def scalar_text(value: object) -> str | None:
    """A scalar, or the one within a secret, as text; None for None and for what is no scalar in JSON."""
    if isinstance(value, SECRET_TYPES):
        value = cast("Secret[object]", value).get_secret_value()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    plain = to_jsonable_python(value, fallback=lambda _: None)
    if isinstance(plain, str):
        return plain
    return json.dumps(plain) if isinstance(plain, int | float) else None


def _hidden(_: object) -> str:
    return HIDDEN


def _email(value: object) -> str:
    local, _, domain = (scalar_text(value) or "").partition("@")
    if not local[:1].isalnum() or not domain or "@" in domain:
        return HIDDEN
    return f"{local[0]}***@***"


def _last4(value: object) -> str:
    compact = SEPARATORS.sub("", scalar_text(value) or "")
    return HIDDEN + compact[-LAST4_SHOWN:] if len(compact) >= LAST4_SHORTEST else HIDDEN


class _Hash:
    """Shows a value as its HMAC-SHA256."""

    __slots__ = ("_key", "_source")

    def __init__(self, source: Key) -> None:
        self._source = source
        self._key = None if callable(source) else _key_bytes(source)

    def __call__(self, value: object) -> str:
        text = scalar_text(value)
        if text is None:
            return HIDDEN
        if self._key is None:
            self._key = _key_bytes(cast("Callable[[], object]", self._source)())
        if self._key is None:
            raise ConfigError(f'The key of Mask("hash") must be {_KEY_FORMAT}.')
        digest = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
        return f"hmac:{digest.hex()[:_HASH_DIGITS]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hash) and self._source == other._source

    def __hash__(self) -> int:
        return hash(_Hash)


def _key_bytes(key: object) -> bytes | None:
    raw = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    return raw if isinstance(raw, bytes) and len(raw) >= _SHORTEST_KEY else None


_KINDS: Final[dict[str, Callable[[object], object]]] = {"hidden": _hidden, "email": _email, "last4": _last4}


class Mask:
    """Says in an annotation how the log shows a field.

    `Mask()` shows `***`; `Mask("email")` the first letter, `a***@***`; `Mask("last4")` the last four characters of
    eight or more, `***1111`; `Mask("hash", key=...)` `hmac:` and 16 hex digits of the value's HMAC-SHA256: equal values
    look alike, and cannot be guessed without the key. A value that the kind does not fit is shown as `***`.

    `key` is bytes or a str of at least 16 bytes, or a function without arguments that returns one, called at the first
    use; if it raises, the payload is not shown.

    Raises:
        DeclarationError: the kind is unknown, or the key is missing, too short, or given to a kind that takes none.
    """

    __slots__ = ("kind", "show")

    kind: str
    show: Callable[[object], object]

    def __init__(self, kind: str = "hidden", *, key: Key | None = None) -> None:
        self.kind = kind
        show, why = _function_of(kind, key)
        # Tools that print a frame's variables must find no key in this one.
        del key
        if show is None:
            raise DeclarationError(why)
        self.show = show

    def __repr__(self) -> str:
        if self.kind == _KEYED:
            return "Mask('hash', key=...)"
        return "Mask()" if self.kind == "hidden" else f"Mask({self.kind!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.kind == other.kind and self.show == other.show

    def __hash__(self) -> int:
        return hash((Mask, self.kind))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Add the mask to the schema's metadata, which validation and serialization ignore."""
        schema = handler(source)
        if "ref" in schema or schema["type"] == "definition-ref":
            # A schema with a reference is shared: a mark on it would mask the type's other uses too.
            schema = core_schema.chain_schema([schema])
        # A copy, since pydantic may return one schema twice.
        return {**schema, "metadata": {**schema.get("metadata", {}), MASK_KEY: self}}  # pyright: ignore[reportReturnType]  # a copy of a TypedDict union


def _function_of(kind: str, key: Key | None) -> tuple[Callable[[object], object] | None, str]:
    """The function that shows a value, or why there is none."""
    if kind == _KEYED:
        if iscoroutinefunction(key):
            return None, 'The key of Mask("hash") is an async function: make it a plain def or lambda.'
        if key is None or not (callable(key) or _key_bytes(key)):
            return None, f'The key of Mask("hash") must be {_KEY_FORMAT}, or a function that returns one.'
        return _Hash(key), ""
    if kind not in _KINDS:
        known = ", ".join(repr(name) for name in sorted((*_KINDS, _KEYED)))
        return None, f"Mask({kind!r}) is not a kind of mask: use one of {known}."
    if key is not None:
        return None, f'Mask({kind!r}) takes no key: leave it out, or use Mask("hash", key=...).'
    return _KINDS[kind], ""
