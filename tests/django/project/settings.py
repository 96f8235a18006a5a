"""A project for the suites of this folder: two databases, the admin, and no server of its own."""

import os
from pathlib import Path

BASE_DIR = Path(os.environ["SUITE_FOLDER"])
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "oxherd.django",
    "warehouse",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _database(name: str) -> dict[str, object]:
    file = str(BASE_DIR / f"{name}.sqlite3")
    # In a file, also under test: handlers run in other threads.
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "TEST": {"NAME": file},
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }


DATABASES = {"default": _database("default"), "other": _database("other")}
OXHERD = {"PREFIX": "suites", "EMIT_TIMEOUT": 5, "EMIT_ON_COMMIT": os.environ.get("SUITE_EMIT_ON_COMMIT") == "1"}
