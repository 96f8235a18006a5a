"""The settings of the project that the cases run in; its server and prefix come from the environment."""

from __future__ import annotations

import os

import django

from oxherd import Keyring, PerKey, Retry

SECRET_KEY = "of a test"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "oxherd.django",
    *([] if django.VERSION >= (6, 0) else ["django_tasks"]),
    "shop",
]
OXHERD = {
    "URL": os.environ["OXHERD_URL"],
    "PREFIX": os.environ["TEST_PREFIX"],
    "EMIT_ON_COMMIT": "TEST_ON_COMMIT" in os.environ,
    "EMIT_TIMEOUT": float(os.environ.get("TEST_EMIT_TIMEOUT", "10")),
}
LOGGING_CONFIG = None  # the worker's own
OXHERD_BACKEND = "oxherd.django.TaskBackend"
TASKS = {
    "default": {"BACKEND": OXHERD_BACKEND, "QUEUES": ["default", "mail"]},
    "one": {"BACKEND": OXHERD_BACKEND, "OPTIONS": {"CONCURRENCY": 1, "MAX_PAYLOAD": 2_000}},
    "patient": {
        "BACKEND": OXHERD_BACKEND,
        "OPTIONS": {"RETRY": Retry(attempts=3, delay=0.05, never=LookupError), "TIMEOUT": 60},
    },
    "keyed": {
        "BACKEND": OXHERD_BACKEND,
        "QUEUES": ["default", "sharded"],
        "OPTIONS": {"PER_KEY": PerKey(max_running=1), "BY_QUEUE": {"sharded": {"SHARDS": 4}}},
    },
    "sealed": {"BACKEND": OXHERD_BACKEND, "OPTIONS": {"SEAL": Keyring({"a": b"0" * 32})}},
    "brisk": {"BACKEND": OXHERD_BACKEND, "OPTIONS": {"TIMEOUT": 0.3}},
    "mortal": {"BACKEND": OXHERD_BACKEND, "OPTIONS": {"LOCK": 1, "PREFIX": "mortal.tasks"}},
}
