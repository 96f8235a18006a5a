"""oxherd: the worker is `oxherd worker app:herd`, or `app.py worker` for a herd without a log."""

import logging
import os
import sys

import common

from oxherd import Oxherd

herd = Oxherd(common.URL)


@herd.event("noop", concurrency=common.CONCURRENCY, shards=int(os.environ.get("BENCH_SHARDS", "1")))
async def noop(payload: dict[str, int]) -> None:
    await common.handle(payload["n"])


class Producer(common.Producer):
    async def open(self):
        await herd.__aenter__()

    async def close(self):
        await herd.__aexit__(None, None, None)

    def close_sync(self):
        herd.close_sync()

    async def one(self, n):
        await noop.emit({"n": n})

    async def bulk(self, many):
        await noop.emit_many([{"n": n} for n in many])

    def one_sync(self, n):
        noop.emit_sync({"n": n})

    def bulk_sync(self, many):
        noop.emit_many_sync([{"n": n} for n in many])


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        logging.getLogger("oxherd").addHandler(logging.NullHandler())  # else it logs to standard error
        herd.run()
    else:
        common.produce(Producer())
