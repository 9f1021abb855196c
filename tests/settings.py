"""The example's settings with what else the tests need: more aliases and one more app."""

from filesite.settings import *  # noqa: F403
from filesite.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.rows"]

# What is promised of a lease that lasts for a task is seen best on these. The default, which ends a
# lease with the transaction, has test modules of its own, and the hooks' table compares both.
POOL = {"timeout": 20, "lease": "task"}

DATABASES = {
    "default": {**DATABASES["default"], "OPTIONS": {"pool": {"pool_size": 5, **POOL}}},
    "other": {
        **DATABASES["default"],
        "NAME": "mysqlpool_other",
        "OPTIONS": {"pool": {"pool_size": 3, **POOL}},
    },
    # An engine that is not ours.
    "stock": {
        **DATABASES["default"],
        "ENGINE": "django.db.backends.mysql",
        "NAME": "mysqlpool_stock",
        "OPTIONS": {},
        "CONN_MAX_AGE": None,
    },
}

# LiveServerTestCase serves static files, too, and wants to know from where.
STATIC_URL = "/static/"
