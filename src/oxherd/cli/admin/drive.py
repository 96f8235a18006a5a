"""Works through a bulk operation with progress, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal

from oxherd.admin import Summary
from oxherd.admin.operation import Operation
from oxherd.cli.shown.progress_bar import ProgressBar


async def drive(bulk: Operation) -> tuple[Summary, bool]:
    """Work to the end, or to the end of the batch in which SIGINT or SIGTERM comes, and whether one came.

    A second one ends it at once.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if stopped and task is not None:
            task.cancel()
        stopped = True
        bulk.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    bar = ProgressBar(bulk.summary.action)
    try:
        async for progress in bulk:
            bar.show(progress.done + progress.skipped, progress.total)
    finally:
        bar.close()
        for number in numbers:
            loop.remove_signal_handler(number)
    return bulk.summary, stopped
