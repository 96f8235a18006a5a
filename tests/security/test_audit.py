"""The audit of dependencies in CI: it fails on a known vulnerability, and reports when no database answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit.py"
NOWHERE = "http://127.0.0.1:1"
VULNERABILITY = {
    "id": "OXHERD-TEST-1",
    "summary": "made up",
    "aliases": [],
    "affected": [
        {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.20.0"}]}],
        }
    ],
}


class Database(BaseHTTPRequestHandler):
    """Answers as OSV does: one version of requests is vulnerable."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        vulnerable = (asked["package"]["name"], asked["version"]) == ("requests", "2.19.0")
        answer = json.dumps({"vulns": [VULNERABILITY]} if vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        pass


@pytest.fixture
def database() -> Generator[str]:
    with HTTPServer(("127.0.0.1", 0), Database) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        server.shutdown()
        thread.join()


def audit(folder: Path, lock: str, osv_url: str) -> subprocess.CompletedProcess[str]:
    """Audit a lock, with no other way out than the database."""
    (folder / "locked.txt").write_text(lock)
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), NOWHERE) | {"NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, str(AUDIT), "--osv-url", osv_url, str(folder / "locked.txt")],
        env=os.environ | proxies,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_known_vulnerability_fails_the_audit(database: str, tmp_path: Path) -> None:
    done = audit(tmp_path, "idna==3.20\nrequests==2.19.0\n", database)
    assert done.returncode == 1, done
    assert "requests 2.19.0: OXHERD-TEST-1, fixed in 2.20.0" in done.stdout
    assert "2 audited by osv: vulnerable" in done.stdout


def test_without_a_vulnerability_the_audit_passes(database: str, tmp_path: Path) -> None:
    done = audit(tmp_path, "requests==2.20.0\n", database)
    assert (done.returncode, done.stdout) == (0, "1 audited by osv: no known vulnerability\n"), done


def test_an_unreachable_database_passes_with_a_banner(tmp_path: Path) -> None:
    began = time.monotonic()
    done = audit(tmp_path, "requests==2.19.0\n", NOWHERE)
    assert done.returncode == 0, done
    banner, told, meaning, end = done.stdout.splitlines()
    assert banner == end == "!" * 100
    assert told.startswith("NOT AUDITED: none of the advisory databases")
    assert "passes without knowing" in meaning
    assert time.monotonic() - began < 60


def test_an_unreadable_lock_file_fails_the_audit(database: str, tmp_path: Path) -> None:
    done = audit(tmp_path, "requests>=2\n", database)
    assert done.returncode == 1
    assert "pip-audit failed" in done.stderr


def test_the_hashes_of_a_lock_do_not_hide_what_it_locks(database: str, tmp_path: Path) -> None:
    done = audit(tmp_path, "requests==2.19.0 \\\n    --hash=sha256:" + "0" * 64 + "\n", database)
    assert done.returncode == 1, done
    assert "requests 2.19.0: OXHERD-TEST-1" in done.stdout
