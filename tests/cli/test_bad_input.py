"""What is wrong is said in one line, with status 2, and nothing of it reaches Redis."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from oxherd import OxherdError
from oxherd.servers.ports import free_ports
from oxherd.servers.standalone import StandaloneServer
from tests.cli.support import WriteApp, keys, one_line, redis, refused
from tests.harness import cli

APP = """
from pydantic import BaseModel, SecretStr
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX, emit_timeout=1)
other = 7

class Order(BaseModel):
    order_id: int
    email: str = "alice@example.com"
    card: SecretStr = SecretStr("")

@herd.event("order.placed", max_payload=200)
async def order_placed(order: Order) -> None: ...

@herd.event("mail.sent")
async def mail_sent(order: Order) -> None: ...
"""

GOOD = '{"order_id": 1}'


@pytest.fixture
def app(write_app: WriteApp, standalone: str, prefix: str) -> Iterator[Path]:
    """An app's folder; whatever the test does, nothing may be enqueued."""
    yield write_app(APP)
    assert keys(standalone, prefix) == []


def test_an_unknown_event_is_refused_with_the_nearest_name(app: Path, standalone: str) -> None:
    for command in (["emit", "app:herd", "order.palced", GOOD], ["worker", "app:herd", "--event", "order.palced"]):
        error = refused(app, *command, url=standalone)
        assert "'order.palced'" in error
        assert "did you mean 'order.placed'?" in error


def test_an_event_unlike_any_other_is_refused_with_the_list_of_events(app: Path, standalone: str) -> None:
    error = refused(app, "emit", "app:herd", "xyz", GOOD, url=standalone)
    assert "mail.sent, order.placed" in error


@pytest.mark.parametrize("payload", ['{"card": "kanarie7391"}', "4111111111111111"])
def test_a_payload_given_as_the_event_is_not_shown(app: Path, standalone: str, payload: str) -> None:
    error = refused(app, "emit", "app:herd", payload, "order.placed", url=standalone)
    assert "event" in error
    assert "kanarie7391" not in error
    assert "41111111" not in error


def test_a_payload_of_the_wrong_type_is_refused_with_the_field_and_without_the_value(
    app: Path, standalone: str
) -> None:
    payload = '{"order_id": "seventeen", "email": 4111111111111111, "card": ["hunter22"]}'
    error = refused(app, "emit", "app:herd", "order.placed", payload, url=standalone)
    for field in ("order_id", "email", "card"):
        assert field in error
    for value in ("seventeen", "4111", "hunter22"):
        assert value not in error


def test_a_missing_field_is_named(app: Path, standalone: str) -> None:
    assert "order_id: Field required" in refused(app, "emit", "app:herd", "order.placed", "{}", url=standalone)


@pytest.mark.parametrize(
    "text", ["{order_id: hunter22}", '{"order_id": 1', "", "hunter22", '{"order_id": 1} hunter22', '{"order_id": NaN}']
)
def test_json_that_does_not_parse_is_refused_without_being_shown(text: str, app: Path, standalone: str) -> None:
    error = refused(app, "emit", "app:herd", "order.placed", text, url=standalone)
    assert error.startswith("order.placed: ")
    assert "JSON" in error or "order_id" in error
    assert "hunter22" not in error


def test_a_payload_over_the_limit_is_refused_with_both_sizes(app: Path, standalone: str) -> None:
    payload = f'{{"order_id": 1, "email": "{"x" * 300}"}}'
    error = refused(app, "emit", "app:herd", "order.placed", payload, url=standalone)
    assert "200 bytes" in error
    assert "xxx" not in error


