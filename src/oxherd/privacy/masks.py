"""What a field of a payload shows in the log: `Annotated[str, Mask("email")]`."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from pydantic import GetCoreSchemaHandler, Secret, SecretBytes, SecretStr
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from oxherd.errors import ConfigError, DeclarationError

HIDDEN: Final = "***"
MASK_KEY: Final = "oxherd.mask"

SHOWN_END: Final = 4
SHORTEST_WITH_END: Final = 8
# What stands between the groups of a card, an account or a telephone number.
SEPARATORS: Final = re.compile(r"[\s._/\-\u2010-\u2015]+")

_SHORTEST_KEY: Final = 16
_KEY: Final = f"bytes or a str of at least {_SHORTEST_KEY} bytes"
_HASH_DIGITS: Final = 16

Key = bytes | str | Callable[[], bytes | str]


def word(value: object) -> str | None:
    """A value as one word of JSON, the one within a secret included; None for what has parts or is none."""
    if isinstance(value, SecretStr | SecretBytes | Secret):
        value = cast("Secret[object]", value).get_secret_value()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    plain = to_jsonable_python(value, fallback=lambda _: None)
    if isinstance(plain, str):
        return plain
    return json.dumps(plain) if isinstance(plain, int | float) else None


def _hidden(value: object) -> str:
    del value
    return HIDDEN


def _email(value: object) -> str:
    local, _, domain = (word(value) or "").partition("@")
    if not local[:1].isalnum() or not domain or "@" in domain:
        return HIDDEN
    return f"{local[0]}***@***"


def _last4(value: object) -> str:
    compact = SEPARATORS.sub("", word(value) or "")
    return HIDDEN + compact[-SHOWN_END:] if len(compact) >= SHORTEST_WITH_END else HIDDEN


class _Hash:
    """Shows a value as its HMAC-SHA256, the same wherever the key is the same."""

    __slots__ = ("_key", "_source")

    def __init__(self, source: Key) -> None:
        self._source = source
        self._key = None if callable(source) else _key_bytes(source)

    def __call__(self, value: object) -> str:
        text = word(value)
        if text is None:
            return HIDDEN
        if self._key is None:
            self._key = _key_bytes(cast("Callable[[], object]", self._source)())
        if self._key is None:
            raise ConfigError(f'The key of Mask("hash") must be {_KEY}.')
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
_KEYED: Final = "hash"


class Mask:
    """Says in an annotation how the log shows a field.

    `Mask()` shows `***`; `Mask("email")` the first letter, `a***@***`; `Mask("last4")` the last four characters of
    eight or more, `***1111`; `Mask("hash", key=...)` an HMAC-SHA256 of the value under the key, `hmac:` and 16 hex
    digits: equal values look alike, and tell nobody without the key what they are. What a kind does not fit is `***`.

    `key` is bytes or a str of at least 16 bytes, or a function without arguments that answers one, called at the first
    use; where that raises, the payload is withheld.

    Raises `DeclarationError` for a kind that is not known, and for a key that is missing, too short or of no use.
    """

    __slots__ = ("kind", "show")

    kind: str
    show: Callable[[object], object]

    def __init__(self, kind: str = "hidden", *, key: Key | None = None) -> None:
        self.kind = kind
        show, why = _of_kind(kind, key)
        # Tools that show the variables of an error's frames must not find the key in this one.
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
        """Mark the schema; emitting and reading a payload stay as they are without the mask."""
        schema = handler(source)
        if "ref" in schema or schema["type"] == "definition-ref":
            # A schema with a reference is shared: a mark on it would mask the type's other uses too.
            schema = core_schema.chain_schema([schema])
        # A copy, since pydantic may hand out the same schema twice.
        return {**schema, "metadata": {**schema.get("metadata", {}), MASK_KEY: self}}  # pyright: ignore[reportReturnType]  # a copy of a TypedDict union


def _of_kind(kind: str, key: Key | None) -> tuple[Callable[[object], object] | None, str]:
    """What shows a value, or else why there is none."""
    if kind == _KEYED:
        if iscoroutinefunction(key):
            return None, 'The key of Mask("hash") is an async function: make it a plain def or lambda.'
        if key is None or not (callable(key) or _key_bytes(key)):
            return None, f'The key of Mask("hash") must be {_KEY}, or a function that answers one.'
        return _Hash(key), ""
    if kind not in _KINDS:
        known = ", ".join(repr(name) for name in sorted((*_KINDS, _KEYED)))
        return None, f"Mask({kind!r}) is not a kind of mask: use one of {known}."
    if key is not None:
        return None, f'Mask({kind!r}) takes no key: leave it out, or use Mask("hash", key=...).'
    return _KINDS[kind], ""
