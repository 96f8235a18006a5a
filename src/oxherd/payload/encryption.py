"""Payloads sealed as they stand in the queue: `{"oxherd:sealed": "v1.<key>.<ciphertext>"}`, the whole or a field.

Each is bound to its event and its place in the payload, so that it opens nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from oxherd.errors import DeclarationError, InvalidPayload, SealError
from oxherd.payload.keyring import Keyring, NotOpened, Sealing, key_name
from oxherd.payload.rejection import location
from oxherd.payload.schema import Node
from oxherd.privacy.paths import Branch, branch, leads_to

MARK: Final = "oxherd:sealed"
_MARK_BYTES: Final = MARK.encode()

_Place = tuple[str | int, ...]


class Sealer:
    """Seals and opens one event's payloads, as JSON; `schema` is the type's as it is written to the queue.

    Without a keyring nothing is sealed, and what comes sealed is refused.

    Raises `DeclarationError` for a `seal` that is none, or that names a field that the type does not have.
    """

    def __init__(self, event: str, seal: Keyring | Sealing | None, schema: Node, names: frozenset[str]) -> None:
        self._event = event
        self._names = names
        self._bound = f"{MARK}\0{event}\0".encode()
        self.keyring: Keyring | None = None
        self._branch: Branch | None = None
        if isinstance(seal, Sealing):
            self.keyring = seal.keyring
            self._branch = branch(schema, seal.paths, f"{event}: seal", by_alias=True)
        elif seal is None or isinstance(seal, Keyring):  # pyright: ignore[reportUnnecessaryIsInstance]
            self.keyring = seal
        else:
            raise DeclarationError(f"{event}: seal must be a Keyring(...), or fields of one: keyring.fields('card').")

    def seals(self, place: tuple[str | int, ...]) -> bool:
        """Whether what stands in that place of a payload is sealed."""
        return self.keyring is not None and (self._branch is None or leads_to(self._branch, place))

    def ready(self) -> None:
        """Read the keys now: a worker without them would send to failed what another could process.

        Raises:
            ConfigError: a key cannot be read.
        """
        if self.keyring is not None:
            self.keyring.read()

    def seal(self, raw: bytes) -> bytes:
        """A payload as it is stored.

        Raises:
            InvalidPayload: it holds a key that is our own mark.
            ConfigError: a key cannot be read.
        """
        if self.keyring is not None and self._branch is None:
            return b'{"%s":"%s"}' % (_MARK_BYTES, self.keyring.seal(raw, self._context(())).encode())
        if _MARK_BYTES in raw and any(_marks(from_json(raw), ())):
            raise InvalidPayload(f"{self._event}: the payload does not fit: no key of it may be {MARK!r}")
        if self.keyring is None or self._branch is None:
            return raw
        return to_json(self._sealed(from_json(raw), self._branch, (), self.keyring))

    def open(self, raw: bytes) -> bytes:
        """A payload as it was before it was sealed; what came unsealed as it is, unless the keyring is strict.

        Raises:
            SealError: it does not open here.
        """
        strict = self.keyring is not None and self.keyring.strict
        if _MARK_BYTES not in raw and not strict:
            return raw
        try:
            stored = from_json(raw)
        except ValueError:
            return raw  # refused by its type, as JSON that is damaged or nested too deep
        if strict and not self._is_sealed(stored, self._branch):
            raise SealError(f"{self._event}: the payload is not sealed, and the Keyring is strict: emit it anew.")
        if self.keyring is None:
            for place, mark in _marks(stored, ()):
                self._text(mark, place)
            return raw
        return self._text(stored, ()) if _is_mark(stored) else to_json(self._opened(stored, ()))

    def same(self, stored: Any, data: bytes) -> bool:
        """Whether a stored payload says what `data` does, sealed in the same places and by the same key."""
        other = from_json(data)
        if self.keyring is None or stored == other:
            return bool(stored == other)
        if _seals(stored) != _seals(other):
            return False
        try:
            return bool(from_json(self.open(to_json(stored))) == from_json(self.open(data)))
        except SealError:
            return False

    def _sealed(self, value: Any, wanted: Branch | None, place: _Place, keyring: Keyring) -> Any:
        """The value, or what takes its place; changed where it stands."""
        if wanted is not None and value is None:
            return None
        if wanted is not None and _has_parts(value):
            for key, below in _steps(value, wanted):
                value[key] = self._sealed(value[key], below, (*place, key), keyring)
            return value
        # A text where the path goes on through a model, say, is sealed as well: it may hold the same.
        return {MARK: keyring.seal(to_json(value), self._context(place))}

    def _is_sealed(self, value: Any, wanted: Branch | None) -> bool:
        """Whether all that this event seals is sealed in a stored value."""
        if _is_mark(value) or (wanted is not None and value is None):
            return True
        if wanted is not None and _has_parts(value):
            return all(self._is_sealed(value[key], below) for key, below in _steps(value, wanted))
        return False

    def _opened(self, value: Any, place: _Place) -> Any:
        """The value, or what was sealed in its place; changed where it stands."""
        if _is_mark(value):
            return from_json(self._text(value, place))
        for key, part in _parts(value):
            if _has_parts(part):
                value[key] = self._opened(part, (*place, key))
        return value

    def _text(self, mark: dict[str, Any], place: _Place) -> bytes:
        if self.keyring is None:
            raise self._refusal(place, "is sealed, and the event is declared without seal= here: add it")
        text = mark[MARK]
        try:
            return self.keyring.open(text if len(mark) == 1 and isinstance(text, str) else "", self._context(place))
        except NotOpened as error:
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
        raise self._refusal(place, why)

    def _refusal(self, place: _Place, why: str) -> SealError:
        return SealError(f"{self._event}: {location(place, self._names) or 'the payload'} {why}.")

    def _context(self, place: _Place) -> bytes:
        return self._bound + (json.dumps(place).encode() if place else b"")


def _is_mark(value: Any) -> bool:
    return isinstance(value, dict) and MARK in value


def _has_parts(value: Any) -> bool:
    return isinstance(value, list | dict)


def _parts(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, list):
        return enumerate(cast("list[Any]", value))
    return cast("dict[str, Any]", value).items() if isinstance(value, dict) else ()


def _marks(value: Any, place: _Place) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """Where in a value something is sealed."""
    if _is_mark(value):
        yield place, value
        return
    for key, part in _parts(value):
        yield from _marks(part, (*place, key))


def _seals(value: Any) -> dict[_Place, str | None]:
    return {place: key_name(str(mark[MARK])) for place, mark in _marks(value, ())}


def _steps(value: Any, wanted: Branch) -> Iterable[tuple[str | int, Branch | None]]:
    """Where in a list or an object the paths go on, and where they lead."""
    if isinstance(value, list):
        return ((index, wanted) for index in range(len(cast("list[Any]", value))))
    if wanted.each is not None:
        return ((key, wanted.each) for key in cast("dict[str, Any]", value))
    return ((key, below) for key, below in wanted.fields.items() if key in value)
