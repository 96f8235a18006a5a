"""What our records say of themselves."""

from __future__ import annotations

import subprocess
import sys
import threading

from oxherd.signals import LoopUnblocked
from oxherd.telemetry.logs.subscriber import LogSubscriber
from tests.harness import Records


def test_a_record_names_its_thread_also_where_one_that_has_ended_had_its_number(records: Records) -> None:
    heard: list[tuple[str, int]] = []

    def say() -> None:
        LogSubscriber()(LoopUnblocked(1.0))
        heard.append((threading.current_thread().name, threading.get_ident()))

    for number in range(5):
        thread = threading.Thread(target=say, name=f"said {number}")
        thread.start()
        thread.join()
    assert len({ident for _, ident in heard}) < len(heard), "numbers are used again"
    assert [(record.threadName, record.thread) for record in records.named("worker.unblocked")] == heard


FORKS = """
import logging, os
from oxherd.signals import LoopUnblocked
from oxherd.telemetry.logs.subscriber import LogSubscriber

said = []
handler = logging.Handler()
handler.emit = said.append
logging.getLogger().addHandler(handler)
LogSubscriber()(LoopUnblocked(1.0))
child = os.fork()
LogSubscriber()(LoopUnblocked(2.0))
if child:
    os.waitpid(child, 0)
print(said[-1].process == os.getpid(), flush=True)
"""


def test_a_record_after_a_fork_names_its_own_process() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"], done.stderr
