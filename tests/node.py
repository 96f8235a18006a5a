"""Node's packages for the tests that need them, at exact versions, installed once into `.node/` of the checkout."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = {"@octokit/webhooks-examples": "7.6.1", "bullmq": "6.7.0", "ioredis": "5.11.1"}

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
    """The `node_modules` folder that holds PACKAGES; the first of several test processes installs them."""
    _FOLDER.mkdir(exist_ok=True)
    stamp = _FOLDER / "installed.json"
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or json.loads(stamp.read_text()) != PACKAGES:
            _install()
            # Written last: an install that was interrupted is made again.
            stamp.write_text(json.dumps(PACKAGES))
    return _FOLDER / "node_modules"


def _install() -> None:
    (_FOLDER / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    done = subprocess.run(command, cwd=_FOLDER, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.fail(f"npm could not install {PACKAGES}:\n{done.stderr}")
