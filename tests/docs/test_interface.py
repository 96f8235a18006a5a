"""The interface at a glance, and the README, name what there is: methods and their arguments, options, commands."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI

import oxherd
from oxherd import Context, Emitted, Event, Failure, Oxherd
from oxherd.dashboard import dashboard
from oxherd.declaration import DeclareOptions, EventOptions
from oxherd.django import emit_on_commit
from oxherd.fastapi import events_router, lifespan
from oxherd.flask import init_app
from oxherd.outbox import Outbox
from oxherd.producer.emit_options import EmitManyOptions, EmitOptions
from oxherd.sse import updates_route
from oxherd.telemetry.prometheus import Metrics
from oxherd.testing import assert_no_leak, captured, inline, run_until_empty
from tests.harness import run

ROOT = Path(__file__).parents[2]
PAGES = ["docs/interface.md", "README.md"]
OWNERS: dict[str, type] = {"event": Event, "herd": Oxherd, "emitted": Emitted, "ctx": Context, "failure": Failure}
OPTIONS = {
    name for options in (DeclareOptions, EventOptions, EmitManyOptions, EmitOptions) for name in options.__annotations__
}
FUNCTIONS: dict[str, Any] = {name: getattr(oxherd, name) for name in oxherd.__all__} | {
    each.__name__: each
    for each in (
        *(FastAPI, Metrics, Outbox, ZoneInfo, assert_no_leak, captured, dashboard, datetime, emit_on_commit),
        *(events_router, init_app, inline, lifespan, run_until_empty, updates_route),
    )
}


def spans_of(page: str) -> set[str]:
    """What stands between backticks, the blocks left out."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`\n]+)`", text))


def python_of(page: str) -> Iterator[tuple[str, ast.AST]]:
    """Each span that is Python, parsed; a decorator with a function, an option (`delay=60`) as a call's."""
    for span in spans_of(page):
        for form in ("async def f(): {}", "async def f():\n {}: pass", "{}\ndef f(): ...", "option({})"):
            try:
                yield span, ast.parse(form.format(span))
            except SyntaxError:
                continue
            break


def parameters(function: Any) -> set[str]:
    """The names that a function or class takes; with those of the options where it takes any."""
    if function is datetime:  # in C, without a signature
        return {"tzinfo"}
    found = inspect.signature(function).parameters.values()
    options = OPTIONS if any(each.kind is each.VAR_KEYWORD for each in found) else set[str]()
    return {each.name for each in found} | options


def test_its_program_runs(tmp_path: Path) -> None:
    program = (ROOT / PAGES[0]).read_text().split("```python\n")[1].split("```\n")[0]
    assert run(tmp_path, sys.executable, "-c", program).returncode == 0


@pytest.mark.parametrize("page", PAGES)
def test_every_attribute_that_is_named_is_there(page: str) -> None:
    found = 0
    for span, tree in python_of(page):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in OWNERS:
                owner = OWNERS[node.value.id]
                assert hasattr(owner, node.attr) or node.attr in owner.__annotations__, span
                found += 1
    assert found > (0 if page == "README.md" else 30)


@pytest.mark.parametrize("page", PAGES)
def test_every_call_takes_the_arguments_that_it_is_given(page: str) -> None:
    found = 0
    for span, tree in python_of(page):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            given = {str(each.arg) for each in node.keywords}
            match node.func:
                case ast.Name("event"):  # a plain call
                    assert not given, span
                case ast.Name("option"):
                    assert given <= OPTIONS, span
                case ast.Name(name):
                    assert name in FUNCTIONS, span
                    assert not given or given <= parameters(FUNCTIONS[name]), span
                case ast.Attribute(ast.Name(owner), name) if owner in OWNERS:
                    assert given <= parameters(getattr(OWNERS[owner], name)), span
                case _:
                    continue
            found += 1
    assert found > (4 if page == "README.md" else 50)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_every_extra_is_there(page: str, tmp_path: Path) -> None:
    helped = run(tmp_path, sys.executable, "-m", "oxherd", "--help").stdout
    text = (ROOT / page).read_text()
    [bare] = re.findall(r"`oxherd ls`((?:, `\w+`)+)", text)
    commands = {found for span in spans_of(page) for found in re.findall(r"^(?:manage.py )?oxherd (\w+)", span)}
    for command in commands | set(re.findall(r"\w+", bare)):
        assert re.search(rf"\b{command}\b", helped), command
    extras = set(re.findall(r"oxherd\[(\w+)\]", text))
    assert extras
    assert extras <= set(metadata("oxherd").get_all("Provides-Extra") or ())
