"""Looks up the locked dependencies in the databases of known vulnerabilities, in less than a minute.

`audit.py [--osv-url URL] [LOCK ...]`: without locks, those of the project. Ends with 1 where a vulnerability is known,
and with 0 where none is. Where no database can be reached it ends with 0 as well, below a banner: nobody must take that
for an audit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-dev.lock"]
# OSV has what PyPI has, and more.
SERVICES = ("osv", "pypi")
SECONDS = 25  # for each of them
UNREACHABLE = ("ConnectionError", "ReadTimeout", "ServiceError", "Max retries", "Could not connect")


def main() -> int:
    """Ask one service after the other until one answers; the exit status."""
    parser = argparse.ArgumentParser(description="audit the locked dependencies")
    parser.add_argument("--osv-url", default="https://api.osv.dev/v1/query")
    parser.add_argument("locks", nargs="*", type=Path, default=LOCKS)
    options = parser.parse_args()
    for service in SERVICES:
        found = ask(service, options.locks, options.osv_url)
        if found is not None:
            return report(service, found)
    told = f"NOT AUDITED: none of the advisory databases ({', '.join(SERVICES)}) can be reached from here."
    print(
        "!" * 100,
        told,
        "This run passes without knowing whether a locked dependency is vulnerable.",
        "!" * 100,
        sep="\n",
    )
    return 0


def ask(service: str, locks: list[Path], osv_url: str) -> list[dict[str, Any]] | None:
    """What a service knows of each dependency; None where it does not answer in time, or knows none of them."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--osv-url", osv_url]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "5"]
    for lock in locks:
        command += ["--requirement", str(lock)]
    try:
        # A cache of its own: what was known yesterday is not asked for.
        with tempfile.TemporaryDirectory() as cache:
            command += ["--cache-dir", cache]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    if not done.stdout:
        if any(word in done.stderr for word in UNREACHABLE):
            return None
        raise SystemExit(f"pip-audit failed:\n{done.stderr}")
    dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    # A mirror of PyPI has packages and no advisories: it answers "not found" for each.
    return None if all("skip_reason" in each for each in dependencies) else dependencies


def report(service: str, dependencies: list[dict[str, Any]]) -> int:
    """Say what is vulnerable, and what could not be looked up; the exit status."""
    status = 0
    for each in dependencies:
        if "skip_reason" in each:
            print(f"not audited: {each['name']}: {each['skip_reason']}")
        for vulnerability in each.get("vulns", ()):
            status = 1
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in {fixed}")
    audited = sum("skip_reason" not in each for each in dependencies)
    print(f"{audited} audited by {service}: {'vulnerable' if status else 'no known vulnerability'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
