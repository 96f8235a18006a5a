"""The short set of drills as a user runs it, and what the command refuses."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from oxherd.drills.catalogue import DRILLS, SHORT
from oxherd.drills.worker_log import DOCUMENTED
from oxherd.servers.standalone import StandaloneServer
from tests.harness import cli

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_drill_ends_as_promised(name: str, tmp_path: Path) -> None:
    ran = cli(tmp_path, "drill", name, "--json")
    assert ran.stderr == ""
    row = json.loads(ran.stdout)
    assert (row["drill"], row["ok"], row["lost"], row["ends_missing"], row["left"]) == (name, True, 0, 0, 0), row[
        "wrong"
    ]
    assert row["acknowledged"] == row["processed"] > 50
    assert ran.returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_user_drill_breaks_the_users_server_and_leaves_nothing_on_it(tmp_path: Path) -> None:
    with StandaloneServer(settings={"appendonly": "yes"}) as server:
        kill = [
            sys.executable,
            "-c",
            f"import redis; redis.Redis.from_url({server.url!r}).client_kill_filter(_type='normal')",
        ]
        ran = cli(tmp_path, "drill", "--break", shlex.join(kill), "--seconds", "1", "--json", drill=server.url)
        row = json.loads(ran.stdout)
        assert (ran.returncode, row["drill"], row["lost"], row["wrong"]) == (0, "own", 0, [])
        assert server.command("DBSIZE") == 0


def test_a_failing_command_ends_the_drill(tmp_path: Path) -> None:
    with StandaloneServer() as server:
        ran = cli(tmp_path, "drill", "--break", "false", "--json", drill=server.url)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "oxherd: The command 'false' ended with status 1; the drill was not carried out.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "No drill is named 'nothing'"),
        (["worker", "server", "--url", "redis://127.0.0.1:1"], "breaks its server"),
        (["--break", "true"], "give it --url"),
        (["worker.sigkill", "--break", "true", "--url", "redis://127.0.0.1:1"], "no drill's name"),
        (["--break", "it's", "--url", "redis://127.0.0.1:1"], "quote"),
        (["worker.sigkill", "--url", "nowhere"], "scheme"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(arguments: list[str], says: str, tmp_path: Path) -> None:
    ran = cli(tmp_path, "drill", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_list_names_every_drill(tmp_path: Path) -> None:
    listed = cli(tmp_path, "drill", "--list").stdout.splitlines()
    assert {line[2:].split(" ")[0] for line in listed[:-1]} == set(DRILLS)
    assert {line[2:].split(" ")[0] for line in listed if line.startswith("* ")} - {"runs"} == set(SHORT)


def test_the_records_that_a_drill_accepts_are_those_of_the_reference() -> None:
    rows = [line.split("|") for line in REFERENCE.read_text().splitlines() if line.startswith("| `")]
    documented = {row[1].strip(" `"): row[3] for row in rows if len(row) == 5 and row[2].strip() in LEVELS}
    assert set(documented) == set(DOCUMENTED)
    for name, keys in DOCUMENTED.items():
        assert {key for key in keys if f"`{key}`" in documented[name]} == keys, name


LEVELS = {"INFO", "WARNING", "ERROR", "see Outcomes"}
