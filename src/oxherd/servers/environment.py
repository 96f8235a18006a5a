"""What a server of ours is given of this process's environment."""

from __future__ import annotations

import os

# What a program needs to start, to tell the time and to sort. The rest may hold secrets, OXHERD_URL among them, and the
# embedded server outlives the process that starts it.
_KEPT = ("DYLD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL", "LC_COLLATE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")


def server_environment() -> dict[str, str]:
    """The few variables that a server is given."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}
