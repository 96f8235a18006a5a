"""dramatiq on Redis: the worker is `dramatiq app`."""

import common
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=common.URL))
noop = dramatiq.actor(common.handle_sync, actor_name="noop")


class Producer(common.Producer):
    def one_sync(self, n):
        noop.send(n)


if __name__ == "__main__":
    common.produce(Producer())
