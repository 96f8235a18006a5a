"""Compares a payload with what its JSON is read back as: a handler is given what was emitted, or the emit is refused.

Python's equality is too weak for that (`1 == True`, `Decimal("1.0") == Decimal("1.00")`, models that define their own),
and some types have none. So types and contents are compared: fields of models and dataclasses, items of containers, the
pickled state of objects without equality. A subclass of a builtin type, such as a `SafeString` or a `defaultdict`,
counts as that type.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

from pydantic import BaseModel, RootModel

from oxherd.payload.schema import SECRET_TYPES, Node, walk

# Values of these types, if they are equal and of one type, are the same.
_EXACT: Final = frozenset({type(None), bool, int, float, str, bytes, UUID, date, timedelta})
_BUILTIN: Final = (str, int, float, bytes, datetime, date, time, timedelta, list, dict, set, frozenset)
# Schema types whose values are read back as they were, whatever the value.
_PLAIN: Final = frozenset({"none", "bool", "int", "str", "float", "uuid", "list", "nullable"})
_MISSING: Final = object()


@dataclass(slots=True)
class Difference:
    """Where and how two values differ; `path` has the innermost key first. `owner` has a private attribute's type."""

    why: str
    path: list[str | int] = field(default_factory=list[str | int])
    owner: type | None = None


_Compare = Callable[[Any, Any], Difference | None]


def may_differ(schema: Node) -> bool:
    """Whether payloads of this type may be read back as others; plain scalars and lists of them may not."""
    return any(node["type"] not in _PLAIN or "serialization" in node for node in walk(schema))


class Comparison:
    """Compares the payloads of one event; how values of a type are compared is decided once."""

    def __init__(self) -> None:
        self._by_type: dict[type[Any], _Compare] = {Decimal: _texts, float: _floats, datetime: _times, time: _times}
        self._made_by_reading: set[tuple[type, str]] = set()

    def difference(self, sent: Any, read: Any) -> Difference | None:
        """The first difference, or None."""
        kind: type[Any] = type(sent)  # pyright: ignore[reportUnknownVariableType]  # of an Any
        if sent is read or (kind in _EXACT and type(read) is kind and sent == read):
            return None
        if kind is int and type(read) in (float, Decimal) and sent == read:
            return None  # the default of a field of another number, or assigned to it, which validation does not see
        compare = self._by_type.get(kind)
        if compare is None:
            compare = self._by_type[kind] = self._compare_for(kind)
        return compare(sent, read)

    def ignore(self, private: Difference) -> None:
        """Compare this private attribute no more: each reading makes a value of its own, as of a lock or a clock."""
        if private.owner is not None:
            self._made_by_reading.add((private.owner, str(private.path[0])))

    def _compare_for(self, kind: type[Any]) -> _Compare:
        if issubclass(kind, BaseModel):
            return self._models(kind)
        if is_dataclass(kind):
            return self._dataclasses(kind, [each.name for each in fields(kind)])
        if issubclass(kind, SECRET_TYPES):
            return self._secrets
        if issubclass(kind, Enum):
            return _differ  # members are singletons
        for base, compare in (
            (dict, self._dicts), (tuple, self._items), (list, self._items), (deque, self._deques),
            (set, self._sets), (frozenset, self._sets), (datetime, _times), (time, _times), (float, _floats),
        ):  # fmt: skip
            if issubclass(kind, base):
                return compare
        return self._objects

    def _models(self, kind: type[BaseModel]) -> _Compare:
        names, private = tuple(kind.model_fields), tuple(kind.__private_attributes__)
        extra, is_root = kind.model_config.get("extra") == "allow", issubclass(kind, RootModel)

        def compare(sent: BaseModel, read: BaseModel) -> Difference | None:
            if type(read) is not kind:
                return _differ(sent, read)
            mine, its = vars(sent), vars(read)
            found = None
            if is_root:  # has no level of its own in JSON
                found = self.difference(mine.get("root"), its.get("root"))
            elif not (_are_plain(mine.values(), its.values()) and mine == its):
                found = self._attributes(mine, its, names)
            if found is None and extra:
                found = self._dicts(sent.model_extra or {}, read.model_extra or {})
            if found is None and private:
                found = self._private(kind, sent.__pydantic_private__ or {}, read.__pydantic_private__ or {}, private)
            return found

        return compare

    def _private(
        self, kind: type, sent: dict[str, Any], read: dict[str, Any], names: tuple[str, ...]
    ) -> Difference | None:
        for name in names:
            if (kind, name) not in self._made_by_reading:
                found = self._attributes(sent, read, (name,))
                if found is not None:
                    return Difference(found.why, [name], kind)
        return None

    def _dataclasses(self, kind: type, names: list[str]) -> _Compare:
        extra = getattr(kind, "__pydantic_config__", {}).get("extra") == "allow"

        def compare(sent: Any, read: Any) -> Difference | None:
            if type(read) is not kind:
                return _differ(sent, read)
            if extra:
                return self._dicts(vars(sent), vars(read))  # pyright: ignore[reportUnknownArgumentType]  # of an Any
            mine, its = ({name: getattr(each, name, _MISSING) for name in names} for each in (sent, read))
            return self._attributes(mine, its, names)

        return compare

    def _attributes(
        self, sent: dict[str, Any], read: dict[str, Any], names: tuple[str, ...] | list[str]
    ) -> Difference | None:
        for name in names:
            one, other = sent.get(name, _MISSING), read.get(name, _MISSING)
            if one is not other:
                kind: type[Any] = type(one)  # pyright: ignore[reportUnknownVariableType]  # of an Any
                if kind in _EXACT and type(other) is kind and one == other:
                    continue
                found = self.difference(one, other)
                if found is not None:
                    found.path.append(name)
                    return found
        return None

    def _secrets(self, sent: Any, read: Any) -> Difference | None:
        if type(read) is not type(sent):
            return _differ(sent, read)
        return self.difference(sent.get_secret_value(), read.get_secret_value())

    def _dicts(self, sent: dict[Any, Any], read: Any) -> Difference | None:
        if not _same_type(sent, read) or len(sent) != len(read):
            return _differ(sent, read)
        if _are_plain(sent, read) and _are_plain(sent.values(), read.values()) and sent == read:
            return None
        for (key, one), (its_key, other) in zip(sent.items(), cast("dict[Any, Any]", read).items(), strict=True):
            in_key = self.difference(key, its_key)
            found = in_key or self.difference(one, other)
            if found is not None:
                found.path.append(key if in_key is None and isinstance(key, str | int) else "*")
                return found
        return None

    def _items(self, sent: Any, read: Any) -> Difference | None:
        if not _same_type(sent, read) or len(sent) != len(read):
            return _differ(sent, read)
        if _are_plain(sent, read) and list(sent) == list(read):
            return None
        for index, (one, other) in enumerate(zip(sent, read, strict=True)):
            found = self.difference(one, other)
            if found is not None:
                found.path.append(index)
                return found
        return None

    def _deques(self, sent: Any, read: Any) -> Difference | None:
        if not _same_type(sent, read) or sent.maxlen != read.maxlen:
            return _differ(sent, read)
        return self._items(sent, read)

    def _sets(self, sent: Any, read: Any) -> Difference | None:
        if not _same_type(sent, read) or len(sent) != len(read):
            return _differ(sent, read)
        rest: dict[Any, Any] = {each: each for each in read}
        odd = [each for each in sent if self.difference(each, rest.pop(each, _MISSING)) is not None]
        # What is hashed by its identity is found in no other set.
        for each in odd:
            match = next((other for other in rest if self.difference(each, other) is None), _MISSING)
            if rest.pop(match, _MISSING) is _MISSING:
                return _differ(sent, read)
        return None

    def _objects(self, sent: Any, read: Any) -> Difference | None:
        if not _same_type(sent, read):
            return _differ(sent, read)
        if type(sent).__eq__ is not object.__eq__:
            equal = sent == read
            if isinstance(equal, bool):  # an array's is another array
                return None if equal else _differ(sent, read)
        one, other = _state(sent), _state(read)
        if one is None or other is None:
            return Difference(f"a {type(sent).__name__} has no equality, and cannot be pickled to be compared")
        return self.difference(one, other) and _differ(sent, read)


