"""Seals payloads for the queue, whole or by fields, and opens them.

A sealed value is `{"oxherd:sealed": "v1.<key's name>.<payload, nonce, ciphertext>"}`. It is bound to its event, to the
herd's prefix, to its path and, by random bytes, to what else is sealed of its payload; it opens nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from secrets import token_bytes
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from oxherd.errors import DeclarationError, InvalidPayload, SealError
from oxherd.payload.keyring import PAYLOAD_BYTES, CannotOpen, Keyring, Sealing, key_name, payload_of
from oxherd.payload.paths import JSONPath, PathTree, find, items, parse_paths
from oxherd.payload.schema import Node
from oxherd.payload.validation_errors import field_path

MARK: Final = "oxherd:sealed"
_MARK_BYTES: Final = MARK.encode()
_NOT_SEALED: Final = "is not sealed, and the Keyring is strict: emit it again"


class Sealer:
    """Seals and opens one event's payloads, as JSON; `schema` is that of the JSON in the queue.

    Without a keyring nothing is sealed, and a sealed payload is refused.

    Raises:
        DeclarationError: `seal` is of another type, or names a field that the type lacks.
    """

    def __init__(
        self, event: str, seal: Keyring | Sealing | None, schema: Node, names: frozenset[str], prefix: str
    ) -> None:
        self._event = event
        self._names = names
        self._prefix = prefix
        self.keyring: Keyring | None = None
        self.paths: tuple[str, ...] = ()  # of the sealed fields; none where the whole is sealed
        self._fields: PathTree | None = None
        if isinstance(seal, Sealing):
            self.keyring, self.paths = seal.keyring, seal.paths
            self._fields = parse_paths(
                schema, seal.paths, f"{event}: seal", by_alias=True, unambiguous=seal.keyring.strict
            )
            self._names |= {part for path in seal.paths for part in path.split(".")}
        elif seal is None or isinstance(seal, Keyring):  # pyright: ignore[reportUnnecessaryIsInstance]
            self.keyring = seal
        else:
            raise DeclarationError(f"{event}: seal must be a Keyring(...), or fields of one: keyring.fields('card').")

    def covers(self, path: JSONPath) -> bool:
        """Whether the value at this path of a payload is sealed."""
        return self.keyring is not None and (self._fields is None or self._fields.covers(path))

    def load_keys(self) -> None:
        """Read the keys now: a worker without them would fail jobs that another worker could process.

        Raises:
            ConfigError: a key cannot be read.
        """
        if self.keyring is not None:
            self.keyring.load()

    def seal(self, raw: bytes) -> bytes:
        """A payload's JSON as it is stored.

        Raises:
            InvalidPayload: it has a key `oxherd:sealed`, or lacks a field that a strict keyring seals.
            ConfigError: an encryption key cannot be read.
        """
        if self.keyring is not None and self._fields is None:
            sealed = self.keyring.seal(raw, self._context(()), token_bytes(PAYLOAD_BYTES))
            return b'{"%s":"%s"}' % (_MARK_BYTES, sealed.encode())
        if _MARK_BYTES in raw and any(find(from_json(raw), _is_sealed)):
            raise InvalidPayload(f"{self._event}: the payload does not fit: no key of it may be {MARK!r}")
        if self.keyring is None or self._fields is None:
            return raw
        sealed = self._seal_fields(from_json(raw), self._fields, (), self.keyring, token_bytes(PAYLOAD_BYTES))
        missing = self._unsealed(sealed, self._fields, ()) if self.keyring.strict else None
        if missing is not None:
            raise InvalidPayload(
                f"{self._event}: the payload does not fit: {field_path(missing, self._names)}: it is missing, and a "
                "strict Keyring takes no payload without a field that it seals"
            )
        return to_json(sealed)

    def open(self, raw: bytes) -> bytes:
        """A stored payload's JSON with all that is sealed opened; plain payloads pass, unless the keyring is strict.

        Raises:
            SealError: it does not open here, or the keyring is strict and the payload is not sealed.
        """
        strict = self.keyring is not None and self.keyring.strict
        # A key may be written with escapes.
        if not strict and _MARK_BYTES not in raw and b"\\u" not in raw:
            return raw
        try:
            stored = from_json(raw)
        except ValueError:
            if strict:
                raise self._refusal((), _NOT_SEALED) from None
            return raw  # damaged, or nested too deeply: the type refuses it
        unsealed = self._unsealed(stored, self._fields, ()) if strict else None
        if unsealed is not None:
            raise self._refusal(unsealed, _NOT_SEALED)
        if self.keyring is None:
            for path, _ in find(stored, _is_sealed):
                raise self._refusal(path, "is sealed, and the event is declared without seal= here: add it")
            return raw
        if _is_sealed(stored):
            return self._decrypt(stored, (), self.keyring, set())
        payloads: set[bytes] = set()
        opened = self._open_fields(stored, (), self.keyring, payloads)
        if len(payloads) > 1:
            raise self._refusal((), "has sealed fields of different payloads")
        return to_json(opened) if payloads else raw

    def is_same(self, stored: Any, data: bytes) -> bool:
        """Whether a stored payload equals `data` once opened, with the same parts sealed under the same keys."""
        other = from_json(data)
        if self.keyring is None or stored == other:
            return bool(stored == other)
        if _seals(stored) != _seals(other):
            return False
        try:
            return bool(from_json(self.open(to_json(stored))) == from_json(self.open(data)))
        except SealError:
            return False

    def _seal_fields(self, value: Any, tree: PathTree | None, path: JSONPath, keyring: Keyring, payload: bytes) -> Any:
        """The value, changed in place, or its seal."""
        if tree is not None and _has_parts(value):
            for key, below in _selected(value, tree):
                value[key] = self._seal_fields(value[key], below, (*path, key), keyring, payload)
            return value
        # A text where the path goes on, as in a union of a model and a str, may hold the same secret; None says that
        # there is none.
        return {MARK: keyring.seal(to_json(value), self._context(path), payload)}

    def _unsealed(self, value: Any, tree: PathTree | None, path: JSONPath) -> JSONPath | None:
        """The first part that should be sealed and is not, is missing, or may be read from another key; or None."""
        if _is_sealed(value):
            return None
        if tree is None or not _has_parts(value):
            return path
        if isinstance(value, dict) and tree.each is None:
            keys = cast("dict[str, Any]", value).keys()
            missing = min((each - keys for each in tree.complete), key=len, default=set[str]())
            odd = tree.others & keys or missing
            if odd:
                return (*path, min(odd))
        found = (self._unsealed(value[key], below, (*path, key)) for key, below in _selected(value, tree))
        return next((each for each in found if each is not None), None)

    def _open_fields(self, value: Any, path: JSONPath, keyring: Keyring, payloads: set[bytes]) -> Any:
        """The value, changed in place, or what was sealed; `payloads` collects whose fields these are."""
        if _is_sealed(value):
            return from_json(self._decrypt(value, path, keyring, payloads))
        for key, part in items(value):
            if _has_parts(part):
                value[key] = self._open_fields(part, (*path, key), keyring, payloads)
        return value

    def _decrypt(self, sealed: dict[str, Any], path: JSONPath, keyring: Keyring, payloads: set[bytes]) -> bytes:
        text = sealed[MARK]
        if len(sealed) != 1 or not isinstance(text, str):
            text = ""
        payloads.add(payload_of(text))
        try:
            return keyring.open(text, self._context(path))
        except CannotOpen as error:
            key, known = error.key, error.known
        if key is None:
            why = "has a seal that cannot be read: it is damaged, or a newer version's"
        elif known:
            why = (
                f"is sealed with the key {key!r} and does not open: the key of that name is another one here, or the "
                "text was changed or sealed for another event, prefix or field"
            )
        else:
            why = f"is sealed with the key {key!r}, which the Keyring does not have here: add it, and retry the event"
        raise self._refusal(path, why)

    def _refusal(self, path: JSONPath, why: str) -> SealError:
        return SealError(f"{self._event}: {field_path(path, self._names) or 'the payload'} {why}.")

    def _context(self, path: JSONPath) -> bytes:
        return json.dumps([MARK, self._prefix, self._event, *path]).encode()


def _is_sealed(value: Any) -> bool:
    return isinstance(value, dict) and MARK in value


def _has_parts(value: Any) -> bool:
    return isinstance(value, list | dict)


def _seals(value: Any) -> dict[JSONPath, str | None]:
    return {path: key_name(str(sealed[MARK])) for path, sealed in find(value, _is_sealed)}


def _selected(value: Any, tree: PathTree) -> Iterable[tuple[str | int, PathTree | None]]:
    """The keys, or indices, of a list or an object that the tree goes through, and their subtrees."""
    if isinstance(value, list):
        return ((index, tree) for index, _ in items(cast("list[Any]", value)))
    if tree.each is not None:
        return ((key, tree.each) for key, _ in items(value))
    return ((key, below) for key, below in tree.fields.items() if key in value)
