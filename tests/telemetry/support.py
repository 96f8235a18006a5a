"""Requests to the endpoint, and metrics as Prometheus parses them."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (`oxherd_[^|]*)\|([^|]*)\|", re.MULTILINE)


@dataclass
class Answer:
    """A response of the endpoint; status 0 if there was none."""

    status: int
    body: str = ""
    headers: dict[str, str] | None = None

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


def ask(port: int, path: str, method: str = "GET", timeout: float = 10) -> Answer:
    """Send one request to 127.0.0.1."""
    with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), dict(response.headers))
    return Answer(0)


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The samples of a scrape."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def value(text: str, name: str, **labels: str) -> float | None:
    """The only sample with that name and these labels."""
    found = [number for each, given, number in samples(text) if each == name and labels.items() <= given.items()]
    assert len(found) <= 1, found
    return found[0] if found else None


def documented() -> dict[str, set[str]]:
    """The metrics that docs/telemetry.md lists, with their labels."""
    rows = _ROW.findall((ROOT / "docs" / "telemetry.md").read_text())
    words = re.compile(r"`(\w+)`")
    return {name: set(words.findall(labels)) for names, labels in rows for name in words.findall(names)}
