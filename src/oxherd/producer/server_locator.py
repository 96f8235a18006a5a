"""Finds the server that a herd uses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from oxherd.errors import ConfigError
from oxherd.redis.tls import check_tls
from oxherd.redis.url import RedisURL, parse_url
from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.project import project_dir
from oxherd.signals import EmbeddedServerJoined, Signal

_joined: set[tuple[int, Path]] = set()  # the projects that a process has said that it uses

# Set by the test kit: the server of every herd, whatever else is configured. In the environment, so that the processes
# which a test starts, and those of `run_in="process"`, go to the same one.
TEST_URL = "OXHERD_TEST_URL"


class ServerLocator:
    """Resolves a herd's server: the test kit's, else the given URL, else $OXHERD_URL, else the project's embedded one.

    `folder` is where the project is looked for; None: $OXHERD_PROJECT, else the current folder.
    """

    def __init__(self, url: str | None, emit: Callable[[Signal], None], *, embedded: bool = True) -> None:
        self.folder: Path | None = None
        self._given = url
        self._emit = emit
        self._may_embed = embedded
        self._lock = threading.Lock()
        self._embedded: EmbeddedServer | None = None
        self._pid = os.getpid()

    def url(self) -> RedisURL:
        """Return the URL; without a configured one, join the embedded server, which may block while it starts.

        Raises:
            ConfigError: the URL, or a certificate that it names, cannot be used, or there is none and the embedded
                server is refused.
            ServerError: the embedded server cannot be started.
        """
        if test_url := os.environ.get(TEST_URL):
            return parse_url(test_url)
        if self._given is not None or "OXHERD_URL" in os.environ:
            url = self._parse()
            check_tls(url)
            return url
        if not self._may_embed:
            raise ConfigError("Oxherd(embedded=False) has no server; give it a url, or set OXHERD_URL.")
        assert_embedded_allowed()
        with self._lock:
            if self._pid != os.getpid():  # a forked child joins on its own account
                self._pid, self._embedded = os.getpid(), None
            if self._embedded is None:
                embedded = EmbeddedServer(self.project())
                embedded.start()
                self._embedded = embedded
                self._say_joined(embedded)
            return parse_url(self._embedded.url)

    @property
    def restart(self) -> Callable[[], None] | None:
        """Starts the embedded server again if it has died; None if another is used."""
        return None if self._embedded is None else self._embedded.restart

    def project(self) -> Path:
        """Return the folder of the project that the embedded server belongs to."""
        given = os.environ.get("OXHERD_PROJECT")
        return project_dir(self.folder or (Path(given) if given else None))

    def _say_joined(self, embedded: EmbeddedServer) -> None:
        key = (os.getpid(), embedded.project)
        if key not in _joined:
            _joined.add(key)
            self._emit(EmbeddedServerJoined(str(embedded.project), embedded.url))

    def _parse(self) -> RedisURL:
        try:
            return parse_url(self._configured())
        except ConfigError as error:
            # Drop the frames that hold the password: some tools print each frame's variables.
            refused = error.with_traceback(None)
        raise refused

    def _configured(self) -> str:
        url = os.environ["OXHERD_URL"] if self._given is None else self._given
        if not url.strip():
            name = "OXHERD_URL" if self._given is None else "The url"
            raise ConfigError(f"{name} is empty; name a server, or leave it out for the embedded one.")
        return url

    def leave(self) -> None:
        """Leave the embedded server; the last process to leave stops it."""
        with self._lock:
            embedded, self._embedded = self._embedded, None
        if embedded is not None and self._pid == os.getpid():
            embedded.stop()


def assert_embedded_allowed() -> None:
    """Refuse the embedded server where OXHERD_EMBEDDED says so. Raises ConfigError."""
    allowed = os.environ.get("OXHERD_EMBEDDED")
    if allowed == "never":
        raise ConfigError("OXHERD_EMBEDDED=never refuses the embedded server; set OXHERD_URL.")
    if allowed is not None:
        raise ConfigError("OXHERD_EMBEDDED has an unknown value; set it to never, or unset it.")
