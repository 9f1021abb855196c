"""Settings of the example project. For demonstration only: the secret key is public.

The environment names the database: DATABASE_HOST, DATABASE_PORT, DATABASE_USER, DATABASE_PASSWORD
and DATABASE_NAME. DATABASE_ENGINE takes another engine than mysqlpool's, for comparison, and
DATABASE_POOL is ``OPTIONS["pool"]`` as JSON. DJANGO_DEBUG, when not empty, sets DEBUG.
"""

import json
import os
from typing import Any

SECRET_KEY = "this key is public, so it protects nothing"
# Off unless asked for: with it, Django keeps the text of every statement in memory.
DEBUG = bool(os.environ.get("DJANGO_DEBUG"))
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = ["mysqlpool", "files"]
MIDDLEWARE = [
    "mysqlpool.middleware.ReleaseConnectionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "filesite.urls"
WSGI_APPLICATION = "filesite.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
TIME_ZONE = "UTC"
USE_TZ = True

ENGINE = os.environ.get("DATABASE_ENGINE", "mysqlpool.backends.mysqlpool")
OPTIONS: dict[str, Any] = {}
if ENGINE.startswith("mysqlpool."):
    OPTIONS["pool"] = json.loads(os.environ.get("DATABASE_POOL", '{"pool_size": 5}'))

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": ENGINE,
        "HOST": os.environ.get("DATABASE_HOST", "127.0.0.1"),
        "PORT": os.environ.get("DATABASE_PORT", "3306"),
        "USER": os.environ.get("DATABASE_USER", "root"),
        "PASSWORD": os.environ.get("DATABASE_PASSWORD", ""),
        "NAME": os.environ.get("DATABASE_NAME", "mysqlpool"),
        "OPTIONS": OPTIONS,
    }
}
