"""Runs a command's work with a herd, and closes its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oxherd.app import Oxherd
from oxherd.cli.herd_loader import load_herd

T = TypeVar("T")


def with_herd(target: str, work: Callable[[Oxherd], Awaitable[T]]) -> T:
    """What `work` returns for the herd of MODULE:HERD. Raises as `load_herd`, and as `work`."""
    herd = load_herd(target)

    async def main() -> T:
        try:
            return await work(herd)
        finally:
            await herd.close()

    return asyncio.run(main())
