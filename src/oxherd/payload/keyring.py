"""Named keys that seal payloads before they leave the producer: `seal=Keyring({"2026-11": key, "2026-10": old})`."""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from oxherd.errors import ConfigError, DeclarationError

if TYPE_CHECKING:  # an extra, which is imported where the first keyring is made
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Key = bytes | str | Callable[[], bytes | str]

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = "v1"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_WHAT: Final = f"{_KEY_BYTES} bytes, as bytes or as base64 text"


class NotOpened(Exception):
    """A sealed text does not open; `key` is the name of its key, where that can be read."""

    def __init__(self, key: str | None, *, known: bool = False) -> None:
        super().__init__(key)
        self.key = key
        self.known = known


class Keyring:
    """Keys of 256 bits, each with a name: one seals what is emitted, all of them open what is stored.

    Args:
        keys: a mapping of names to keys, or keys, which are then named by a digest of theirs. A key is 32 bytes, as
            bytes or base64 text, or a function without arguments that answers one, called at the first use.
        current: the name of the key that seals; else the first does.
        strict: refuse payloads that come unsealed, instead of processing them.

    A name is a letter or digit, then up to 63 of letters, digits, `.`, `_`, `-`; it is stored beside what it seals.

    Raises:
        DeclarationError: a key or a name that is none, no key at all, or the package `cryptography` is missing.
    """

    __slots__ = ("_aes", "_current", "_opened", "_refusal", "_sources", "strict")

    def __init__(self, *keys: Key | Mapping[str, Key], current: str | None = None, strict: bool = False) -> None:
        self._aes, self._refusal, missing = _cipher()
        self._sources, why = _sources(keys)
        self._current = current
        self._opened: dict[str, AESGCM] | None = None
        self.strict = strict
        if not why and current is not None and current not in (name for name, _ in self._sources):
            why = f"current={current!r} is the name of none of its keys"
        why = missing or why
        if why:
            # Tools that show the variables of frames must not find a key in this one.
            self._sources = ()
            del keys
            raise DeclarationError(f"Keyring: {why}.")

    @staticmethod
    def generate() -> str:
        """A new random key, as base64 text."""
        return urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()

    def fields(self, *paths: str) -> Sealing:
        """Seal these fields of a payload only, by dotted paths for nested ones: `seal=keyring.fields("card")`."""
        return Sealing(self, paths)

    @property
    def names(self) -> list[str]:
        """The names of the keys, the one that seals first; reads the keys."""
        keys = self._keys()
        current = self._current or next(iter(keys))
        return [current, *(name for name in keys if name != current)]

    def __repr__(self) -> str:
        named = [repr(name) for name, _ in self._sources if name is not None]
        return f"Keyring({', '.join(named) if named else f'{len(self._sources)} keys'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keyring cannot be pickled or copied: its keys would go along")

    # -- for the events that are sealed with it

    def read(self) -> None:
        """Read the keys now, if that was put off.

        Raises:
            ConfigError: a key's function raises, or answers something else.
        """
        self._keys()

    def seal(self, data: bytes, context: bytes) -> str:
        """Encrypt with the current key and a fresh nonce, bound to the context; raises as `read`."""
        keys = self._keys()
        name = self._current or next(iter(keys))
        # Random, since any number of processes seal with one key.
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = urlsafe_b64encode(nonce + keys[name].encrypt(nonce, data, context)).rstrip(b"=").decode()
        return f"{_VERSION}.{name}.{sealed}"

    def open(self, text: str, context: bytes) -> bytes:
        """What was sealed in that context; raises NotOpened, which says the name of its key, and as `read`."""
        name = key_name(text)
        if name is None:
            raise NotOpened(None)
        key = self._keys().get(name)
        if key is None:
            raise NotOpened(name)
        try:
            raw = _unbase64(text.rpartition(".")[2])
            return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context)
        except (self._refusal, ValueError):
            pass
        raise NotOpened(name, known=True)

    def _keys(self) -> dict[str, AESGCM]:
        if self._opened is None:
            opened: dict[str, AESGCM] = {}
            for index, (name, source) in enumerate(self._sources):
                key, why = _called(source) if callable(source) else (source, "")
                if key is None:
                    raise ConfigError(f"The key {name or index + 1!r} of the Keyring {why}: it must be {_WHAT}.")
                opened.setdefault(name or _digest(key), self._aes(key))
            self._opened = opened
        return self._opened


@dataclass(frozen=True, slots=True)
class Sealing:
    """A keyring, and the fields that it seals; without any, the whole payload."""

    keyring: Keyring
    paths: tuple[str, ...]


def key_name(text: str) -> str | None:
    """The name of the key that has sealed a text; None for what is no sealed text of this version."""
    version, _, rest = text.partition(".")
    name, dot, _ = rest.rpartition(".")
    return name if version == _VERSION and dot and _NAME.match(name) else None


def _cipher() -> tuple[Any, type[Exception], str]:
    """The cipher, the error that says that a text does not open, and what is wrong where there is none."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        return None, Exception, "it needs the package cryptography; install oxherd[seal]"
    return AESGCM, InvalidTag, ""


_Sources = tuple[tuple[str | None, bytes | Callable[[], object]], ...]


def _sources(keys: tuple[Any, ...]) -> tuple[_Sources, str]:
    """The keys with their names, and what is wrong with them: never in an exception, whose frames would hold them."""
    found: list[tuple[str | None, bytes | Callable[[], object]]] = []
    for name, key in _pairs(keys):
        label = repr(name) if isinstance(name, str) else len(found) + 1
        if name is not None and not (isinstance(name, str) and _NAME.match(name)):
            return (), "a key's name is a letter or digit, then up to 63 of letters, digits, '.', '_', '-'"
        if iscoroutinefunction(key):
            return (), f"the key {label} is an async function; make it a plain def or lambda"
        source = key if callable(key) else _bytes(key)
        if source is None:
            return (
                (),
                f"the key {label} must be {_WHAT}, or a function that answers one; make one by Keyring.generate()",
            )
        found.append((name, source))
    return tuple(found), "" if found else "it has no key; make one by Keyring.generate()"


def _pairs(keys: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    if len(keys) == 1 and isinstance(keys[0], Mapping):
        yield from cast("Mapping[Any, Any]", keys[0]).items()
    else:
        yield from ((None, key) for key in keys)


def _called(source: Callable[[], object]) -> tuple[bytes | None, str]:
    try:
        key = _bytes(source())
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything, with a key in it
        return None, f"could not be read ({type(error).__name__})"
    return key, "is none"


def _bytes(key: object) -> bytes | None:
    if isinstance(key, bytes) and len(key) == _KEY_BYTES:
        return key
    if not isinstance(key, bytes | str):
        return None
    try:
        text = (key.encode("ascii") if isinstance(key, str) else key).strip()
        raw = b64decode(text.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
    return raw if len(raw) == _KEY_BYTES else None


def _unbase64(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))


def _digest(key: bytes) -> str:
    return f"k{hashlib.sha256(b'oxherd key name' + key).hexdigest()[:8]}"