def test_the_limit_is_one_mebibyte_unless_the_event_says_otherwise(app: Path, standalone: str) -> None:
    line = f'{{"order_id": 1, "email": "{"x" * 1024 * 1024}"}}\n'
    error = refused(app, "emit", "app:herd", "mail.sent", "-", url=standalone, stdin=line)
    assert "1048576 bytes" in error


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ('{"order_id": "hunter22"}', "order_id"),
        ("{hunter22}", "JSON"),
        (f'{{"order_id": 1, "email": "{"x" * 300}"}}', "200 bytes"),
    ],
)
def test_one_wrong_line_is_named_and_nothing_is_emitted(wrong: str, says: str, app: Path, standalone: str) -> None:
    lines = [GOOD, GOOD, "", wrong, GOOD]
    error = refused(app, "emit", "app:herd", "order.placed", "-", url=standalone, stdin="\n".join(lines))
    assert error.startswith("line 4: ")
    assert says in error
    assert "hunter22" not in error


DECLARES = "\nfrom oxherd import Cron, Every, Retry\nasync def order_placed_async(order): ...\n"

DECLARED_WRONG = {
    "a cron expression": ("Cron('61 * * * *')", ["'61 * * * *'", "minute"]),
    "a cron expression of three fields": ("Cron('* * *')", ["'* * *'", "5 fields"]),
    "a time zone": ("Cron('0 2 * * *', tz='Europe/Pariss')", ["'Europe/Pariss'", "'Europe/Paris'"]),
    "an interval": ("Every(0)", ["interval"]),
    "two events of one name": ("herd.declare('mail.sent', Order)", ["'mail.sent'", "twice"]),
    "a concurrency of 0": ("herd.declare('a', Order, concurrency=0)", ["concurrency", "at least 1"]),
    "an event name with a space": ("herd.declare('order placed', Order)", ["'order placed'", "event name"]),
    "an event name that begins with a dot": ("herd.declare('.a', Order)", ["'.a'", "event name"]),
    "an empty event name": ("herd.declare('', Order)", ["''", "event name"]),
    "a timeout": ("herd.declare('a', Order, timeout=-1)", ["timeout"]),
    "attempts": ("Retry(attempts=0)", ["attempts"]),
    "a handler": ("herd.event('a')(lambda: None)", ["payload"]),
    "an async sanitiser": ("herd.declare('a', Order).sanitize(order_placed_async)", ["async"]),
}


EVERY_COMMAND = (
    ["emit", "app:herd", "order.placed", GOOD],
    ["worker", "app:herd"],
    ["worker", "app:herd", "--processes", "2"],
    ["check", "app:herd"],
)


@pytest.mark.parametrize("what", DECLARED_WRONG)
def test_a_declaration_that_cannot_work_is_an_error_that_says_why(what: str) -> None:
    code, said = DECLARED_WRONG[what]
    app = f"{APP}{DECLARES}{code}\n".replace("PREFIX", "'test'")
    with pytest.raises(OxherdError) as caught:
        exec(compile(app, "app.py", "exec", dont_inherit=True), {"__name__": "app"})
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_a_declaration_that_cannot_work_is_refused_by_every_command(
    command: list[str], write_app: WriteApp, standalone: str, prefix: str
) -> None:
    code, said = DECLARED_WRONG["a concurrency of 0"]
    error = refused(write_app(f"{APP}{DECLARES}{code}\n"), *command, url=standalone)
    for part in said:
        assert part in error
    assert keys(standalone, prefix) == []


WRONG_URLS = {
    "http://bob:hunter22@localhost": "'http'",
    "redis://localhost:hunter22": "port",
    "redis://bob:hunter22@hunter22@localhost:x": "port",
}


@pytest.mark.parametrize("url", WRONG_URLS)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, write_app: WriteApp) -> None:
    folder = write_app(APP)
    for command in EVERY_COMMAND[:2] + EVERY_COMMAND[3:] if url.startswith("http") else EVERY_COMMAND[:1]:
        error = refused(folder, *command, url=url)
        assert WRONG_URLS[url] in error
        assert "hunter22" not in error


