"""The settings of the project that the cases run in; its server and prefix come from the environment."""

import os

import django

SECRET_KEY = "of a test"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["shop"] if django.VERSION >= (6, 0) else ["django_tasks", "shop"]
OXHERD = {"URL": os.environ["OXHERD_URL"], "PREFIX": os.environ["TEST_PREFIX"]}
LOGGING_CONFIG = None
TASKS = {
    "default": {
        "BACKEND": "oxherd.django.TaskBackend",
        "QUEUES": ["default", "mail"],
    },
}
