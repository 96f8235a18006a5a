"""arq."""

import asyncio
import sys

import common
from arq import create_pool, func, run_worker
from arq.connections import RedisSettings


async def noop(ctx, n):
    await common.handle(n)


class WorkerSettings:
    functions = [func(noop, name="noop")]
    redis_settings = RedisSettings.from_dsn(common.URL)
    max_jobs = common.CONCURRENCY
    poll_delay = 0.001
    keep_result = 0
    log_results = False


class Producer(common.Producer):
    async def open(self):
        self.redis = await create_pool(WorkerSettings.redis_settings)

    async def close(self):
        await self.redis.aclose()

    async def one(self, n):
        await self.redis.enqueue_job("noop", n)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        import uvloop

        asyncio.set_event_loop(uvloop.new_event_loop())
        run_worker(WorkerSettings)
    else:
        common.produce(Producer())
