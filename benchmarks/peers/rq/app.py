"""rq, with its SimpleWorker."""

import sys

import common
from redis import Redis
from rq import Queue, SimpleWorker

queue = Queue("noop", connection=Redis.from_url(common.URL))


def noop(n):
    common.handle_sync(n)


class Producer(common.Producer):
    def one_sync(self, n):
        queue.enqueue("app.noop", n, result_ttl=0, description="noop")

    def bulk_sync(self, many):
        queue.enqueue_many([Queue.prepare_data("app.noop", (n,), result_ttl=0, description="noop") for n in many])


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        SimpleWorker([queue], connection=queue.connection, log_job_description=False).work(logging_level="WARNING")
    else:
        common.produce(Producer())
