"""What is looked for of a payload's JSON, and how Python, JSON, URLs and base64 write it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, Final, cast
from urllib.parse import quote

from oxherd.payload.paths import JSONPath, items
from oxherd.privacy.budget import Budget

SHORTEST_STRING: Final = 4
SHORTEST_NUMBER: Final = 6

# Letters and digits are compared, all else is not: neither the escape of a line break, nor the `b` of bytes, nor a
# percent sign's code for what is no letter or digit. A line may have been broken within these, by `pprint` with quotes.
_BREAK: Final = r"(?:[^\w\\\n]{0,4}\n[^\w\\]{0,12}(?:b['\"])?)?"
_WORDS: Final = re.compile(
    r"(?:\\|%~5~[cC])~[nrt]|(?<=\s)b(?=['\"])"
    r"|%~(?:[01]~[\da-fA-F]|2~[\da-fA-F]|3~[a-fA-F]|[46]~0|[57]~[b-fB-F])|([^\W_]+)".replace("~", _BREAK)
)
_ANY_WORDS: Final = re.compile(r"([^\W_]+)")
# JSON writes dates and times otherwise than Python's `str` and `repr` do.
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)?(?:(?:^|[T ])(\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?")
_LONGEST_TIME: Final = 40


class Number(str):
    """A number as it is written; unlike a string, it is not shown by a longer text that is."""

    __slots__ = ()


def parse(raw: bytes, budget: Budget) -> Any:
    """Read a payload's JSON; raises ValueError or RecursionError if it is damaged."""
    budget.spend(len(raw) // 25)
    return json.loads(raw)


def parts_at(value: Any, selects: Callable[[JSONPath], bool], path: JSONPath = ()) -> Iterator[Any]:
    """The parts of a JSON value whose paths are selected."""
    if selects(path):
        yield value
        return
    for key, part in items(value):
        yield from parts_at(part, selects, (*path, key))


def texts_in(value: Any, field_names: frozenset[str], budget: Budget) -> set[str]:
    """The strings, undeclared keys and numbers of a JSON value; the latter, without their sign, as Numbers."""
    found: set[str] = set()
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            found.add(part)
        elif isinstance(part, dict):
            pairs = cast("dict[str, Any]", part)
            budget.spend(2 * len(pairs))
            pending += [*pairs.values(), *(pairs.keys() - field_names)]
        elif isinstance(part, list):
            budget.spend(len(cast("list[Any]", part)))
            pending += cast("list[Any]", part)
        elif isinstance(part, float):
            budget.spend(3)
            found |= {Number(abs(part)), Number(int(abs(part)) if part.is_integer() else abs(part))}
        elif part is not None and not isinstance(part, bool):
            found.add(Number(abs(part)))
    return found


def is_long(text: str) -> bool:
    """Whether a text is long enough to be withheld."""
    if isinstance(text, Number):
        return sum(map(str.isdigit, text)) >= SHORTEST_NUMBER
    return len(text) >= SHORTEST_STRING


def words(text: str) -> str:
    """The letters and digits of a text."""
    return text if text.isalnum() else "".join(_WORDS.findall(text))


def readings(text: str) -> Iterator[list[int]]:
    """Where in a text its letters and digits are, without escapes, and again with what may be none: `CORP\\nathan`."""
    for found in (_WORDS, _ANY_WORDS) if "\\" in text or "%" in text else (_WORDS,):
        yield [at for match in found.finditer(text) if match[1] for at in range(*match.span())]


def cost(value: str) -> int:
    """The steps of a budget that the forms of a value take."""
    return 30 + len(ascii(value)) if _is_escaped(value) else 12 + len(value) // 25


def forms(value: str) -> Iterator[str]:
    """How a value may be written, as far as letters and digits tell: itself, escaped, in base64, as a date."""
    written = {value}
    if _is_escaped(value):
        written |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        yield from (repr(value)[1:-1], ascii(value)[1:-1], repr(value.encode(errors="replace"))[2:-1])
        yield quote(value, errors="replace")
    for text in written:
        yield text
        yield from _base64(text.encode(errors="replace"))
    if len(value) > _LONGEST_TIME or not value[:1].isdigit():
        return
    if value.startswith("0") and value.strip("0123456789 ()/.-") == "":  # a telephone number as an integer
        yield value.lstrip("0 ")
    if found := _TIME.fullmatch(value):
        day, clock = found.groups(default="")
        yield from (f"{day} {clock}".strip(), f"{day}T{clock}".strip("T"))
        yield ", ".join(str(int(number)) for number in re.findall(r"\d+", f"{day} {clock}"))


def _is_escaped(value: str) -> bool:
    return not (value.isascii() and value.isprintable()) or '"' in value or "\\" in value


def _base64(data: bytes) -> Iterator[str]:
    """What stands for some bytes in the base64 of themselves, or of a longer text that contains them."""
    for before in range(3):
        yield b64encode(bytes(before) + data).decode()[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
