"""What `oxherd types` writes is used by Node: a producer that tsc compiles, mistakes that it refuses, a board."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest

from oxherd import Oxherd
from oxherd.servers.ports import free_ports
from tests.harness import WorkerProcess, cli, environment, run, until
from tests.node import node_packages, require_node

pytestmark = [pytest.mark.node, pytest.mark.slow]

PAGE = (Path(__file__).parents[2] / "docs" / "node.md").read_text()
PRODUCER = """
import { Queue, Worker } from "bullmq";
import type { EmitOptions, EventJob, EventQueue, EventWorker, Payload, Prefix } from "./types/events.js";
import type { Result, Stored } from "./types/events.js";

const connection = { host: "127.0.0.1" };
const orders: EventQueue<"order.placed"> = new Queue("{order.placed}", { connection });
const prefix: Prefix = "bull";
const shared: EventQueue<"mail.sent" | "mail.read"> = new Queue("mail", { connection, prefix });
const card = { kind: "card", token: "t" } as const;
const order: Payload<"order.placed"> = { order_id: 7, items: ["book"], pay: card };
const options: EmitOptions = { attempts: 5, "ox:expires": 60000 };

"""
RIGHT = """
await orders.add("order.placed", order, options);
await orders.add("order.placed", { ...order, note: null, pay: { kind: "invoice", due_in_days: 3 } });
await orders.addBulk([{ name: "order.placed", data: order, opts: { priority: 1 } }]);
await orders.upsertJobScheduler("nightly", { pattern: "0 2 * * *" }, { name: "order.placed", data: order });
await shared.addBulk([{ name: "mail.sent", data: [1, "a"] }, { name: "mail.read", data: { a: { "b.c": [null] } } }]);
await orders.pause();
console.log((await orders.getJobCounts()).waiting, (await orders.getWorkers()).length);
type Name = "order.placed";
export const worker: EventWorker<Name> = new Worker<Stored<Name>, Result<Name>, Name>(
  "{order.placed}", async (job) => ({ number: `${job.data.order_id}` }), { connection });
export const told = (job: EventJob<"mail.sent" | "mail.read">) =>
  job.name === "mail.sent" ? job.data[0] + 1 : Object.keys(job.data).length;
export const opened = (stored: Stored<"secret.told">): string =>
  typeof stored.card === "string" ? stored.card : stored.card["oxherd:sealed"];
export const whole = (stored: Stored<"secret.kept">): string => stored["oxherd:sealed"];
"""
MISTAKES = [
    'await orders.add("order.payed", order);',
    'await orders.add("order.placed");',
    'await orders.add("order.placed", { items: ["book"], pay: card });',
    'await orders.add("order.placed", { ...order, order_id: "7" });',
    'await orders.add("order.placed", { ...order, order_ID: 7 });',
    'await orders.add("order.placed", { ...order, items: "book" });',
    'await orders.add("order.placed", { ...order, note: undefined as undefined | number });',
    'await orders.add("order.placed", { ...order, pay: { token: "t" } });',
    'await orders.add("order.placed", { ...order, pay: { kind: "invoice", token: "t" } });',
    'await orders.add("order.placed", { ...order, pay: { kind: "cash" } });',
    'await orders.add("order.placed", order, { attempt: 5 });',
    'await orders.add("order.placed", order, { "ox:expires": "60" });',
    'await orders.addBulk([{ name: "order.placed", data: { order_id: 7 } }]);',
    'await orders.upsertJobScheduler("nightly", { pattern: "0 2 * * *" }, { name: "order.placed", data: 7 });',
    'await shared.add("mail.sent", { a: {} });',
    'await shared.add("mail.sent", [1, "a", 2]);',
    'await shared.addBulk([{ name: "mail.read", data: [1, "a"] }]);',
    'const failures: EventQueue<"order.failed"> = shared;',
    'const secrets: EventQueue<"secret.kept"> = shared;',
    'const other: Prefix = "bulls";',
    'const result: Result<"order.placed"> = { number: 7 };',
    'const text = (stored: Stored<"secret.told">): string => stored.card;',
]
MORE = """

from typing import Any

from oxherd import Failure, Keyring


class Secret(BaseModel):
    card: str


