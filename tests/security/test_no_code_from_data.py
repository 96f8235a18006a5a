"""Data stays data: nothing that is read can run code."""

from __future__ import annotations

import ast
import pickle
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import oxherd
from oxherd import Oxherd
from oxherd.bullmq.keys import QueueKeys
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess

SOURCE = Path(oxherd.__file__).parent
# What reads objects back from bytes and runs what is in them, or passes objects on by such means.
UNSAFE_MODULES = {
    "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "multiprocessing", "pickle", "shelve", "yaml",
}  # fmt: skip
UNSAFE_CALLS = {
    "__import__", "compile", "eval", "exec",
    "os.popen", "os.system", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
}  # fmt: skip

APP = """
import logging, sys
from oxherd import Oxherd

herd = Oxherd()

def loaded():
    logging.getLogger("app").info("loaded", extra={"modules": sorted(UNSAFE & set(sys.modules))})

@herd.event("order.process", run_in="process")
def process(order: dict[str, int]) -> dict[str, int]:
    loaded()
    return order

@herd.event("order.loop")
async def loop(order: dict[str, int]) -> None:
    loaded()
"""


def test_no_module_unpickles_or_evaluates() -> None:
    found = {path: list(_unsafe(ast.parse(path.read_text()))) for path in SOURCE.rglob("*.py")}
    assert len(found) > 50
    assert {path: words for path, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from multiprocessing.connection import Client",
        "def f():\n    import yaml.loader",
        "eval('1')",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "importlib.import_module('pickle')",
    ],
)
def test_the_search_finds_such_code(code: str) -> None:
    assert len(list(_unsafe(ast.parse(code)))) == 1


def test_neither_a_worker_nor_a_handlers_process_imports_pickle(
    tmp_path: Path, standalone_url: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    """Not even by way of the standard library or a dependency, as long as the application does not load it."""
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).replace("UNSAFE", repr(UNSAFE_MODULES - {"marshal"})))
    worker = start_worker(url=standalone_url)
    herd = Oxherd(standalone_url)
    for name in ("order.process", "order.loop"):
        herd.declare(name, dict[str, int]).emit_sync({"number": 1})
    worker.wait("event.end", count=2, outcome="completed")
    herd.close_sync()
    assert [record["modules"] for record in worker.records() if record["msg"] == "loaded"] == [[], []]


async def test_a_pickled_job_is_not_opened(
    standalone_server: StandaloneServer, records: Records, tmp_path: Path
) -> None:
    trap = tmp_path / "opened"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return (Path.touch, (str(trap),))

    herd = Oxherd(standalone_server.url)

    @herd.event("order.placed")
    async def order_placed(order: bytes) -> None: ...

    keys = QueueKeys("bull", "{order.placed}")
    async with herd:
        standalone_server.command(
            "HSET", keys.job("1"), "name", "order.placed", "data", pickle.dumps(Trap()), "opts", pickle.dumps(Trap())
        )
        standalone_server.command("LPUSH", keys.wait, "1")
        await herd.start()
        await records.wait("queue.error", source="data")
    assert not trap.exists()


@pytest.fixture
def standalone_server() -> Iterator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


@pytest.fixture
def standalone_url(standalone_server: StandaloneServer) -> str:
    return standalone_server.url


def _unsafe(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if _root(each.name) in UNSAFE_MODULES)
            case ast.ImportFrom(module=str(module)):
                yield from [module] if _root(module) in UNSAFE_MODULES else []
            case ast.Call(func=function, args=arguments, keywords=keywords):
                if ast.unparse(function) in UNSAFE_CALLS:
                    yield ast.unparse(node)
                yield from (ast.unparse(node) for each in keywords if each.arg == "shell")
                yield from (ast.unparse(node) for each in arguments if _is_name(each))
            case _:
                continue


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and _root(node.value) in UNSAFE_MODULES


def _root(module: str) -> str:
    return module.partition(".")[0]
