"""Paths into a payload: dotted ones that name fields, `customer.id`, resolved by the type; and those of JSON values."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import BaseModel

from oxherd.errors import DeclarationError
from oxherd.payload.schema import INFERRED, Node, children, input_keys, walk

JSONPath = tuple[str | int, ...]

_WITH_FIELDS: Final = frozenset({"model-fields", "typed-dict", "dataclass-args"})
_BEFORE: Final = frozenset({"function-before", "function-wrap", "function-plain"})
_NAMED_TUPLE: Final = "named-tuple"  # JSON has its values as a list, without their names

# Field names, nested; an empty mapping selects the whole field.
_Names = dict[str, "_Names"]


@dataclass(slots=True)
class PathTree:
    """The selected parts of a value; None in place of a subtree selects the whole part.

    `fields` are an object's keys; `each` stands for every value of a mapping, whatever its key. Lists add no level.
    `others` are further keys that validation reads these fields from; `complete` has, for each type that the object may
    be of, the keys of those that it has.
    """

    fields: dict[str, PathTree | None] = field(default_factory=dict[str, "PathTree | None"])
    each: PathTree | None = None
    others: frozenset[str] = frozenset()
    complete: list[set[str]] = field(default_factory=list[set[str]])

    def covers(self, path: JSONPath) -> bool:
        """Whether a selected path is this one or leads to it."""
        tree: PathTree | None = self
        for key in path:
            if isinstance(key, int):
                continue
            tree = tree.each or tree.fields.get(key, _EMPTY)
            if tree is None:
                return True
        return False


_EMPTY: Final = PathTree()


def parse_paths(
    schema: Node, paths: Iterable[str], what: str, *, by_alias: bool, unambiguous: bool = False
) -> PathTree:
    """Resolve dotted paths in a type; keys are the fields' names or, with `by_alias`, their serialization aliases.

    Raises:
        DeclarationError: a path is malformed, or names a field that the type lacks, or, where they have to be
            `unambiguous`, one that is read from another field's key, too; `what` says whose paths they are.
    """
    names: _Names = {}
    for path in paths:
        if not isinstance(path, str) or not all(path.split(".")):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{what}: a field is named by a str such as 'customer.id'.")
        _add(names, path.split("."))
    if not names:
        raise DeclarationError(f"{what}: it names no field; name one, or leave it out.")
    return _Resolver(schema, what, by_alias, unambiguous).resolve([schema], names, ())


def items(value: object) -> Iterable[tuple[Any, object]]:
    """The keys, or indices, and parts directly within a value; none for one without parts."""
    if isinstance(value, dict):
        return cast("dict[object, object]", value).items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(cast("list[object]", value))
    return vars(value).items() if isinstance(value, BaseModel) else ()


def find(value: object, matches: Callable[[Any], bool], path: JSONPath = ()) -> Iterator[tuple[JSONPath, Any]]:
    """The parts of a value that match, with their paths; what is within a match is not searched."""
    if matches(value):
        yield path, value
        return
    for key, part in items(value):
        yield from find(part, matches, (*path, key if isinstance(key, str | int) else "*"))


def _add(names: _Names, keys: list[str]) -> None:
    for index, key in enumerate(keys):
        if key in names and not names[key]:
            return  # a shorter path selects the whole field
        names = names.setdefault(key, {})
        if index == len(keys) - 1:
            names.clear()


@dataclass(slots=True)
class _Candidates:
    """What the next key of a path may name: fields, each with its keys in JSON; or any value of a mapping.

    `objects` has each type's keys by its fields' names, None where these are not declared; `inputs` the keys that
    validation reads a field from; `unreadable` are fields that it does not read from their own. `rewritten`: a function
    of the user's sees the value first, and may put a field together from whatever there is.
    """

    fields: dict[str, list[tuple[str, Node]]] = field(default_factory=dict[str, "list[tuple[str, Node]]"])
    inputs: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    unreadable: set[str] = field(default_factory=set[str])
    objects: list[dict[str, str] | None] = field(default_factory=list["dict[str, str] | None"])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    values: list[Node] = field(default_factory=list[Node])
    any_key: bool = False
    rewritten: bool = False


class _Resolver:
    """Follows paths through one type's schema."""

    def __init__(self, schema: Node, what: str, by_alias: bool, unambiguous: bool) -> None:
        self._what = what
        self._by_alias = by_alias
        self._unambiguous = unambiguous
        definitions: list[Node] = schema["definitions"] if schema["type"] == "definitions" else []
        self._definitions = {node["ref"]: node for node in definitions}

    def resolve(self, schemas: list[Node], names: _Names, path: tuple[str, ...]) -> PathTree:
        """The tree of the named fields, in a value of one of these schemas at `path`."""
        found = _Candidates()
        for schema in schemas:
            self._collect(schema, found, False, set(), {})
        if found.rewritten and self._unambiguous:
            why = (
                "has a validator, an __init__ or an InitVar that may fill its sealed fields from elsewhere: "
                "leave it out, or make it a validator of mode='after'."
            )
            raise self._refusal(path, why)
        if found.values and found.fields:
            raise self._refusal(path, "is a mapping of models or a model: which is meant cannot be told.")
        if found.values:
            return PathTree(each=self.resolve(found.values, names, path))
        tree = PathTree()
        for name, below in names.items():
            if name not in found.fields:
                self._check_any_key(found, name, path)
                tree.fields[name] = _untyped(below)
                continue
            alternatives = [schema for _, schema in found.fields[name]]
            subtree = self.resolve(alternatives, below, (*path, name)) if below else None
            tree.fields.update((key, subtree) for key, _ in found.fields[name])
        inputs = {key for name in names for key in found.inputs.get(name, ())}
        tree.others = frozenset(inputs.difference(tree.fields))
        for keys in found.objects:
            if keys is None:
                tree.complete.append(set(names))
            else:  # a name that no type declares is an extra key's
                declared = (name for name in names if name in keys or name not in found.fields)
                tree.complete.append({keys.get(name, name) for name in declared})
        if self._unambiguous:
            self._check_inputs(found, names, tree, path)
        return tree

    def _check_inputs(self, found: _Candidates, names: _Names, tree: PathTree, path: tuple[str, ...]) -> None:
        for name in names:
            if name in found.unreadable:
                raise self._refusal((*path, name), "is read from a path only, and cannot be sealed: give it an alias.")
            for other in found.fields.keys() - names.keys():
                theirs = found.inputs[other] | {key for key, _ in found.fields[other]}
                shared = found.inputs.get(name, set()) & theirs
                if shared - tree.fields.keys():
                    raise self._refusal(
                        (*path, name),
                        f"is read from {min(shared)!r} too, which the field {other!r} has: seal that as well.",
                    )

    def _collect(
        self, node: Node, found: _Candidates, any_key: bool, seen: set[str], config: Mapping[str, Any]
    ) -> None:
        """Note a schema's fields: its own, or those of what it wraps or lists."""
        kind = node["type"]
        config = node.get("config") or config
        found.rewritten |= _is_rewritten(node)
        if kind in _WITH_FIELDS:
            found.any_key |= any_key
            self._collect_fields(node, found, config)
        elif kind in INFERRED:
            found.objects.append(None)
            found.any_key = True
        elif kind == "dict":
            found.objects.append(None)
            values = _values(node)
            if self._has_fields(values, set()):
                found.values.append(values)
            else:
                found.any_key = True
        elif kind == "definition-ref":
            if node["schema_ref"] not in seen:
                seen.add(node["schema_ref"])
                self._collect(self._definitions[node["schema_ref"]], found, any_key, seen, config)
        elif kind != _NAMED_TUPLE:
            for part in _wrapped(node):
                self._collect(part, found, any_key or _takes_any_key(node), seen, config)

    def _collect_fields(self, node: Node, found: _Candidates, config: Mapping[str, Any]) -> None:
        found.any_key |= _takes_any_key(node)
        keys: dict[str, str] = {}
        found.objects.append(keys)
        for name, part in _fields(node):
            key = part.get("serialization_alias", name) if self._by_alias else name
            keys[name] = key
            found.fields.setdefault(name, []).append((key, part["schema"]))
            whole, partly = input_keys(name, part, config)
            found.inputs.setdefault(name, set()).update(whole, partly)
            if key not in whole:
                found.unreadable.add(name)
            found.aliases.update((alias, name) for alias in _aliases(part))

    def _has_fields(self, node: Node, seen: set[str]) -> bool:
        kind = node["type"]
        if kind in _WITH_FIELDS:
            return True
        if kind == "definition-ref":
            reference = node["schema_ref"]
            if reference in seen:
                return False
            seen.add(reference)
            return self._has_fields(self._definitions[reference], seen)
        if kind in INFERRED or kind == _NAMED_TUPLE:
            return False
        return any(self._has_fields(part, seen) for part in ([_values(node)] if kind == "dict" else _wrapped(node)))

    def _check_any_key(self, found: _Candidates, name: str, path: tuple[str, ...]) -> None:
        if found.any_key:
            return
        if not found.fields:
            raise self._refusal(path, "has no fields.")
        near = difflib.get_close_matches(name, [*found.fields, *found.aliases], n=1, cutoff=0.5)
        hint = (
            f"did you mean {found.aliases.get(near[0], near[0])!r}?" if near else f"it has {', '.join(found.fields)}."
        )
        raise self._refusal(path, f"has no field {name!r}; {hint}")

    def _refusal(self, path: tuple[str, ...], why: str) -> DeclarationError:
        return DeclarationError(f"{self._what}: {repr('.'.join(path)) if path else 'the payload'} {why}")


def _untyped(names: _Names) -> PathTree | None:
    """The tree where the type does not declare its fields: names are keys."""
    if not names:
        return None
    return PathTree({name: _untyped(below) for name, below in names.items()}, complete=[set(names)])


def _is_rewritten(node: Node) -> bool:
    """Whether code of the user's may see the value before its fields are read: a validator, or a type's own init."""
    if node["type"] == "chain":
        return any(part["type"].startswith("function-") for step in node["steps"][:-1] for part in walk(step))
    if node["type"] == "dataclass-args":  # an InitVar is for `__post_init__`
        return any(part.get("init_only") for part in node["fields"])
    return node["type"] in _BEFORE or bool(node.get("custom_init"))


def _values(node: Node) -> Node:
    return node.get("values_schema", {"type": "any"})


def _wrapped(node: Node) -> Iterator[Node]:
    kind = node["type"]
    if kind == "definitions":
        yield node["schema"]
    elif kind == "json-or-python":
        yield node["json_schema"]
    else:
        yield from children(node, serialization=False)


def _fields(node: Node) -> Iterator[tuple[str, Node]]:
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
