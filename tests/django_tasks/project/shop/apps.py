"""Notes the signals of tasks in a file, from whichever process sends them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from django.apps import AppConfig

SIGNALS = Path(os.environ.get("TEST_SIGNALS", os.devnull))


class ShopConfig(AppConfig):
    """The shop."""

    name = "shop"

    def ready(self) -> None:
        """Listen."""
        from oxherd.django.tasks.interface import task_enqueued, task_finished, task_started

        for name, signal in (("enqueued", task_enqueued), ("started", task_started), ("finished", task_finished)):
            signal.connect(_noting(name), weak=False)


def _noting(name: str) -> Any:
    def note(sender: Any, task_result: Any, **_: Any) -> None:
        raised = sys.exc_info()[0]
        line = [name, sender.__name__, task_result.id, str(task_result.status), raised and raised.__name__]
        with SIGNALS.open("a") as file:
            file.write(json.dumps(line) + "\n")

    return note