herd.declare("mail.sent", tuple[int, str], queue="mail")
herd.declare("mail.read", dict[str, dict[str, list[Any]]], queue="mail")
herd.declare("order.failed", Failure[OrderPlaced])
herd.declare("secret.told", Secret, seal=Keyring({"k": b"x" * 32}).fields("card"))
herd.declare("secret.kept", Secret, seal=Keyring({"k": b"x" * 32}, strict=True))
"""
SETTINGS = """{
  "compilerOptions": {
    "strict": true, "target": "es2022", "module": "nodenext", "moduleResolution": "nodenext", "types": ["node"],
    "outDir": "built", "exactOptionalPropertyTypes": true
  },
  "files": ["producer.ts"]
}"""


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that Node's packages, the settings and the page's application are in."""
    require_node()
    (tmp_path / "node_modules").symlink_to(node_packages())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(SETTINGS)
    (tmp_path / "app.py").write_text(block("python"))
    return tmp_path


def compiled(folder: Path, program: str) -> list[str]:
    """What the compiler has to say of a program."""
    (folder / "producer.ts").write_text(program)
    return run(folder, "node_modules/.bin/tsc", "--project", ".").stdout.splitlines()


def test_the_pages_producer_compiles_and_its_event_is_processed(
    folder: Path, redis7: str, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    (folder / "app.py").write_text(block("python").replace("Oxherd()", f"Oxherd(prefix={prefix!r})"))
    written = cli(folder, "types", "app:herd", "--out", "types")
    assert written.stdout == block("console").partition("\n")[2]
    program = block("ts").replace("{ connection }", f"{{ connection, prefix: {prefix!r} satisfies Prefix }}")
    assert compiled(folder, program.replace("QueueName }", "Prefix, QueueName }")) == []
    worker = start_worker(url=redis7)
    worker.wait("worker.start")
    done = run(folder, str(shutil.which("node")), "built/producer.js", OXHERD_URL=redis7)
    assert (done.stdout, done.stderr) == ("R-7\n", "")
    worker.wait("event.end", outcome="completed", event="order.placed")


async def test_the_pages_board_shows_the_events_and_no_payload(
    folder: Path, redis7: str, make_herd: Callable[..., Oxherd], prefix: str
) -> None:
    (folder / "app.py").write_text(block("python").replace("Oxherd()", f"Oxherd(prefix={prefix!r})"))
    cli(folder, "types", "app:herd", "--out", "types")
    (folder / "board.js").write_text(block("js"))
    herd = make_herd(redis7)
    async with herd:
        await herd.declare("order.placed", str).emit("alice@example.com")
        (port,) = free_ports(1)
        variables = environment(OXHERD_URL=redis7, PORT=str(port))
        board = await asyncio.create_subprocess_exec(str(shutil.which("node")), "board.js", cwd=folder, env=variables)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:

                async def answer() -> httpx.Response | None:
                    with suppress(httpx.TransportError):
                        return await http.get("/api/queues?activeQueue=%257Border.placed%257D&page=1&jobsPerPage=9")

                (queue,) = (await until(answer)).json()["queues"]
                schema = (await http.get("/api/queues/%7Border.placed%7D/job-data-schema")).json()
        finally:
            board.kill()
            await board.wait()
    (job,) = queue["jobs"]
    assert (queue["name"], job["name"], job["data"]) == ("{order.placed}", "order.placed", "not shown")
    assert schema == json.loads((folder / "types/events.json").read_text())["events"]["order.placed"]["payload"]


def test_what_is_right_compiles_and_each_mistake_is_refused(folder: Path) -> None:
    (folder / "app.py").write_text(block("python") + MORE)
    cli(folder, "types", "app:herd", "--out", "types")
    assert compiled(folder, PRODUCER + RIGHT) == []
    # One program a mistake would take minutes: each must be refused in its own line, and every one is.
    refused = [line for line in compiled(folder, PRODUCER + "\n".join(MISTAKES)) if line.startswith("producer.ts")]
    first = PRODUCER.count("\n") + 1
    lines = {int(line.split("(")[1].split(",")[0]) - first for line in refused}
    assert lines == set(range(len(MISTAKES))), [mistake for n, mistake in enumerate(MISTAKES) if n not in lines]