def test_a_password_is_not_shown_when_the_server_refuses_it_or_is_down(write_app: WriteApp) -> None:
    folder = write_app(APP)
    with StandaloneServer(password="right") as server:
        unreachable = f"redis://bob:hunter22@127.0.0.1:{free_ports(1)[0]}/0"
        for url in (f"redis://bob:hunter22@127.0.0.1:{server.port}/0", unreachable):
            for command in (["emit", "app:herd", "order.placed", GOOD], ["check", "app:herd"]):
                done = cli(folder, *command, url=url)
                assert done.returncode == 1
                assert "Traceback" not in done.stderr
                assert "hunter22" not in done.stdout + done.stderr


TARGETS = {
    "a module that is not there": ("nowhere:herd", "'nowhere'"),
    "a module's name that is misspelt": ("ap:herd", "did you mean 'app'?"),
    "a submodule that is not there": ("app.nowhere:herd", "app"),
    "a file": ("app.py:herd", "did you mean 'app'?"),
    "no herd": ("app:nothing", "'nothing'"),
    "a herd's name that is misspelt": ("app:hred", "did you mean 'herd'?"),
    "something else": ("app:other", "of type int); did you mean 'herd'?"),
    "a function": ("app:Oxherd.run", "of type function); did you mean 'herd'?"),
    "a module of the standard library": ("json:herd", "json/__init__.py"),
    "no colon": ("app", "MODULE:HERD"),
    "no module": (":herd", "MODULE:HERD"),
    "no name": ("app:", "MODULE:HERD"),
    "a relative module": (".app:herd", "MODULE:HERD"),
}


@pytest.mark.parametrize("what", TARGETS)
def test_a_herd_that_is_not_found_is_wrong_usage(what: str, app: Path, standalone: str) -> None:
    target, said = TARGETS[what]
    assert said in refused(app, "emit", target, "order.placed", GOOD, url=standalone)


def test_a_missing_module_is_wrong_usage_for_each_command(app: Path, standalone: str) -> None:
    for command in EVERY_COMMAND:
        words = [word.replace("app:herd", "nowhere:herd") for word in command]
        assert "'nowhere'" in refused(app, *words, url=standalone)


OPTIONS: dict[str, tuple[list[str], str]] = {
    "unknown": (["worker", "app:herd", "--bogus"], "--bogus"),
    "log format": (["worker", "app:herd", "--log-format", "xml"], "--log-format"),
    "no processes": (["worker", "app:herd", "--processes", "0"], "--processes"),
    "processes in words": (["worker", "app:herd", "--processes", "two"], "--processes"),
    "negative stop timeout": (["worker", "app:herd", "--stop-timeout", "-1"], "--stop-timeout"),
    "stop timeout that is no number": (["worker", "app:herd", "--stop-timeout", "nan"], "--stop-timeout"),
    "no value": (["worker", "app:herd", "--event"], "--event"),
    "no herd": (["worker"], "MODULE:HERD"),
    "no payload": (["emit", "app:herd", "order.placed"], "JSON"),
    "unknown command": (["wrok"], "wrok"),
    "no command": ([], "oxherd --help"),
}


@pytest.mark.parametrize("what", OPTIONS)
def test_wrong_options_are_refused_by_name(what: str, app: Path, standalone: str) -> None:
    words, said = OPTIONS[what]
    assert said in refused(app, *words, url=standalone)


def test_an_unquoted_json_is_refused_without_being_shown(app: Path, standalone: str) -> None:
    words = ["{card:", "hunter22,", "--hunter22", "-hunter22", "--hunter22=hunter22", "hunter22}"]
    for count in range(2, len(words) + 1):
        error = refused(app, "emit", "app:herd", "order.placed", *words[:count], url=standalone)
        assert "single quotes" in error
        assert "hunter22" not in error


@pytest.mark.parametrize(
    "words",
    [
        ["app:herd", '{"card": "hunter22"}', "order.placed"],
        ['{"card": "hunter22"}', "app:herd", "order.placed"],
        ["app:herd", "order.placed", "-hunter22"],
        ["app:herd", "order.placed", "--hunter22"],
    ],
)
def test_a_payload_in_the_wrong_place_is_not_shown(words: list[str], app: Path, standalone: str) -> None:
    assert "hunter22" not in refused(app, "emit", *words, url=standalone)


