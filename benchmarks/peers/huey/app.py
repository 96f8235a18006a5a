"""huey on Redis: the worker is `huey_consumer app.huey`."""

import common
from huey import RedisHuey

huey = RedisHuey("noop", url=common.URL, results=False)
noop = huey.task(name="noop")(common.handle_sync)


class Producer(common.Producer):
    def one_sync(self, n):
        noop(n)


if __name__ == "__main__":
    common.produce(Producer())
