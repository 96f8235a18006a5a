"""OpenTelemetry's metrics where an SDK comes late, or never. It is set up once in a process: each test has its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEFORE = """
import asyncio, time
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from oxherd.signals import EventEnded
from oxherd.telemetry.otel_metrics import Metrics

def raise_it(error):
    raise error

async def tell(ours, times=1):
    for number in range(times):
        ours.take(EventEnded("x", "id", 1, 1, "completed", 2.0))
        ours.sent("x", 1, [])
    await asyncio.sleep(0)

def points(reader):
    data = reader.get_metrics_data()
    found = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
    return {metric.name: metric.data.data_points[0] for metric in found if metric.data.data_points}

async def main():
"""


def run(script: str) -> str:
    program = BEFORE + "".join(f"    {line}\n" for line in script.strip().splitlines()) + "\nasyncio.run(main())\n"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


@pytest.mark.parametrize("given", ["None", "metrics.get_meter_provider()"])
def test_without_an_sdk_nothing_is_kept_and_one_that_is_set_up_later_is_found_within_seconds(given: str) -> None:
    said = run(
        f"ours = Metrics({given}, raise_it)"
        + """
reader = InMemoryMetricReader()
await tell(ours, 1000)
metrics.set_meter_provider(MeterProvider([reader]))
over = time.monotonic() + 20
while time.monotonic() < over and "messaging.process.duration" not in points(reader):
    await tell(ours)
    await asyncio.sleep(0.01)
before = points(reader)
await tell(ours, 5)
after = points(reader)
duration, sent, handled = ("messaging.process.duration", "messaging.client.sent.messages",
                           "messaging.client.consumed.messages")
print(before[handled].value < 1000, after[handled].value - before[handled].value)
print(after[sent].value - before[sent].value, after[duration].count - before[duration].count)
"""
    )
    assert said.split() == ["True", "5", "5", "5"]


def test_an_sdk_that_is_there_before_the_first_event_hears_of_the_first() -> None:
    said = run("""
ours, reader = Metrics(None, raise_it), InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
await tell(ours, 3)
print(points(reader)["messaging.process.duration"].count, points(reader)["messaging.client.sent.messages"].value)
""")
    assert said.split() == ["3", "3"]
