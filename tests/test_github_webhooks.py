"""The GitHub webhooks example with a real web server, signed deliveries and an embedded Valkey."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import httpx2 as httpx
import pytest

from oxherd.servers.local_cluster import LocalCluster
from tests.harness import until_sync
from tests.node import node_packages, require_node

ROOT = Path(__file__).parent.parent
SECRET = "It's a Secret to Everybody"
DEADLINE = 60.0
OXHERD = "import sys; from oxherd.cli import main; sys.argv[0] = 'oxherd'; sys.exit(main())"
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")

Record = dict[str, Any]


class JsonLines(logging.Formatter):
    """One JSON object a record, with all that was passed as `extra`, as any JSON formatter of a user's would."""

    _PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in record.__dict__.items() if key not in self._PLAIN}
        shown = {**extra, "msg": record.getMessage(), "logger": record.name, "level": record.levelname}
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown, default=str)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "tests.test_github_webhooks.JsonLines"}},
    "filters": {"context": {"()": "oxherd.ContextFilter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["context"]}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
}


@dataclass
class Delivery:
    event: str
    body: bytes
    id: UUID = field(default_factory=uuid4)

    def headers(self, secret: str = SECRET) -> dict[str, str]:
        digest = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": self.event,
            "X-GitHub-Delivery": str(self.id),
            "X-Hub-Signature-256": f"sha256={digest}",
        }


PING = b'{"zen": "Keep it logically awesome.", "hook_id": 1}'


class Log:
    """The lines of a process's standard error, read as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.records: list[Record] = []
        self._changed = threading.Condition()
        self._ended = False

    def follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._changed:
                    self.lines.append(line)
                    if line.startswith("{"):
                        self.records.append(json.loads(line))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, what: Callable[[Record], bool], count: int = 1) -> list[Record]:
        """The records that fit, once there are `count` of them."""

        def done() -> bool:
            return self._ended or sum(map(what, self.records)) >= count

        with self._changed:
            self._changed.wait_for(done, DEADLINE)
            found = [record for record in self.records if what(record)]
        assert len(found) >= count, f"{len(found)} of {count} records came:\n{''.join(self.lines[-30:])}"
        return found

    @property
    def text(self) -> str:
        return "".join(self.lines)


def says(message: str) -> Callable[[Record], bool]:
    return lambda record: record["msg"] == message


@contextmanager
def running(*command: str, project: Path, **environment: str) -> Generator[Log]:
    """A process in its own project folder, so with a server of its own, and its log; stopped by SIGTERM."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("OXHERD_", "GITHUB_"))}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=project,
        env={**inherited, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    log = Log()
    reader = threading.Thread(target=log.follow, args=[process])
    reader.start()
    try:
        yield log
    finally:
        process.terminate()
        try:
            status = process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            reader.join()
    # uvicorn ends by the signal that stopped it, once it has shut down.
    assert status in {0, -signal.SIGTERM}, log.text[-3000:]


@contextmanager
def web(project: Path, *, process: bool = True, **extra: str) -> Generator[tuple[httpx.Client, Log]]:
    config = project / "logging.json"
    config.write_text(json.dumps(LOGGING))
    command = ["-m", "uvicorn", "examples.github_webhooks:app", "--port", "0", "--log-config", str(config)]
    environment = {"GITHUB_WEBHOOK_SECRET": SECRET, "OXHERD_PROCESS": "1" if process else "0", **extra}
    with running(*command, project=project, **environment) as log:
        (ready,) = log.wait(lambda record: record["msg"].startswith("Uvicorn running on "))
        address = ready["msg"].split()[3]
        with httpx.Client(base_url=address, timeout=DEADLINE, trust_env=False) as client:
            yield client, log


@contextmanager
def worker(project: Path, **environment: str) -> Generator[Log]:
    command = ["-c", OXHERD, "worker", "examples.github_webhooks:herd", "--log-format", "json"]
    with running(*command, project=project, **environment) as log:
        yield log


def post(
    client: httpx.Client, delivery: Delivery, headers: httpx.Headers | dict[str, str] | None = None
) -> httpx.Response:
    return client.post("/webhooks", content=delivery.body, headers=headers or delivery.headers())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "github_webhooks.py", tmp_path / "examples")
    return tmp_path


@pytest.fixture(scope="module")
def deliveries() -> list[Delivery]:
    """Every example of api.github.com, with an id that is the same in every run."""
    require_node()
    index = node_packages() / "@octokit" / "webhooks-examples" / "api.github.com" / "index.json"
    found = [
        Delivery(kind["name"], json.dumps(example, ensure_ascii=False).encode())
        for kind in json.loads(index.read_text())
        for example in kind["examples"]
    ]
    for number, delivery in enumerate(found):
        delivery.id = uuid5(NAMESPACE_URL, f"{delivery.event}/{number}")
    assert len(found) == 329
    return found


def values_below(value: object, word: str) -> Iterator[str]:
    """The strings whose key has a word in it, wherever they are."""
    if isinstance(value, dict):
        for key, part in cast("dict[str, object]", value).items():
            if word in key and isinstance(part, str):
                yield part
            yield from values_below(part, word)
    elif isinstance(value, list):
        for part in cast("list[object]", value):
            yield from values_below(part, word)


def private(deliveries: list[Delivery]) -> set[str]:
    """Every e-mail address in the payloads, and every value of a field that has to do with a token."""
    emails = {email for delivery in deliveries for email in EMAIL.findall(delivery.body.decode())}
    tokens = {token for delivery in deliveries for token in values_below(json.loads(delivery.body), "token")}
    assert len(emails) > 5
    assert tokens
    return emails | tokens


