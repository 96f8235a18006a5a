"""The floor of a latency: a bare LPUSH to a bare BLPOP, with nothing of a queue's around it."""

import sys

import common
import redis

client = redis.Redis.from_url(common.URL)


class Producer(common.Producer):
    def one_sync(self, n):
        client.lpush("noop", n)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        while True:
            common.done(int(client.blpop("noop")[1]))
    else:
        common.produce(Producer())
