"""`oxherd types` writes what Node's programs need to know of the events, or says in a line why not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import one_line
from tests.harness import cli, environment

APP = '''
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr
from oxherd import Failure, Keyring, Oxherd

herd = Oxherd("redis://127.0.0.1:1", prefix="shop")
ring = Keyring({"k": b"x" * 32})
strict = Keyring({"k": b"x" * 32}, strict=True)


class Order(BaseModel):
    """What a customer has ordered."""
    order_id: Annotated[int, Field(ge=1)]
    tags: set[str] = {"a", "b", "c", "d"}
    card: SecretStr | None = None


herd.declare("order.paid", Order, result=list[int], shards=3)
herd.declare("order.sealed", Order, seal=ring)
herd.declare("order.carded", Order, seal=ring.fields("card"))
herd.declare("order.strict", Order, seal=strict)
failed = herd.declare("order.failed", Failure[Order])


@herd.event("order.placed", queue="orders", on_failed=failed)
async def order_placed(order: Order) -> str: ...
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_the_declarations_are_printed_and_nothing_of_a_server_is_needed(folder: Path) -> None:
    done = cli(folder, "types", "app:herd")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "/** What a customer has ordered. */\nexport interface Order {\n  /** @minimum 1 */\n  order_id: number;\n"
        in (done.stdout)
    )
    assert (
        """
  "order.placed": {
    payload: Order;
    stored: Order;
    result: string;
    queue: "orders";
    shards: 1;
    emittable: true;
  };
"""
        in done.stdout
    )
    assert 'export type Prefix = "shop";' in done.stdout


def test_a_folder_gets_the_declarations_and_json_schemas(folder: Path) -> None:
    done = cli(folder, "types", "app:herd", "--out", "web/types")
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "6 events: web/types/events.d.ts, web/types/events.json\n", "",
    )  # fmt: skip
    assert sorted(path.name for path in (folder / "web/types").iterdir()) == ["events.d.ts", "events.json"]
    assert (folder / "web/types/events.d.ts").read_text() == cli(folder, "types", "app:herd").stdout
    found = json.loads((folder / "web/types/events.json").read_text())
    assert found["prefix"] == "shop"
    paid = found["events"]["order.paid"]
    assert (paid["queue"], paid["shards"], len(paid["queues"])) == ("{order.paid}", 3, 3)
    assert paid["payload"]["required"] == ["order_id"]
    assert paid["result"]["items"] == {"type": "integer"}
    assert paid["payload"]["properties"]["tags"]["default"] == ["a", "b", "c", "d"]


def test_what_node_cannot_send_is_not_emittable_and_what_is_sealed_is_said(folder: Path) -> None:
    cli(folder, "types", "app:herd", "--out", ".")
    events = json.loads((folder / "events.json").read_text())["events"]
    assert {name: (event["emittable"], event["sealed"]) for name, event in events.items()} == {
        "order.carded": (True, ["card"]),
        "order.failed": (False, False),
        "order.paid": (True, False),
        "order.placed": (True, False),
        "order.sealed": (True, True),
        "order.strict": (False, True),
    }
    text = (folder / "events.d.ts").read_text()
    assert 'stored: WithSealed<Order, "card">;' in text
    assert "stored: Order | Sealed;" in text
    assert "payload: Order;\n    stored: Sealed;" in text
    assert "payload: OxherdFailure;" in text


def test_the_output_does_not_depend_on_the_process(folder: Path) -> None:
    outputs: set[str] = set()
    for seed in ("1", "2", "3"):
        command = [sys.executable, "-m", "oxherd", "types", "app:herd", "--out", "out"]
        subprocess.run(command, cwd=folder, env=environment(PYTHONHASHSEED=seed), check=True, capture_output=True)
        outputs.add("".join((folder / "out" / name).read_text() for name in ("events.d.ts", "events.json")))
    assert len(outputs) == 1


def test_a_reader_that_closes_early_gets_no_traceback(folder: Path) -> None:
    command = [sys.executable, "-m", "oxherd", "types", "app:herd"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.stderr.read() == b""
        assert started.wait() == 1


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "taken").write_text("")
    error = one_line(cli(folder, "types", "app:herd", "--out", "taken"), 1)
    assert error == "taken cannot be written (File exists); give --out another folder."
    (folder / "out/events.json").mkdir(parents=True)
    error = one_line(cli(folder, "types", "app:herd", "--out", "out"), 1)
    assert error == "out cannot be written (Is a directory); give --out another folder."


WITHOUT_SCHEMA = """
from typing import Annotated, Any

from pydantic import WithJsonSchema
from pydantic_core import core_schema
from oxherd import Oxherd

herd = Oxherd()


class Odd:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return core_schema.no_info_plain_validator_function(lambda value: value)


herd.declare("odd.one", Odd)
herd.declare("odd.two", dict[str, Odd])
herd.declare("fine", Annotated[Odd, WithJsonSchema({"type": "string"})])


@herd.event("returns.odd")
async def returns_odd(number: int) -> Odd: ...
"""


def test_events_without_a_schema_are_named_with_the_remedy_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(WITHOUT_SCHEMA)
    error = one_line(cli(tmp_path, "types", "app:herd", "--out", "out"), 2)
    assert error == (
        "The payload's type of odd.one, odd.two has no JSON Schema; annotate what pydantic cannot describe with "
        "pydantic.WithJsonSchema({...})."
    )
    assert not (tmp_path / "out").exists()


def test_a_result_that_has_no_schema_is_unknown(tmp_path: Path) -> None:
    app = WITHOUT_SCHEMA.replace('herd.declare("odd.one", Odd)', "").replace(
        'herd.declare("odd.two", dict[str, Odd])', ""
    )
    (tmp_path / "app.py").write_text(app)
    done = cli(tmp_path, "types", "app:herd")
    assert "payload: number;\n    stored: number;\n    result: unknown;" in done.stdout
    assert '"fine": {\n    payload: string;' in done.stdout


def test_a_herd_without_events_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from oxherd import Oxherd\nherd = Oxherd()\n")
    error = one_line(cli(tmp_path, "types", "app:herd"), 2)
    assert error == "The herd declares no event; decorate a function with @herd.event(...)."
