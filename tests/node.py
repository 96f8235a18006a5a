"""Node's packages for the tests that need them, by a lock file with hashes, installed once into `.node/`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

LOCKED = Path(__file__).parent / "interop"
FILES = ("package.json", "package-lock.json")

_FOLDER = Path(__file__).parent.parent / ".node"


def require_node() -> None:
    """Skip the test where Node.js or npm is missing; fail it on CI, where a skip would go unseen."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    if not missing:
        return
    reason = f"{' and '.join(missing)} not found: install Node.js to run this test"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def node_packages() -> Path:
    """The `node_modules` folder with what package-lock.json lists; the first of several test processes installs it."""
    _FOLDER.mkdir(exist_ok=True)
    stamp, lock_file = _FOLDER / "installed.json", LOCKED / "package-lock.json"
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != lock_file.read_bytes():
            _install()
            # Written last: an install that was interrupted is made again.
            shutil.copyfile(lock_file, stamp)
    return _FOLDER / "node_modules"


def _install() -> None:
    for name in FILES:
        shutil.copyfile(LOCKED / name, _FOLDER / name)
    # Checks each package's hash.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=_FOLDER, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.fail(f"npm could not install what tests/interop/package-lock.json lists:\n{done.stderr}")
