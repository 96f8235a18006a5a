"""Named AES-256 keys that seal payloads: `seal=Keyring({"2026-11": key, "2026-10": old})`."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from oxherd.errors import ConfigError, DeclarationError

if TYPE_CHECKING:  # an extra, imported when a keyring is made
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Key = bytes | str | Callable[[], bytes | str]

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
PAYLOAD_BYTES: Final = 12
_HEAD_BYTES: Final = PAYLOAD_BYTES + _NONCE_BYTES
_VERSION: Final = "v1"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_KEY_FORMAT: Final = f"{_KEY_BYTES} bytes, as bytes or as base64 text"


class CannotOpen(Exception):
    """A sealed text does not open.

    `key` is the name of its key, None where that cannot be read; `known` says whether the keyring has a key so named.
    """

    def __init__(self, key: str | None, *, known: bool = False) -> None:
        super().__init__(key)
        self.key = key
        self.known = known


class Keyring:
    """Named 256-bit keys: one seals what is emitted, all of them open what is stored.

    Args:
        keys: a mapping of names to keys, or keys alone, which are named by their digests. A key is 32 bytes, as bytes
            or base64 text, or a function without arguments that returns one, called at the first use.
        current: the name of the key that seals; by default the first.
        strict: refuse payloads that are not sealed.

    A name is a letter or digit, then up to 63 of letters, digits, `.`, `_`, `-`; it is stored with each sealed value.

    Raises:
        DeclarationError: a key or a name is malformed, there is no key, or the package `cryptography` is missing.
    """

    __slots__ = ("_aes", "_current", "_fingerprints", "_invalid_tag", "_loaded", "_sources", "strict")

    def __init__(self, *keys: Key | Mapping[str, Key], current: str | None = None, strict: bool = False) -> None:
        self._aes, self._invalid_tag, missing = _cipher()
        self._sources, why = _sources(keys)
        self._current = current
        self._loaded: dict[str, AESGCM] | None = None
        self._fingerprints: dict[str, bytes] = {}  # keys made of the keys, by their names
        self.strict = strict
        if not why and current is not None and current not in (name for name, _ in self._sources):
            why = f"current={current!r} is the name of none of its keys"
        why = missing or why
        if why:
            # Tools that print a frame's variables must find no key in this one.
            self._sources = ()
            del keys
            raise DeclarationError(f"Keyring: {why}.")

    @staticmethod
    def generate() -> str:
        """A new random key, as base64 text."""
        return urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()

    def fields(self, *paths: str) -> Sealing:
        """Seal only these fields, given by dotted paths: `seal=keyring.fields("card", "customer.email")`."""
        return Sealing(self, paths)

    @property
    def names(self) -> list[str]:
        """The names of the keys, the current one first; loads the keys."""
        keys = self._load()
        current = self._current or next(iter(keys))
        return [current, *(name for name in keys if name != current)]

    def __repr__(self) -> str:
        named = [repr(name) for name, _ in self._sources if name is not None]
        return f"Keyring({', '.join(named) if named else f'{len(self._sources)} keys'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keyring cannot be pickled or copied: its keys would go along")

    def load(self) -> None:
        """Call the keys' functions, unless that is done.

        Raises:
            ConfigError: a key's function raises, or returns no key.
        """
        self._load()

    def seal(self, data: bytes, context: bytes, payload: bytes = bytes(PAYLOAD_BYTES)) -> str:
        """Encrypt with the current key and a new nonce, bound to `context`; raises as `load`.

        `payload` are random bytes, readable and bound, by which the seals of one payload are known; see `payload_of`.
        """
        keys = self._load()
        name = self._current or next(iter(keys))
        # Random: processes that share a key share no counter.
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = keys[name].encrypt(nonce, data, payload + context)
        return f"{_VERSION}.{name}.{_base64(payload + nonce + sealed)}"

    def fingerprint(self, data: bytes) -> str:
        """What tells `data` from other data, to those who have the current key; raises as `load`."""
        name = self.names[0]
        return hmac.new(self._fingerprints[name], data, hashlib.sha256).hexdigest()[:32]

    def open(self, text: str, context: bytes) -> bytes:
        """Decrypt what was sealed with this `context`; raises CannotOpen, and as `load`."""
        name = key_name(text)
        if name is None:
            raise CannotOpen(None)
        key = self._load().get(name)
        if key is None:
            raise CannotOpen(name)
        raw = _raw(text)
        try:
            return key.decrypt(raw[PAYLOAD_BYTES:_HEAD_BYTES], raw[_HEAD_BYTES:], raw[:PAYLOAD_BYTES] + context)
        except (self._invalid_tag, ValueError):
            pass
        raise CannotOpen(name, known=True)

    def _load(self) -> dict[str, AESGCM]:
        if self._loaded is None:
            loaded: dict[str, AESGCM] = {}
            for index, (name, source) in enumerate(self._sources):
                key, why = _call(source) if callable(source) else (source, "")
                if key is None:
                    raise ConfigError(f"The key {name or index + 1!r} of the Keyring {why}: it must be {_KEY_FORMAT}.")
                named = name or _digest(key)
                loaded.setdefault(named, self._aes(key))
                made = hmac.new(key, b"oxherd:fingerprint", hashlib.sha256).digest()
                self._fingerprints.setdefault(named, made)
            self._loaded = loaded
        return self._loaded


@dataclass(frozen=True, slots=True)
class Sealing:
    """A keyring and the fields that it seals, as dotted paths."""

    keyring: Keyring
    paths: tuple[str, ...]


def key_name(text: str) -> str | None:
    """The name of the key of a sealed text; None where it is not one of this version."""
    version, _, rest = text.partition(".")
    name, dot, _ = rest.rpartition(".")
    return name if version == _VERSION and dot and _NAME.match(name) else None


def payload_of(text: str) -> bytes:
    """The bytes that the seals of one payload share."""
    return _raw(text)[:PAYLOAD_BYTES]


def _raw(text: str) -> bytes:
    """A sealed text's bytes; empty where it is not base64 to the letter."""
    base64 = text.rpartition(".")[2]
    try:
        raw = urlsafe_b64decode(_padded(base64.encode("ascii")))
    except ValueError:
        return b""
    # Decoding ignores what is no base64, and unused bits of the last character.
    return raw if _base64(raw) == base64 else b""


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _cipher() -> tuple[Any, type[Exception], str]:
    """The cipher and its error for a wrong key or damaged text; or why there is none."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        return None, Exception, "it needs the package cryptography; install oxherd[seal]"
    return AESGCM, InvalidTag, ""


_Sources = tuple[tuple[str | None, bytes | Callable[[], object]], ...]


def _sources(keys: tuple[Any, ...]) -> tuple[_Sources, str]:
    """The named keys, and what is wrong with them: returned, since an exception's frames would hold the keys."""
    named: Iterable[tuple[Any, Any]] = ((None, key) for key in keys)
    if len(keys) == 1 and isinstance(keys[0], Mapping):
        named = cast("Mapping[Any, Any]", keys[0]).items()
    found: list[tuple[str | None, bytes | Callable[[], object]]] = []
    for name, key in named:
        label = repr(name) if isinstance(name, str) else len(found) + 1
        if name is not None and not (isinstance(name, str) and _NAME.match(name)):
            return (), "a key's name is a letter or digit, then up to 63 of letters, digits, '.', '_', '-'"
        if iscoroutinefunction(key):
            return (), f"the key {label} is an async function; make it a plain def or lambda"
        source = key if callable(key) else _key_bytes(key)
        if source is None:
            why = f"the key {label} must be {_KEY_FORMAT}, or a function that returns one"
            return (), f"{why}; make one by Keyring.generate()"
        found.append((name, source))
    return tuple(found), "" if found else "it has no key; make one by Keyring.generate()"


def _call(source: Callable[[], object]) -> tuple[bytes | None, str]:
    try:
        key = _key_bytes(source())
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything, with a key in it
        return None, f"could not be read ({type(error).__name__})"
    return key, "is malformed"


def _key_bytes(key: object) -> bytes | None:
    if isinstance(key, bytes) and len(key) == _KEY_BYTES:
        return key
    if not isinstance(key, bytes | str):
        return None
    try:
        text = (key.encode("ascii") if isinstance(key, str) else key).strip()
        raw = b64decode(_padded(text.translate(bytes.maketrans(b"-_", b"+/"))), validate=True)
    except ValueError:
        return None
    return raw if len(raw) == _KEY_BYTES else None


def _padded(base64: bytes) -> bytes:
    return base64 + b"=" * (-len(base64) % 4)


def _digest(key: bytes) -> str:
    return f"k{hashlib.sha256(b'oxherd key name' + key).hexdigest()[:8]}"
