"""Which tests are slow beside those that say so themselves.

The quick set has each promise at least once: on a cluster, with a worker killed, in an outage, beside Node.
What repeats that on another server, or waits for another limit, is for CI.
"""

from __future__ import annotations

from pathlib import Path

import pytest

# A cluster finds what these would: what all others run on is the standalone server.
SERVERS = {"standalone", "redis7", "sentinel"}
FIXTURES = {"url", "standalone"}

FILES = {
    "": ("command_line_page",),
    "cli": (
        "bad_input",
        "check",
        "dev",
        "max_events",
        "naming_the_herd",
        "seal",
        "streams",
        "supervisor",
        "types",
    ),
    "dashboard": ("command",),
    "docs": ("asyncio",),
    "failures": (
        "cancel",
        "cut_connections",
        "durable",
        "expires",
        "history",
        "limits",
        "pausing",
        "per_key",
        "registry",
        "relay",
        "results",
        "retries",
        "shards",
        "stalls",
    ),
    "fuzz": ("runner",),
    "interop": (
        "bull_board",
        "limits",
        "overlap",
        "schedules",
        "workers",
    ),
    "telemetry": ("endpoint",),
    "testing": ("plugin", "servers"),
    "worker": (
        "health",
        "process_limits",
        "processes",
        "resources_in_processes",
        "retries_in_processes",
    ),
    "worker/upkeep": ("loop_monitor", "watchdog"),
}

TESTS = Path(__file__).parent
SLOW_FILES = {TESTS / folder / f"test_{name}.py" for folder, names in FILES.items() for name in names}


def is_slow(item: pytest.Item) -> bool:
    """Whether a test repeats on another server what a cluster shows, or is one of the slow files."""
    case = getattr(item, "callspec", None)
    repeats = case is not None and not SERVERS.isdisjoint(
        value for name, value in case.params.items() if name in FIXTURES and isinstance(value, str)
    )
    return repeats or item.path in SLOW_FILES
