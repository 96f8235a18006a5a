"""A dashboard in processes of its own: a server, a worker, the pages, and a browser before them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from oxherd.servers.standalone import StandaloneServer
from tests.harness import WorkerProcess, cli, environment, run, until_sync
from tests.node import node_packages, require_node

CHROMIUM = "/usr/bin/chromium"
_SAMPLE = Path(__file__).parent / "sample_herd.py"

# A machine that is busy with other tests takes its time.
EXPECT_MS = 20_000


def require_chromium() -> None:
    """Skip the test where Chromium is missing; fail it on CI, where a skip would go unseen."""
    if Path(CHROMIUM).exists():
        return
    reason = "Chromium not found: install Debian's chromium to run this test"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Site:
    """The sample herd's server, and a process of its dashboard that can be ended and begun again."""

    def __init__(self, folder: Path, server: StandaloneServer, *options: str) -> None:
        self.folder, self.server, self._options = folder, server, options
        self._workers: list[WorkerProcess] = []
        shutil.copyfile(_SAMPLE, folder / "app.py")
        self._bind = "127.0.0.1:0"
        self.begin()

    def begin(self) -> None:
        """Serve the pages, again at the same address."""
        log = self.folder / "dashboard.log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oxherd", "dashboard", "app:herd", "--bind", self._bind, *self._options],
                cwd=self.folder,
                env=environment(OXHERD_URL=self.server.url),
                stdout=output,
                stderr=output,
            )
        found = until_sync(lambda: re.search(r"^(http://(\S+))/$", log.read_text(), re.MULTILINE))
        self.address, self._bind = found[1], found[2]

    def end(self) -> None:
        """Kill the process of the pages."""
        self.process.kill()
        self.process.wait()

    def work(self) -> WorkerProcess:
        """Start a worker."""
        self._workers.append(WorkerProcess(self.folder, url=self.server.url))
        self._workers[-1].wait("worker.start")
        return self._workers[-1]

    def fill(self, *, is_stuck: bool = True) -> None:
        """Have everything in it that pages tell of, every trouble included or not."""
        worker = self.work()
        done = run(
            self.folder, sys.executable, "app.py", *(["--stuck"] if is_stuck else []), OXHERD_URL=self.server.url
        )
        assert done.returncode == 0, done.stderr
        worker.wait("event.end", count=4, event="order.placed", outcome="failed")
        worker.wait("event.end", count=40, event="mail.send")

    def emit(self, event: str, **order: Any) -> str:
        """Emit an event; its UUID."""
        done = cli(self.folder, "emit", "app:herd", event, json.dumps(order), url=self.server.url)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def close(self) -> None:
        """End all processes."""
        self.end()
        for worker in self._workers:
            worker.close()


@contextmanager
def served(folder: Path, *options: str) -> Generator[Site]:
    """A site with a server of its own."""
    with StandaloneServer(settings={"appendonly": "yes"}) as server:
        site = Site(folder, server, *options)
        try:
            yield site
        finally:
            site.close()


@contextmanager
def chromium() -> Generator[Browser]:
    """Debian's Chromium."""
    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def axe_source() -> str:
    """The script of axe-core."""
    require_node()
    return (node_packages() / "axe-core" / "axe.min.js").read_text()


def violations(page: Page, axe: str) -> list[str]:
    """What axe finds wrong with a page, each with where it is."""
    # Evaluated by the browser's debugger, since the pages' policy allows no script of ours in them.
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]
