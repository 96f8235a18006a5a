"""MessagePack, the format of the structured arguments of BullMQ's scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgpack

pack: Callable[[Any], bytes] = cast("Any", msgpack).packb  # its stubs are untyped
