"""The site's settings. The environment says where the server is, what else is installed, and
whether what releases a lease is left out (SITE_BARE).

One alias has the lease mode in which nothing but a release ends a lease, unless SITE_LEASE names
another one, and the other alias has the default.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("SITE_FOLDER", "."))
BARE = bool(os.environ.get("SITE_BARE"))
LEASE = os.environ.get("SITE_LEASE", "task")
REDIS = os.environ.get("SITE_REDIS", "unix:///nowhere")

SECRET_KEY = "this key is public, so it protects nothing"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["mysqlpool", "tests.rows", *os.environ.get("SITE_APPS", "").split()]
MIDDLEWARE = [
    "mysqlpool.middleware.ReleaseConnectionsMiddleware",
    "django.middleware.common.CommonMiddleware",
]
if BARE:
    del MIDDLEWARE[0]
ROOT_URLCONF = "tests.servers.project.urls"
WSGI_APPLICATION = "tests.servers.project.wsgi.application"
ASGI_APPLICATION = "tests.servers.project.asgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LIMITS = {"default": 3, "other": 1}
"""How many sessions a process may have of each alias."""


def alias(name: str, pool: dict[str, Any]) -> dict[str, Any]:
    return {
        "ENGINE": "mysqlpool.backends.mysqlpool",
        "HOST": os.environ.get("DATABASE_HOST", "127.0.0.1"),
        "PORT": os.environ.get("DATABASE_PORT", "3306"),
        "USER": os.environ.get("DATABASE_USER", "root"),
        "PASSWORD": os.environ.get("DATABASE_PASSWORD", ""),
        "NAME": name,
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {"pool": {"timeout": 20, **pool}},
    }


DATABASES = {
    "default": alias("mysqlpool_servers", {"pool_size": 3, "lease": LEASE}),
    "other": alias("mysqlpool_servers_other", {"pool_size": 1}),
}
if BARE:
    # As many sessions as threads: nobody waits for what is kept.
    for database in DATABASES.values():
        database["OPTIONS"]["pool"]["pool_size"] = 20

CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": str(FOLDER / "jobs"),
    "data_folder_out": str(FOLDER / "jobs"),
    "control_folder": str(FOLDER / "control"),
}
HUEY = {
    "huey_class": "huey.SqliteHuey",
    "filename": str(FOLDER / "huey"),
    "immediate": False,
    "consumer": {"workers": 4},
}
RQ_QUEUES = {"default": {"URL": REDIS}}
Q_CLUSTER = {"orm": "default", "workers": 2, "retry": 120, "timeout": 60, "poll": 0.1}
Q_CLUSTER |= {"ack_failures": True, "max_attempts": 1}
if "django_tasks_db" in INSTALLED_APPS:
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
