"""saq on Redis."""

import sys

import common
from saq import Queue, Worker


async def noop(ctx, *, n):
    await common.handle(n)


async def work():
    worker = Worker(Queue.from_url(common.URL), [("noop", noop)], concurrency=common.CONCURRENCY)
    await worker.start()


class Producer(common.Producer):
    async def open(self):
        self.queue = Queue.from_url(common.URL, max_concurrent_ops=common.AT_ONCE)
        await self.queue.connect()

    async def close(self):
        await self.queue.disconnect()

    async def one(self, n):
        await self.queue.enqueue("noop", n=n, ttl=-1)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        common.run(work())
    else:
        common.produce(Producer())
