"""BullMQ for Python."""

import asyncio
import signal
import sys

import common
from bullmq import Queue, Worker


async def process(job, token):
    await common.handle(job.data["n"])


async def work():
    worker = Worker("noop", process, {"connection": common.URL, "concurrency": common.CONCURRENCY})
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    await worker.close()


class Producer(common.Producer):
    async def open(self):
        self.queue = Queue("noop", {"connection": common.URL})

    async def close(self):
        await self.queue.close()

    async def one(self, n):
        await self.queue.add("noop", {"n": n}, {"removeOnComplete": True})

    async def bulk(self, many):
        await self.queue.addBulk([{"name": "noop", "data": {"n": n}, "opts": {"removeOnComplete": True}} for n in many])


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        common.run(work())
    else:
        common.produce(Producer())
