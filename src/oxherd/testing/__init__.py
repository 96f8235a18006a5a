"""For the tests of applications: `assert_no_leak` runs an event with every failure and looks for its payload."""

from oxherd.testing.leak import Leak, LeakError
from oxherd.testing.no_leak import assert_no_leak

__all__ = ["Leak", "LeakError", "assert_no_leak"]