def post_all(client: httpx.Client, deliveries: list[Delivery]) -> None:
    for delivery in deliveries:
        answer = post(client, delivery)
        assert answer.status_code == 202, answer.text
        assert answer.json() == {"id": str(delivery.id)}


def check_log(log: Log, deliveries: list[Delivery]) -> None:
    """Each delivery began once and was completed once, and nothing private is in any line."""
    once = {str(delivery.id): 1 for delivery in deliveries}
    begun = [record for record in log.records if record["msg"] == "event.begin"]
    ended = [record for record in log.records if record["msg"] == "event.end"]
    assert Counter(record["event_id"] for record in begun) == once
    assert Counter(record["event_id"] for record in ended) == once
    assert {record["outcome"] for record in ended} == {"completed"}
    kinds = {str(delivery.id): delivery.event for delivery in deliveries}
    for record in begun:
        assert set(record["payload"]) == {"event", "action", "delivery", "repository", "sender", "summary"}
        assert record["payload"]["event"] == kinds[record["event_id"]]
    summaries = [(record["event_id"], f"processed: {record['payload']['summary']}") for record in begun]
    said = [(record["event_id"], record["msg"]) for record in log.records if record["msg"].startswith("processed: ")]
    assert sorted(said) == sorted(summaries)
    assert [secret for secret in private(deliveries) if secret in log.text] == []


# All of GitHub's examples


@pytest.mark.node
def test_every_delivery_is_processed_once_in_the_process_that_received_it(
    project: Path, deliveries: list[Delivery]
) -> None:
    with web(project) as (client, log):
        post_all(client, deliveries)
        log.wait(says("event.end"), len(deliveries))
    check_log(log, deliveries)


@pytest.mark.slow
@pytest.mark.node
def test_every_delivery_is_processed_once_by_a_separate_worker(project: Path, deliveries: list[Delivery]) -> None:
    with web(project, process=False) as (client, web_log), worker(project) as worker_log:
        post_all(client, deliveries)
        worker_log.wait(says("event.end"), len(deliveries))
    check_log(worker_log, deliveries)
    assert not any(record["msg"].startswith("event.") for record in web_log.records)
    assert [secret for secret in private(deliveries) if secret in web_log.text] == []


@pytest.mark.slow
@pytest.mark.node
def test_the_services_of_compose_work_as_plain_processes_on_a_cluster(
    project: Path, deliveries: list[Delivery], cluster: LocalCluster
) -> None:
    url = {"OXHERD_URL": cluster.url}
    with web(project, process=False, **url) as (client, web_log):
        with worker(project, **url) as first, worker(project, **url) as second:
            post_all(client, deliveries)
            logs = (first, second)

            def ended() -> int:
                return sum(map(says("event.end"), [record for log in logs for record in log.records]))

            until_sync(lambda: ended() >= len(deliveries), DEADLINE)
        assert all(any(record["msg"] == "event.begin" for record in log.records) for log in logs)
        both = Log()
        both.records = [record for log in logs for record in log.records]
        both.lines = [line for log in logs for line in log.lines]
        check_log(both, deliveries)
    assert not any(record["msg"].startswith("event.") for record in web_log.records)


# What is refused


def test_a_delivery_without_a_valid_signature_is_refused_and_emits_nothing(project: Path) -> None:
    refused = Delivery("ping", PING)
    signed = refused.headers()
    unsigned = {key: value for key, value in signed.items() if key != "X-Hub-Signature-256"}
    with web(project) as (client, log):
        assert post(client, refused, refused.headers("another secret")).status_code == 401
        assert post(client, refused, unsigned).status_code == 401
        foreign = httpx.Headers({**signed, "X-Hub-Signature-256": "sha256=é"}, encoding="utf-8")
        assert post(client, refused, foreign).status_code == 401
        assert post(client, Delivery("ping", PING + b" "), signed).status_code == 401

        accepted = Delivery("ping", PING)
        assert post(client, accepted).status_code == 202
        log.wait(says("event.end"))
    assert [record["event_id"] for record in log.records if record["msg"] == "event.begin"] == [str(accepted.id)]


def test_an_unreadable_delivery_is_refused_with_the_right_status(project: Path) -> None:
    with web(project, process=False) as (client, _log):
        for body in (b"", b"{", b"[]", b'"text"', b"payload=%7B%7D", b"\xff", b'{"a": NaN}', b"[" * 100_000):
            assert post(client, Delivery("ping", body)).status_code == 400, body[:20]
        nameless = Delivery("ping", PING)
        without = {key: value for key, value in nameless.headers().items() if key != "X-GitHub-Event"}
        assert post(client, nameless, without).status_code == 400
        assert post(client, Delivery("ping", b" " * (25 * 1024 * 1024 + 1))).status_code == 413
        assert client.get("/webhooks").status_code == 405


# What an id is


def test_a_repeated_delivery_is_processed_once(project: Path) -> None:
    delivery = Delivery("ping", PING)
    with web(project, process=False) as (client, _web_log):
        assert [post(client, delivery).json() for _ in range(2)] == [{"id": str(delivery.id)}] * 2
        last = Delivery("ping", PING)
        assert post(client, last).status_code == 202
        with worker(project) as log:
            log.wait(says("event.end"), 2)
    begun = Counter(record["event_id"] for record in log.records if record["msg"] == "event.begin")
    assert begun == {str(delivery.id): 1, str(last.id): 1}


def test_a_delivery_without_a_uuid_gets_one(project: Path) -> None:
    delivery = Delivery("ping", PING)
    with web(project) as (client, log):
        answer = post(client, delivery, {**delivery.headers(), "X-GitHub-Delivery": "first"})
        assert answer.status_code == 202
        assert UUID(answer.json()["id"]).version == 7
        (ended,) = log.wait(says("event.end"))
    assert ended["event_id"] == answer.json()["id"]
