"""docs/coming-from/bullmq.md: its programs of Node's and ours run alone and crosswise; what Bull has is handed on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.systems import named
from oxherd.servers.standalone import StandaloneServer
from tests.docs.coming_from import assert_prints_what_it_says, command_line, environment_once, section, started
from tests.harness import run, until_sync
from tests.node import node_packages, require_node

pytestmark = [pytest.mark.node, pytest.mark.slow]

PRINTED = ["receipt 7 to ann@example.com", "how was order 7?"]


@pytest.fixture
def server() -> Iterator[str]:
    """A server of this test alone, since the page's queues have no prefix of a test's."""
    with StandaloneServer() as server:
        yield server.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which Node finds BullMQ."""
    require_node()
    (tmp_path / "node_modules").symlink_to(node_packages())
    return tmp_path


def test_nodes_program_prints_what_is_printed(folder: Path, server: str) -> None:
    assert_prints_what_it_says(section("bullmq", "With BullMQ"), folder, server)


@pytest.mark.parametrize(
    ("producer", "worker"), [("node place.mjs", "oxherd worker shop:herd"), ("python place.py", "node worker.mjs")]
)
def test_one_sides_events_are_run_by_the_others_worker(producer: str, worker: str, folder: Path, server: str) -> None:
    for heading in ("With BullMQ", "With oxherd"):
        section("bullmq", heading).write(folder, server)
    with started(folder, [worker], OXHERD_URL=server) as logs:
        ran = run(folder, *command_line(producer), OXHERD_URL=server)
        assert ran.stdout.splitlines() == PRINTED, ran.stderr + logs[worker].read_text()


def test_what_waits_in_a_queue_of_bulls_is_handed_on(folder: Path, server: str) -> None:
    [bull] = named(["bull-node"])
    both = replace(bull, key="bull-page", packages=(*bull.packages, "bullmq@6.7.0", "ioredis@5.11.1"))
    (folder / "node_modules").unlink()
    (folder / "node_modules").symlink_to(environment_once(both).variables["BENCH_MODULES"])
    section("bullmq", "From Bull", level="##").write(folder, server)
    shop = section("bullmq", "With oxherd").files["shop.py"].replace('queue="orders", ', "")
    (folder / "shop.py").write_text(shop)
    (folder / "add.cjs").write_text(
        f"""const queue = new (require("bull"))("orders", "{server}");
        queue.add("receipt.send", {{ number: 7, email: "ann@example.com" }}, {{ delay: 500 }})
          .then(() => queue.close());"""
    )
    assert run(folder, str(shutil.which("node")), "add.cjs").returncode == 0
    worker = "oxherd worker shop:herd"
    with started(folder, ["node drain.mjs", worker], OXHERD_URL=server) as logs:
        until_sync(lambda: "completed" in logs[worker].read_text(), 60)
