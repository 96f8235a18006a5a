"""Finds the server that a herd uses."""

from __future__ import annotations

import os
import threading

from oxherd.errors import ConfigError
from oxherd.redis.tls import check_tls
from oxherd.redis.url import RedisURL, parse_url
from oxherd.servers.embedded import EmbeddedServer

# Set by the test kit: the server of every herd, whatever else is configured. In the environment, so that the processes
# which a test starts, and those of `run_in="process"`, go to the same one.
TEST_URL = "OXHERD_TEST_URL"


class ServerLocator:
    """Resolves a herd's server: the test kit's, else the given URL, else $OXHERD_URL, else an embedded one."""

    def __init__(self, url: str | None) -> None:
        self._given = url
        self._lock = threading.Lock()
        self._embedded: EmbeddedServer | None = None
        self._pid = os.getpid()

    def url(self) -> RedisURL:
        """Return the URL; without a configured one, join the embedded server, which may block while it starts.

        Raises:
            ConfigError: the URL, or a certificate that it names, cannot be used.
            ServerError: the embedded server cannot be started.
        """
        if test_url := os.environ.get(TEST_URL):
            return parse_url(test_url)
        if self._given or os.environ.get("OXHERD_URL"):
            url = self._parse()
            check_tls(url)
            return url
        with self._lock:
            if self._pid != os.getpid():  # a forked child joins on its own account
                self._pid, self._embedded = os.getpid(), None
            if self._embedded is None:
                embedded = EmbeddedServer()
                embedded.start()
                self._embedded = embedded
            return parse_url(self._embedded.url)

    def _parse(self) -> RedisURL:
        try:
            return parse_url(self._given or os.environ["OXHERD_URL"])
        except ConfigError as error:
            # Drop the frames that hold the password: some tools print each frame's variables.
            refused = error.with_traceback(None)
        raise refused

    def leave(self) -> None:
        """Leave the embedded server; the last process to leave stops it."""
        with self._lock:
            embedded, self._embedded = self._embedded, None
        if embedded is not None and self._pid == os.getpid():
            embedded.stop()