@pytest.mark.parametrize(
    "words",
    [
        ['{"card": "hunter22"}'],
        ["check", "app:herd", '{"card": "hunter22"}'],
        ["worker", "app:herd", "--processes", '{"card": "hunter22"}'],
        ["worker", "app:herd", "--log-format", '{"card": "hunter22"}'],
        ["worker", "app:herd", '--{"card": "hunter22"}'],
        ["worker", "app:herd", '--event={"card": "hunter22"}', "--bogus"],
        ["dev", "it's {hunter22}\n"],
    ],
)
def test_a_payload_given_to_another_command_is_not_shown(words: list[str], app: Path, standalone: str) -> None:
    assert "hunter22" not in refused(app, *words, url=standalone)


def test_a_payload_that_is_not_utf8_is_refused_like_invalid_json(app: Path, standalone: str) -> None:
    payload = os.fsdecode(b'{"order_id": 1, "email": "caf\xe9"}')
    error = refused(app, "emit", "app:herd", "order.placed", payload, url=standalone)
    assert "it is not valid JSON" in error


def test_an_emit_prints_the_uuid_and_nothing_else(write_app: WriteApp, standalone: str, prefix: str) -> None:
    done = cli(write_app(APP), "emit", "app:herd", "order.placed", GOOD, url=standalone)
    assert (done.returncode, done.stderr) == (0, "")
    event_id = uuid.UUID(done.stdout.strip())
    assert event_id.version == 7
    assert done.stdout == f"{event_id}\n"
    assert redis(standalone, "LRANGE", f"{prefix}:{{order.placed}}:wait", 0, -1) == [str(event_id)]


def test_lines_are_emitted_in_order_with_a_uuid_a_line(write_app: WriteApp, standalone: str, prefix: str) -> None:
    lines = "".join(f'{{"order_id": {number}}}\n' + "\n" * (number % 2) for number in range(30))
    done = cli(write_app(APP), "emit", "app:herd", "order.placed", "-", url=standalone, stdin=lines)
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.splitlines()
    assert len(printed) == 30
    base = f"{prefix}:{{order.placed}}"
    assert redis(standalone, "LRANGE", f"{base}:wait", 0, -1) == printed[::-1]
    stored = [str(redis(standalone, "HGET", f"{base}:{event_id}", "data")) for event_id in printed]
    assert [f'{{"order_id":{number},' in data for number, data in enumerate(stored)] == [True] * 30


def test_no_lines_emit_nothing(app: Path, standalone: str) -> None:
    done = cli(app, "emit", "app:herd", "order.placed", "-", url=standalone, stdin="\n\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_emit_fails_within_its_deadline_if_no_server_listens(write_app: WriteApp) -> None:
    folder = write_app(APP)
    url = f"redis://127.0.0.1:{free_ports(1)[0]}/0"
    for payload, stdin in ((GOOD, ""), ("-", f"{GOOD}\n{GOOD}\n")):
        begun = time.monotonic()
        error = one_line(cli(folder, "emit", "app:herd", "order.placed", payload, url=url, stdin=stdin), 1)
        assert time.monotonic() - begun < 9  # less than the default, on a busy machine too
        assert "order.placed was not acknowledged" in error
        assert "it is not stored" in error


def test_an_emit_fails_within_its_deadline_if_the_server_does_not_answer(write_app: WriteApp, prefix: str) -> None:
    folder = write_app(APP)
    with StandaloneServer() as server:
        server.pause()
        begun = time.monotonic()
        error = one_line(cli(folder, "emit", "app:herd", "order.placed", GOOD, url=server.url), 1)
        took = time.monotonic() - begun
        server.resume()
    assert took < 9, took
    assert "order.placed was not acknowledged" in error
