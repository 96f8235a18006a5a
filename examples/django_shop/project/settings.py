"""The settings, with SQLite unless SHOP_POSTGRES names a database as HOST:PORT/NAME."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "for the example only"
DEBUG = os.environ.get("SHOP_DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "oxherd.django",
    "shop",
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
STATIC_URL = "static/"
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True

_address, _, _name = os.environ.get("SHOP_POSTGRES", "").partition("/")
_host, _, _port = _address.partition(":")
_postgres = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": _name,
    "HOST": _host,
    "PORT": _port,
    "USER": "postgres",
    "CONN_MAX_AGE": 600,
}
_sqlite = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": os.environ.get("SHOP_SQLITE", BASE_DIR / "db.sqlite3"),
    "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
}
DATABASES = {"default": _postgres if _name else _sqlite}

# The server is $OXHERD_URL's, or the project's embedded one.
OXHERD = {"PREFIX": os.environ.get("SHOP_PREFIX", "bull"), "STOP_TIMEOUT": 20}
