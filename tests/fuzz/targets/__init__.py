"""The targets by name: functions of any bytes that raise only if oxherd is wrong."""

from __future__ import annotations

from tests.fuzz.oracle import Target
from tests.fuzz.targets import cli, frames, job, logs, schedule, sealed, url

TARGETS: dict[str, Target] = {
    "job": job.job,
    "payload": job.payload,
    "sealed": sealed.sealed,
    "log-reader": logs.reader,
    "log-writer": logs.writer,
    "cli-emit": cli.emit,
    "cli-words": cli.words,
    "url": url.url,
    "url-good": url.good_url,
    "cron": schedule.cron,
    "every": schedule.every,
    "frames": frames.frames,
}
