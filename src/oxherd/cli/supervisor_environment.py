"""What binds a worker to the supervisor that has started it."""

from __future__ import annotations

import os
import signal
import socket

from oxherd.worker.executors.parent_death import end_with_parent

_SUPERVISOR = "OXHERD_SUPERVISOR"
_QUESTIONS = "OXHERD_QUESTIONS"


def environment(questions: int | None) -> dict[str, str]:
    """The environment of a worker that this process supervises; `questions` is the worker's end of its channel."""
    extra = {} if questions is None else {_QUESTIONS: str(questions)}
    return os.environ | {_SUPERVISOR: str(os.getpid())} | extra


def follow_supervisor() -> socket.socket | None:
    """Where this worker has a supervisor: drain and end when that ends, however it does; answers where it asks us."""
    # Taken out: what a handler starts is not supervised.
    supervisor = os.environ.pop(_SUPERVISOR, None)
    questions = os.environ.pop(_QUESTIONS, None)
    if supervisor is not None:
        end_with_parent(int(supervisor), signal.SIGTERM)
    if supervisor is None or questions is None:
        return None
    connection = socket.socket(fileno=int(questions))
    connection.set_inheritable(False)
    return connection
