"""Celery on Redis: the worker is `celery -A app worker`."""

import common
from celery import Celery

app = Celery("noop", broker=common.URL)
app.conf.update(
    task_ignore_result=True,
    worker_disable_rate_limits=True,
    worker_prefetch_multiplier=10,
)
noop = app.task(common.handle_sync, name="noop")


class Producer(common.Producer):
    def one_sync(self, n):
        noop.delay(n)

    def close_sync(self):
        app.close()


if __name__ == "__main__":
    common.produce(Producer())
