"""For `django.test`: what was emitted, or what the handlers did, with what waits for the commit of a transaction.

A `TestCase` never commits the transaction that it runs in; these run its `on_commit` callbacks at their end.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, contextmanager

from django.db import DEFAULT_DB_ALIAS
from django.test import TestCase

from oxherd.app import Oxherd
from oxherd.django.project import project_herd
from oxherd.testing import captured, inline
from oxherd.testing.captured import Captured


@contextmanager
def captured_events(
    *, herd: Oxherd | None = None, using: str | Iterable[str] = DEFAULT_DB_ALIAS
) -> Generator[Captured]:
    """`oxherd.testing.captured`: nothing is sent; what waits for a commit is there after the block.

    Args:
        herd: another than the project's.
        using: the databases whose callbacks are run.
    """
    with _committing(captured(herd or project_herd()), using) as emits:
        yield emits


@contextmanager
def handled_events(*, herd: Oxherd | None = None, using: str | Iterable[str] = DEFAULT_DB_ALIAS) -> Generator[Captured]:
    """`oxherd.testing.inline`: handlers run at the emit, in this thread; of what waits for a commit, after the block.

    A `def` handler sees the transaction of the test. What it raises, the emit raises, or the end of the block.
    """
    with _committing(inline(herd or project_herd()), using) as emits:
        yield emits


@contextmanager
def _committing(delivering: AbstractContextManager[Captured], using: str | Iterable[str]) -> Generator[Captured]:
    with delivering as emits, ExitStack() as stack:
        for alias in [using] if isinstance(using, str) else using:
            stack.enter_context(TestCase.captureOnCommitCallbacks(using=alias, execute=True))
        yield emits
