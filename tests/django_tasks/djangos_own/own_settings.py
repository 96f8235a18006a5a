"""The settings under which Django's own tests of task backends run."""

from __future__ import annotations

import os

import django

SECRET_KEY = "of a test"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "oxherd.django"]
if django.VERSION < (6, 0):
    INSTALLED_APPS.append("django_tasks")
OXHERD = {"URL": os.environ["OXHERD_URL"], "PREFIX": os.environ["TEST_PREFIX"]}
TASKS = {"default": {"BACKEND": "own_backends.DummyBackend"}}
