"""Fields of a payload named by dotted paths, `customer.id`, through lists and mappings, and what such paths lead to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from oxherd.errors import DeclarationError
from oxherd.payload.schema import INFERRED, Node, children

_WITH_FIELDS: Final = frozenset({"model-fields", "typed-dict", "dataclass-args"})
# Its values stand in a list, without their names.
_NAMELESS: Final = "named-tuple"

_Wanted = dict[str, "_Wanted"]


@dataclass(slots=True)
class Branch:
    """Where paths go on from a value; None in its place is the end of a path, the whole value.

    `fields` are an object's keys. `each` stands for every value of a mapping, whatever its keys. Lists are passed
    through without being named.
    """

    fields: dict[str, Branch | None] = field(default_factory=dict[str, "Branch | None"])
    each: Branch | None = None


_NOWHERE: Final = Branch()


@dataclass(slots=True)
class _Found:
    """What a type's schema holds where a path goes on: fields by name, each with its key in JSON; or what it may be."""

    fields: dict[str, list[tuple[str, Node]]] = field(default_factory=dict[str, "list[tuple[str, Node]]"])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    values: list[Node] = field(default_factory=list[Node])
    any_key: bool = False


def branch(schema: Node, paths: Iterable[str], what: str, *, by_alias: bool) -> Branch:
    """What `paths` lead to in a type; the keys are the fields' names, or with `by_alias` what serialization calls them.

    Raises:
        DeclarationError: a path is none, or names a field that the type does not have; `what` says whose paths.
    """
    wanted: _Wanted = {}
    for path in paths:
        if not isinstance(path, str) or not all(path.split(".")):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{what}: a field is named by a str such as 'customer.id'.")
        _want(wanted, path.split("."))
    if not wanted:
        raise DeclarationError(f"{what}: it names no field; name one, or leave it out.")
    return _Finder(schema, what, by_alias).branch([schema], wanted, ())


def leads_to(wanted: Branch, place: Sequence[str | int]) -> bool:
    """Whether one of the paths ends at a place of a JSON value, or above it; a place is its keys and indices."""
    found: Branch | None = wanted
    for key in place:
        if isinstance(key, int):
            continue
        found = found.each if found.each is not None else found.fields.get(key, _NOWHERE)
        if found is None:
            return True
    return False


def _want(wanted: _Wanted, parts: list[str]) -> None:
    for index, part in enumerate(parts):
        if part in wanted and not wanted[part]:
            return  # a shorter path has the whole of it
        wanted = wanted.setdefault(part, {})
        if index == len(parts) - 1:
            wanted.clear()


class _Finder:
    """Follows paths through one type."""

    def __init__(self, schema: Node, what: str, by_alias: bool) -> None:
        self._what = what
        self._by_alias = by_alias
        definitions: list[Node] = schema["definitions"] if schema["type"] == "definitions" else []
        self._shared = {node["ref"]: node for node in definitions}

    def branch(self, nodes: list[Node], wanted: _Wanted, place: tuple[str, ...]) -> Branch:
        """Where the wanted fields are in a value of one of these schemas."""
        found = _Found()
        for node in nodes:
            self._look(node, found, False, set())
        if found.values and found.fields:
            raise self._refusal(place, "is a mapping of models or a model: which is meant cannot be told")
        if found.values:
            return Branch(each=self.branch(found.values, wanted, place))
        found_branch = Branch()
        for name, below in wanted.items():
            alternatives = found.fields.get(name)
            if alternatives is None:
                self._check_open(found, name, place)
                found_branch.fields[name] = _open(below)
                continue
            for key in dict.fromkeys(key for key, _ in alternatives):
                found_branch.fields[key] = (
                    self.branch([node for _, node in alternatives], below, (*place, name)) if below else None
                )
        return found_branch

    def _look(self, node: Node, found: _Found, any_key: bool, seen: set[str]) -> None:
        """Note the fields of a schema: its own, or of what it holds that is no list."""
        kind = node["type"]
        if kind in _WITH_FIELDS:
            found.any_key |= any_key or _takes_any_key(node)
            for name, part in _named(node):
                key = part.get("serialization_alias", name) if self._by_alias else name
                found.fields.setdefault(name, []).append((key, part["schema"]))
                found.aliases.update((alias, name) for alias in _aliases(part))
        elif kind in INFERRED:
            found.any_key = True
        elif kind == "dict":
            values = node.get("values_schema", {"type": "any"})
            if self._has_fields(values, set()):
                found.values.append(values)
            else:
                found.any_key = True
        elif kind == "definition-ref":
            if node["schema_ref"] not in seen:
                seen.add(node["schema_ref"])
                self._look(self._shared[node["schema_ref"]], found, any_key, seen)
        elif kind != _NAMELESS:
            for part in _below(node):
                self._look(part, found, any_key or _takes_any_key(node), seen)

    def _has_fields(self, node: Node, seen: set[str]) -> bool:
        kind = node["type"]
        if kind in _WITH_FIELDS:
            return True
        if kind == "definition-ref":
            reference = node["schema_ref"]
            if reference in seen:
                return False
            seen.add(reference)
            return self._has_fields(self._shared[reference], seen)
        if kind in INFERRED or kind == _NAMELESS:
            return False
        parts = [node.get("values_schema", {"type": "any"})] if kind == "dict" else list(_below(node))
        return any(self._has_fields(part, seen) for part in parts)

    def _check_open(self, found: _Found, name: str, place: tuple[str, ...]) -> None:
        if found.any_key:
            return
        if not found.fields:
            raise self._refusal(place, "has no fields")
        near = difflib.get_close_matches(name, [*found.fields, *found.aliases], n=1, cutoff=0.5)
        hint = (
            f"did you mean {found.aliases.get(near[0], near[0])!r}?" if near else f"it has {', '.join(found.fields)}."
        )
        raise self._refusal(place, f"has no field {name!r}; {hint}")

    def _refusal(self, place: tuple[str, ...], why: str) -> DeclarationError:
        subject = repr(".".join(place)) if place else "the payload"
        return DeclarationError(f"{self._what}: {subject} {why.removesuffix('.')}{'' if why[-1] == '?' else '.'}")


def _open(below: _Wanted) -> Branch | None:
    """Where the type does not say its fields, the names are keys."""
    return Branch({name: _open(further) for name, further in below.items()}) if below else None


def _below(node: Node) -> Iterator[Node]:
    kind = node["type"]
    if kind == "definitions":
        yield node["schema"]
    elif kind == "json-or-python":
        yield node["json_schema"]
    else:
        yield from children(node, serialization=False)


def _named(node: Node) -> Iterator[tuple[str, Node]]:
    fields: Any = node["fields"]
    if isinstance(fields, dict):
        yield from fields.items()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    else:
        yield from ((part["name"], part) for part in fields)


def _aliases(part: Node) -> Iterator[str]:
    for key in ("serialization_alias", "validation_alias"):
        if isinstance(part.get(key), str):
            yield part[key]


def _takes_any_key(node: Node) -> bool:
    return "allow" in (node.get("extra_behavior"), node.get("config", {}).get("extra_fields_behavior"))
