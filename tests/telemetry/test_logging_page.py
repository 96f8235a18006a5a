"""The programs of docs/logging.md log what the page says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.harness import run
from tests.telemetry.support import ROOT

PAGE = (ROOT / "docs" / "logging.md").read_text()
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What runs the page's herd, which processes one event and ends.
RUN = """
async def main() -> None:
    async with herd:
        print((await order_placed.emit(7)).id)
        await herd.start()
        while not done:
            await asyncio.sleep(0.01)


done = []
herd.signals.subscribe(lambda signal: done.append(1) if type(signal).__name__ == "EventEnded" else None)
asyncio.run(main())
"""


def logged_by(
    section: str, folder: Path, url: str, prefix: str, change: tuple[str, str] = ("", "")
) -> tuple[str, list[str], list[str]]:
    """The event's id, what its program has logged of the event, and what the page says that it does."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    program, shown = re.findall(r"^```(?:python)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    program = program.replace("Oxherd()", f"Oxherd(prefix={prefix!r})") + RUN
    assert change[0] in program
    program = program.replace(*change) if change[0] else program
    (folder / "program.py").write_text(program)
    done = run(folder, sys.executable, "program.py", OXHERD_URL=url)
    assert done.returncode == 0, done.stderr
    event_id = done.stdout.strip()
    return event_id, [line for line in done.stderr.splitlines() if event_id in line], shown.splitlines()


def test_standard_logging_carries_the_id_also_from_a_thread(standalone: str, tmp_path: Path, prefix: str) -> None:
    event_id, logged, shown = logged_by("Standard logging", tmp_path, standalone, prefix)
    assert logged == [UUID.sub(event_id, line) for line in shown]


def test_structlog_renders_its_own_lines_and_ours_alike(standalone: str, tmp_path: Path, prefix: str) -> None:
    event_id, logged, shown = logged_by("structlog", tmp_path, standalone, prefix)
    found: list[dict[str, Any]] = [json.loads(line) for line in logged]
    assert [line["event"] for line in found] == ["event.begin", "charging", "event.end"]
    for wanted, line in zip(shown, found, strict=False):
        told = json.loads(UUID.sub(event_id, wanted))
        assert list(told) == list(line)
        assert told | {"timestamp": 0} == line | {"timestamp": 0}
    assert found[-1]["outcome"] == "completed"
    assert found[-1]["duration_ms"] >= 0


def test_structlog_renders_the_errors_that_handlers_log(standalone: str, tmp_path: Path, prefix: str) -> None:
    failing = """
    try:
        raise KeyError("no such order")
    except KeyError:
        logging.getLogger("shop.std").exception("by standard logging")
        log.exception("by structlog")
"""
    change = ('    log.info("charging", order_id=order_id)', failing)
    _, logged, _ = logged_by("structlog", tmp_path, standalone, prefix, change)
    found = {line["event"]: line for line in map(json.loads, logged)}
    for how in ("by standard logging", "by structlog"):
        assert found[how]["exception"].endswith("KeyError: 'no such order'")
        assert "exc_info" not in found[how]
