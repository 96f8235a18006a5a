"""Seals payloads for the queue, whole or by fields, as `{"oxherd:sealed": "v1.<key name>.<ciphertext>"}`; opens them.

A sealed value is bound to its event and its path in the payload, and opens nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from oxherd.errors import DeclarationError, InvalidPayload, SealError
from oxherd.payload.keyring import CannotOpen, Keyring, Sealing, key_name
from oxherd.payload.paths import JSONPath, PathTree, find, items, parse_paths
from oxherd.payload.schema import Node
from oxherd.payload.validation_errors import field_path

MARK: Final = "oxherd:sealed"
_MARK_BYTES: Final = MARK.encode()


class Sealer:
    """Seals and opens one event's payloads, as JSON; `schema` is that of the JSON in the queue.

    Without a keyring nothing is sealed, and a sealed payload is refused.

    Raises:
        DeclarationError: `seal` is of another type, or names a field that the type lacks.
    """

    def __init__(self, event: str, seal: Keyring | Sealing | None, schema: Node, names: frozenset[str]) -> None:
        self._event = event
        self._names = names
        self._context_prefix = f"{MARK}\0{event}\0".encode()
        self.keyring: Keyring | None = None
        self._fields: PathTree | None = None
        if isinstance(seal, Sealing):
            self.keyring = seal.keyring
            self._fields = parse_paths(schema, seal.paths, f"{event}: seal", by_alias=True)
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
            InvalidPayload: it has a key `oxherd:sealed`.
            ConfigError: an encryption key cannot be read.
        """
        if self.keyring is not None and self._fields is None:
            return b'{"%s":"%s"}' % (_MARK_BYTES, self.keyring.seal(raw, self._context(())).encode())
        if _MARK_BYTES in raw and any(find(from_json(raw), _is_sealed)):
            raise InvalidPayload(f"{self._event}: the payload does not fit: no key of it may be {MARK!r}")
        if self.keyring is None or self._fields is None:
            return raw
        return to_json(self._seal_fields(from_json(raw), self._fields, (), self.keyring))

    def open(self, raw: bytes) -> bytes:
        """A stored payload's JSON with all that is sealed opened; plain payloads pass, unless the keyring is strict.

        Raises:
            SealError: it does not open here, or the keyring is strict and the payload is not sealed.
        """
        strict = self.keyring is not None and self.keyring.strict
        if _MARK_BYTES not in raw and not strict:
            return raw
        try:
            stored = from_json(raw)
        except ValueError:
            return raw  # damaged, or nested too deeply: the type refuses it
        if strict and not self._is_fully_sealed(stored, self._fields):
            raise SealError(f"{self._event}: the payload is not sealed, and the Keyring is strict: emit it again.")
        if self.keyring is None:
            for path, _ in find(stored, _is_sealed):
                raise self._refusal(path, "is sealed, and the event is declared without seal= here: add it")
            return raw
        if _is_sealed(stored):
            return self._decrypt(stored, (), self.keyring)
        return to_json(self._open_fields(stored, (), self.keyring))

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

    def _seal_fields(self, value: Any, tree: PathTree | None, path: JSONPath, keyring: Keyring) -> Any:
        """The value, changed in place, or its seal."""
        if tree is not None and value is None:
            return None
        if tree is not None and _has_parts(value):
            for key, below in _selected(value, tree):
                value[key] = self._seal_fields(value[key], below, (*path, key), keyring)
            return value
        # A text where the path goes on, as in a union of a model and a str, may hold the same secret.
        return {MARK: keyring.seal(to_json(value), self._context(path))}

    def _is_fully_sealed(self, value: Any, tree: PathTree | None) -> bool:
        if _is_sealed(value) or (tree is not None and value is None):
            return True
        if tree is not None and _has_parts(value):
            return all(self._is_fully_sealed(value[key], below) for key, below in _selected(value, tree))
        return False

    def _open_fields(self, value: Any, path: JSONPath, keyring: Keyring) -> Any:
        """The value, changed in place, or what was sealed."""
        if _is_sealed(value):
            return from_json(self._decrypt(value, path, keyring))
        for key, part in items(value):
            if _has_parts(part):
                value[key] = self._open_fields(part, (*path, key), keyring)
        return value

    def _decrypt(self, sealed: dict[str, Any], path: JSONPath, keyring: Keyring) -> bytes:
        text = sealed[MARK]
        try:
            return keyring.open(text if len(sealed) == 1 and isinstance(text, str) else "", self._context(path))
        except CannotOpen as error:
            key, known = error.key, error.known
        if key is None:
            why = "has a seal that cannot be read: it is damaged, or a newer version's"
        elif known:
            why = (
                f"is sealed with the key {key!r} and does not open: the key of that name is another one here, or the "
                "text was changed or sealed for another event or field"
            )
        else:
            why = f"is sealed with the key {key!r}, which the Keyring does not have here: add it, and retry the event"
        raise self._refusal(path, why)

    def _refusal(self, path: JSONPath, why: str) -> SealError:
        return SealError(f"{self._event}: {field_path(path, self._names) or 'the payload'} {why}.")

    def _context(self, path: JSONPath) -> bytes:
        return self._context_prefix + (json.dumps(path).encode() if path else b"")


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