def _are_plain(sent: Iterable[object], read: Iterable[object]) -> bool:
    """Whether equality tells if these values are the same: the quick way for most."""
    kinds = list(map(type, sent))
    return _EXACT.issuperset(kinds) and kinds == list(map(type, read))


def _state(value: object) -> list[Any] | None:
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001  # a lock, a connection, or a class that refuses to be pickled
        return None
    if isinstance(reduced, str):
        return [reduced]
    # The items of its own that a list or a dictionary has come as iterators.
    return [*reduced[:3], *(list(each) for each in reduced[3:5] if each is not None)]


def _same_type(sent: object, read: object) -> bool:
    kind = type(read)
    return type(sent) is kind or (kind in _BUILTIN and isinstance(sent, kind) and not isinstance(sent, Enum))


def _differ(sent: object, read: object) -> Difference:
    if read is _MISSING:
        return Difference("it is not in its JSON")
    if type(sent) is type(read):
        return Difference("its JSON would be read back as another value")
    return Difference(f"its JSON would be read back as {type(read).__name__}, not as {type(sent).__name__}")


def _texts(sent: object, read: object) -> Difference | None:
    return None if type(sent) is type(read) and str(sent) == str(read) else _differ(sent, read)


def _floats(sent: float, read: object) -> Difference | None:
    # A NaN equals none.
    same = _same_type(sent, read) and (sent == read or float.__repr__(sent) == repr(read))
    return None if same else _differ(sent, read)


def _times(sent: Any, read: Any) -> Difference | None:
    """A zone arrives as its offset; equality would compare the instants alone, and none in a repeated hour."""
    same = (
        _same_type(sent, read)
        and (sent.tzinfo is None) == (read.tzinfo is None)
        and sent.utcoffset() == read.utcoffset()
        and sent.replace(tzinfo=None, fold=0) == read.replace(tzinfo=None, fold=0)
    )
    return None if same else _differ(sent, read)
