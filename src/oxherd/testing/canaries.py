"""Replaces values of a payload by canaries: unique values that can be recognised wherever they appear."""

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

# Shorter texts occur by chance in times and ids.
SHORTEST: Final = 8
_SHORTEST_NUMBER: Final = 6
_MAX_LEAVES: Final = 500
_MAX_MAPPINGS: Final = 50
_SAMPLE_VALUES: Final[tuple[Any, ...]] = (None, "", 0, False, [], {})

_Keys = tuple[str | int, ...]
# A value for a payload, and the part of it to search for.
_Candidate = tuple[Any, str]


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary: `core` is the part to search for, `keys` are its keys and indices, `path` is their text."""

    core: str
    keys: _Keys
    path: str


@dataclass(frozen=True, slots=True)
class Planted:
    """A payload as unsealed JSON, and the canaries in it."""

    raw: bytes
    canaries: list[Canary]


def plant(payload_type: PayloadType[Any], example: Any) -> Planted:
    """Replace each string and long number by a canary, and add a canary key to each mapping.

    Raises:
        InvalidPayload, PayloadTooLarge: the example does not fit the type.
        ConfigError: a key of the event's Keyring cannot be read.
    """
    raw = payload_type.open(payload_type.encode(example))
    planter = _Planter(payload_type, from_json(raw))
    planter.plant()
    return Planted(stored(payload_type, planter.value) or raw, planter.canaries)


def stored(payload_type: PayloadType[Any], value: Any) -> bytes | None:
    """A JSON value as the type encodes it, unsealed; None if the type refuses it."""
    try:
        return payload_type.open(payload_type.encode(payload_type.decode(to_json(value))))
    except UsageError:
        return None


class _Planter:
    def __init__(self, payload_type: PayloadType[Any], value: Any) -> None:
        self._type = payload_type
        self._root: list[Any] = [value]  # a list, so that the payload itself can be replaced
        self.canaries: list[Canary] = []

    @property
    def value(self) -> Any:
        return self._root[0]

    def plant(self) -> None:
        leaves = [keys for keys, value in _leaves(self._root, ()) if type(value) in (str, int)]
        for keys in leaves[:_MAX_LEAVES]:
            self._plant_value(keys)
        mappings = [keys for keys, value in _parts(self._root, ()) if isinstance(value, dict)]
        for keys in mappings[:_MAX_MAPPINGS]:
            self._plant_key(keys)

    def _plant_value(self, keys: _Keys) -> None:
        parent, key = self._at(keys[:-1]), keys[-1]
        before = parent[key]
        for value, core in _candidates(before):
            parent[key] = value
            if self._is_stored(core):
                self._add(core, keys)
                return
        parent[key] = before

    def _plant_key(self, keys: _Keys) -> None:
        """Add a key where keys are data; the existing ones stay, since the handler may rely on them."""
        mapping: dict[str, Any] = self._at(keys)
        samples = [*_SAMPLE_VALUES, *list(mapping.values())[:1]]
        for name, core in _candidates(next(iter(mapping), "")):
            for sample in samples:
                mapping[name] = sample
                if self._is_stored(core):
                    self._add(core, (*keys, name), f"a key of {_path(keys[1:])}")
                    return
                del mapping[name]

    def _is_stored(self, core: str) -> bool:
        raw = stored(self._type, self.value)
        return raw is not None and core.encode() in raw

    def _add(self, core: str, keys: _Keys, path: str = "") -> None:
        self.canaries.append(Canary(core, keys[1:], path or _path(keys[1:])))

    def _at(self, keys: _Keys) -> Any:
        found: Any = self._root
        for key in keys:
            found = found[key]
        return found


def _parts(value: Any, keys: _Keys) -> Iterator[tuple[_Keys, Any]]:
    """All values inside a JSON value with their keys, parents first."""
    pairs: Any = ()
    if isinstance(value, list):
        pairs = enumerate(cast("list[Any]", value))
    elif isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
    for key, part in pairs:
        yield (*keys, key), part
        yield from _parts(part, (*keys, key))


def _path(keys: _Keys) -> str:
    return ".".join(map(str, keys)) or "the payload"


def strings(value: Any) -> Iterator[str]:
    """The strings and integers of a JSON value, keys included."""
    for keys, part in _parts([value], ()):
        if isinstance(keys[-1], str):
            yield keys[-1]
        if type(part) in (str, int):
            yield str(part)


def _leaves(value: Any, keys: _Keys) -> Iterator[tuple[_Keys, Any]]:
    return ((where, part) for where, part in _parts(value, keys) if not isinstance(part, list | dict))


def _candidates(before: Any) -> Iterator[_Candidate]:
    """Replacements for a value, those of its own kind first, so that the handler can use them."""
    if type(before) is int:
        yield from _numbers(before)
        return
    text = cast("str", before)
    if "@" in text:
        yield from _addresses()
    if text.startswith("http"):
        yield from _urls()
    if any(map(str.isdigit, text)):
        yield from _same_shape(text)
    yield from _texts()
    yield from _addresses()
    yield from ((made, made) for made in (str(uuid4()), _date(1800), _time(1800), _date(2900), _time(2900)))
    yield from _urls()
    yield from _same_shape(text)
    yield from ((made, made) for made in (_digits(12), _digits(SHORTEST)))


def _numbers(before: int) -> Iterator[_Candidate]:
    size = len(str(abs(before)))
    if size < _SHORTEST_NUMBER:
        return  # it may be a count of something that the handler makes
    for length in (max(size, SHORTEST), SHORTEST):
        core = _digits(length)
        yield int(core) if before >= 0 else -int(core), core


def _texts() -> Iterator[_Candidate]:
    core = _core()
    yield f'Zoë "{core}" &/', core  # looks different in each encoding
    yield core, core


def _addresses() -> Iterator[_Candidate]:
    core = _core()
    yield f"{core}@canary.example.com", core


def _urls() -> Iterator[_Candidate]:
    core = _core()
    yield f"https://canary.example.com/{core}", core


def _same_shape(text: str) -> Iterator[_Candidate]:
    """Texts of the same shape: digits for digits, first with a valid check digit, and letters for letters."""
    if sum(map(str.isalnum, text)) < SHORTEST:
        return
    made = "".join(map(_replacement, text))
    if made[-1:].isdigit():
        yield (fitting := _with_check_digit(made)), fitting
    yield made, made


def _replacement(character: str) -> str:
    if character.isdecimal():
        return secrets.choice(digits)
    if not character.isalpha():
        return character
    letter = secrets.choice("abcdef")  # valid in a UUID too
    return letter.upper() if character.isupper() else letter


def _with_check_digit(text: str) -> str:
    """The text with a last digit by the Luhn algorithm, as card numbers have it."""
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
