"""For applications' tests: `assert_no_leak` runs an event through every failure and searches for its payload.

Begin with `no_leak.py`. May import everything else.
"""

from oxherd.testing.leak import Leak, LeakError
from oxherd.testing.no_leak import assert_no_leak

__all__ = ["Leak", "LeakError", "assert_no_leak"]
