"""Puts values of its own into a payload, each of which can be told from all others wherever it turns up."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase, digits
from typing import Any, Final, cast
from uuid import uuid4

from pydantic_core import from_json, to_json

from oxherd.errors import UsageError
from oxherd.payload.payload_type import PayloadType

# Shorter ones turn up by chance, in times and ids.
SHORTEST: Final = 8
_SHORTEST_NUMBER: Final = 6
_MOST: Final = 500
_MOST_MAPPINGS: Final = 50
_FILLINGS: Final[tuple[Any, ...]] = (None, "", 0, False, [], {})

_Place = tuple[str | int, ...]
# What is put into a payload, and what of it is searched for.
_Candidate = tuple[Any, str]


@dataclass(frozen=True, slots=True)
class Canary:
    """A value of ours: `core` is the part that is searched for, `place` its keys and indices, `path` these as text."""

    core: str
    place: _Place
    path: str


@dataclass(frozen=True, slots=True)
class Planted:
    """A payload as JSON, unsealed, and the canaries in it."""

    raw: bytes
    canaries: list[Canary]


def plant(payload_type: PayloadType[Any], example: Any) -> Planted:
    """Put a canary in the place of each string, each long number and, as one more, of a mapping's keys.

    Raises:
        InvalidPayload, PayloadTooLarge: the example does not fit the type.
        ConfigError: a key of the event's Keyring cannot be read.
    """
    raw = payload_type.open(payload_type.encode(example))
    planter = _Planter(payload_type, from_json(raw))
    planter.plant()
    return Planted(stored(payload_type, planter.value) or raw, planter.canaries)


def stored(payload_type: PayloadType[Any], value: Any) -> bytes | None:
    """A JSON value as the type writes it, unsealed; None if it does not fit."""
    try:
        return payload_type.open(payload_type.encode(payload_type.decode(to_json(value))))
    except UsageError:
        return None


class _Planter:
    def __init__(self, payload_type: PayloadType[Any], value: Any) -> None:
        self._type = payload_type
        self._box: list[Any] = [value]  # so that the whole payload has a place, too
        self.canaries: list[Canary] = []

    @property
    def value(self) -> Any:
        return self._box[0]

    def plant(self) -> None:
        leaves = [place for place, value in _leaves(self._box, ()) if type(value) in (str, int)]
        for place in leaves[:_MOST]:
            self._plant_value(place)
        mappings = [place for place, value in _parts(self._box, ()) if isinstance(value, dict)]
        for place in mappings[:_MOST_MAPPINGS]:
            self._plant_key(place)

    def _plant_value(self, place: _Place) -> None:
        parent, key = self._at(place[:-1]), place[-1]
        before = parent[key]
        for value, core in _candidates(before):
            parent[key] = value
            if self._holds(core):
                self._note(core, place)
                return
        parent[key] = before

    def _plant_key(self, place: _Place) -> None:
        """One key more, where keys are data: the handler may know those that are there."""
        mapping: dict[str, Any] = self._at(place)
        fillings = [*_FILLINGS, *list(mapping.values())[:1]]
        for name, core in _candidates(next(iter(mapping), "")):
            for filling in fillings:
                mapping[name] = filling
                if self._holds(core):
                    self._note(core, (*place, name), f"a key of {_path(place[1:])}")
                    return
                del mapping[name]

    def _holds(self, core: str) -> bool:
        raw = stored(self._type, self.value)
        return raw is not None and core.encode() in raw

    def _note(self, core: str, place: _Place, path: str = "") -> None:
        self.canaries.append(Canary(core, place[1:], path or _path(place[1:])))

    def _at(self, place: _Place) -> Any:
        found: Any = self._box
        for key in place:
            found = found[key]
        return found


def _parts(value: Any, place: _Place) -> Iterator[tuple[_Place, Any]]:
    """The parts of a JSON value, each after what it is part of."""
    pairs: Any = ()
    if isinstance(value, list):
        pairs = enumerate(cast("list[Any]", value))
    elif isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
    for key, part in pairs:
        yield (*place, key), part
        yield from _parts(part, (*place, key))


def _path(place: _Place) -> str:
    return ".".join(map(str, place)) or "the payload"


def strings(value: Any) -> Iterator[str]:
    """The texts and whole numbers of a JSON value, keys included."""
    for place, part in _parts([value], ()):
        if isinstance(place[-1], str):
            yield place[-1]
        if type(part) in (str, int):
            yield str(part)


def _leaves(value: Any, place: _Place) -> Iterator[tuple[_Place, Any]]:
    return ((where, part) for where, part in _parts(value, place) if not isinstance(part, list | dict))


def _candidates(before: Any) -> Iterator[_Candidate]:
    """What may stand in a value's place: what is of its kind first, so that the handler finds what it is used to."""
    if type(before) is int:
        yield from _numbers(before)
        return
    text = cast("str", before)
    if "@" in text:
        yield from _addresses()
    if text.startswith("http"):
        yield from _urls()
    if any(map(str.isdigit, text)):
        yield from _alike(text)
    yield from _texts()
    yield from _addresses()
    yield from ((made, made) for made in (str(uuid4()), _date(1800), _time(1800), _date(2900), _time(2900)))
    yield from _urls()
    yield from _alike(text)
    yield from ((made, made) for made in (_digits(12), _digits(SHORTEST)))


def _numbers(before: int) -> Iterator[_Candidate]:
    size = len(str(abs(before)))
    if size < _SHORTEST_NUMBER:
        return  # a count, perhaps, of what the handler makes
    for length in (max(size, SHORTEST), SHORTEST):
        core = _digits(length)
        yield int(core) if before >= 0 else -int(core), core


def _texts() -> Iterator[_Candidate]:
    core = _core()
    yield f'Zoë "{core}" &/', core  # each way of encoding it looks different
    yield core, core


def _addresses() -> Iterator[_Candidate]:
    core = _core()
    yield f"{core}@canary.example.com", core


def _urls() -> Iterator[_Candidate]:
    core = _core()
    yield f"https://canary.example.com/{core}", core


def _alike(text: str) -> Iterator[_Candidate]:
    """The same shape: other digits for digits, with the right check digit at the end, other letters for letters."""
    if sum(map(str.isalnum, text)) < SHORTEST:
        return
    made = "".join(map(_other, text))
    if made[-1:].isdigit():
        yield (fitting := _with_check_digit(made)), fitting
    yield made, made


def _other(character: str) -> str:
    if character.isdecimal():
        return secrets.choice(digits)
    if not character.isalpha():
        return character
    letter = secrets.choice("abcdef")  # of which the digits of a UUID are made, too
    return letter.upper() if character.isupper() else letter


def _with_check_digit(text: str) -> str:
    """The text with a last digit by Luhn's rule, which cards and other numbers keep."""
    total = 0
    for index, digit in enumerate(int(each) for each in reversed(text[:-1]) if each.isdecimal()):
        doubled = digit * 2 if index % 2 == 0 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return f"{text[:-1]}{-total % 10}"


def _core() -> str:
    return "canary" + "".join(secrets.choice(ascii_lowercase + digits) for _ in range(10))


def _digits(length: int) -> str:
    return secrets.choice("123456789") + "".join(secrets.choice(digits) for _ in range(length - 1))


def _date(century: int) -> str:
    return f"{century + secrets.randbelow(100)}-{1 + secrets.randbelow(12):02}-{1 + secrets.randbelow(28):02}"


def _time(century: int) -> str:
    seconds = f"{secrets.randbelow(24):02}:{secrets.randbelow(60):02}:{secrets.randbelow(60):02}"
    return f"{_date(century)}T{seconds}Z"
