"""oxherd uses no private name of another library, nor of Python."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import oxherd

SOURCE = Path(oxherd.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# These begin with an underscore and are documented.
DOCUMENTED = {"_exit", "_current_frames", "_asdict", "_fields", "_replace"}
NAMED_BY_TEXT = {"getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED


def defined(tree: ast.AST) -> set[str]:
    """The names that a module and its classes define."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node):
            names.add(node.attr)
    return names


def _is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def of_self(tree: ast.AST) -> set[str]:
    """The attributes of `self` and `cls`, which a class may have of another module's."""
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_own(node)}


def used(tree: ast.AST) -> Iterator[str]:
    """The names of others that a module uses: imports, attributes, keyword arguments, and names given as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and not _is_own(node):
            yield node.attr
        elif isinstance(node, ast.Call):
            yield from (keyword.arg for keyword in node.keywords if keyword.arg is not None)
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            yield from (text for text in texts if called in NAMED_BY_TEXT and isinstance(text, str))


OURS = set[str]().union(*(defined(ast.parse(path.read_text())) for path in FILES))


def foreign(text: str) -> set[str]:
    """The private names in a module's text that oxherd does not define."""
    tree = ast.parse(text)
    return set(filter(is_private, used(tree))) - defined(tree) | set(filter(is_private, of_self(tree))) - OURS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_module_uses_no_private_name_that_is_not_its_own(path: Path) -> None:
    assert foreign(path.read_text()) == set()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("from redis._parsers import Encoder", "_parsers"),
        ("import redis._compat", "_compat"),
        ("from logging import _lock", "_lock"),
        ("asyncio._get_running_loop()", "_get_running_loop"),
        ("connection._writer.close()", "_writer"),
        ("class Mine(Connection):\n    def look(self):\n        return self._parser", "_parser"),
        ("SchemaSerializer(schema, _use_prebuilt=False)", "_use_prebuilt"),
        ("getattr(processor, '_queue')", "_queue"),
        ("loop._ready = ours", "_ready"),
    ],
)
def test_a_private_name_of_others_is_found(text: str, name: str) -> None:
    assert foreign(text) == {name}
