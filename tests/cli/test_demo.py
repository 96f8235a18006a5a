"""`oxherd demo` shows the product in seconds, on a real server, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from oxherd.servers.ports import free_ports
from tests.cli.support import start
from tests.harness import cli, until_sync
from tests.servers.conftest import running_in

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
KINDS = {"embedded": [], "cluster": ["--cluster"]}


@pytest.mark.parametrize("kind", KINDS)
def test_the_demo_shows_every_part_and_leaves_nothing_behind(kind: str, project: Path, temporary: Path) -> None:
    begun = time.monotonic()
    # The server of OXHERD_URL is not used.
    done = cli(project, "demo", *KINDS[kind], url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    took = time.monotonic() - begun
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 20, took  # under ten on an idle machine
    out = done.stdout

    # Emit, begin and end, a retry, a failure, ticks of a schedule, a graceful stop, a table.
    assert len(set(re.findall(UUID, out))) >= 4
    for event in ("order.placed", "mail.send", "card.charge", "report.write"):
        assert re.search(rf"^\s+{event}\s+{UUID}$", out, re.MULTILINE) or event == "report.write"
        assert re.search(rf"{event} +#1  [0-9a-f]{{12}}  begin", out)
    assert re.search(r"mail\.send +#1  [0-9a-f]{12}  retrying", out)
    assert re.search(r"mail\.send +#2  [0-9a-f]{12}  completed", out)
    assert re.search(r"card\.charge +#2  [0-9a-f]{12}  failed", out)
    assert len(re.findall(r"report\.write +#1  [0-9a-f]{12}  completed", out)) >= 2
    stop = out.index("worker.stop")
    assert out.index("stop:") < out.rindex("reserving the goods") < out.rindex("completed", 0, stop) < stop

    # No personal data.
    assert not re.search(r"[\w.]+@[\w-]+\.\w+", out)
    assert not re.search(r"4111\W?1111", out)
    assert "a***@***" in out
    assert "\033" not in out

    rows = {
        line.split()[0]: line.split()[1:]
        for line in out[out.index("Outcomes, and what") :].splitlines()
        if line.split()
    }
    assert rows["order.placed"][:6] == ["2", "2", "0", "0", "0", "0"]
    assert rows["mail.send"][:6] == ["1", "1", "1", "0", "0", "0"]
    assert rows["card.charge"][:6] == ["1", "0", "1", "1", "0", "1"]
    emitted, completed, *others = map(int, rows["report.write"][:6])
    assert emitted == completed >= 2
    assert others == [0, 0, 0, 0]
    if kind == "cluster":
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+", row[8]) for name, row in rows.items() if "." in name[1:-1])
        assert len({rows[name][7] for name in ("order.placed", "mail.send", "card.charge", "report.write")}) == 4
    assert [path.name for path in project.iterdir()] == ["pyproject.toml"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", KINDS)
def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    kind: str, number: signal.Signals, project: Path, temporary: Path
) -> None:
    process = start(project, "demo", *KINDS[kind])
    try:
        assert process.stdout is not None
        until_sync(lambda: running_in(temporary) or process.poll() is not None)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in {130, 143, -signal.SIGTERM}, (process.returncode, out, err)
    assert "Traceback" not in out + err
