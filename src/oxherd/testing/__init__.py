"""For applications' tests: what was emitted, handlers run at the emit, queues run until empty, servers, leaks.

Begin with `captured.py`. May import everything else.
"""

from oxherd.testing.captured import Captured, CapturedEmit, CapturedSchedule, captured
from oxherd.testing.inline import inline
from oxherd.testing.leak import Leak, LeakError
from oxherd.testing.no_leak import assert_no_leak
from oxherd.testing.servers import own_cluster, own_server
from oxherd.testing.until_empty import Ended, NotEmpty, run_until_empty, travel

__all__ = [
    "Captured",
    "CapturedEmit",
    "CapturedSchedule",
    "Ended",
    "Leak",
    "LeakError",
    "NotEmpty",
    "assert_no_leak",
    "captured",
    "inline",
    "own_cluster",
    "own_server",
    "run_until_empty",
    "travel",
]
