"""streaq."""

import sys

import common
from streaq import Worker

worker = Worker(common.URL, concurrency=common.CONCURRENCY, anyio_kwargs={"use_uvloop": True})
noop = worker.task(name="noop", silent=True, ttl=0)(common.handle)


class Producer(common.Producer):
    async def open(self):
        self.context = worker
        await self.context.__aenter__()

    async def close(self):
        await self.context.__aexit__(None, None, None)

    async def one(self, n):
        await noop.enqueue(n)

    async def bulk(self, many):
        await worker.enqueue_many([noop.enqueue(n) for n in many])


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker.run_sync()
    else:
        common.produce(Producer())
