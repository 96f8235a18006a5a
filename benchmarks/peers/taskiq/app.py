"""taskiq on Redis streams: the worker is `taskiq worker app:broker`."""

import common
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

# From the stream's start, since the events are there before the worker's group is.
broker = RedisStreamBroker(common.URL, consumer_id="0").with_serializer(ORJSONSerializer())
noop = broker.task("noop")(common.handle)


class Producer(common.Producer):
    async def open(self):
        await broker.startup()

    async def close(self):
        await broker.shutdown()

    async def one(self, n):
        await noop.kiq(n)


if __name__ == "__main__":
    common.produce(Producer())
