"""MessagePack, in which BullMQ's scripts take their structured arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgpack

pack: Callable[[Any], bytes] = cast("Any", msgpack).packb  # its stubs leave the arguments open
