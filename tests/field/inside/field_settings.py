"""django-mysql's own test settings, with an engine and a server of the environment.

In the process of its tests "tests" is its package. So what stands in this folder is imported by
names of its own, and imports what is theirs late.
"""

import json
import os
from importlib import import_module
from typing import Any

import django.test
from django.core.cache import caches
from django.db.models import options


class OutsideAtomic(django.test.TransactionTestCase):
    """Their ``TestCase`` without the transaction around it: each statement stands alone."""

    @classmethod
    def setUpTestData(cls) -> None:
        """What the tests of a class have in common; made anew for each."""

    def setUp(self) -> None:
        super().setUp()
        self.setUpTestData()

    def tearDown(self) -> None:
        # The tables of caches have no models, so they are not emptied with the others.
        for cache in caches.all(initialized_only=True):
            cache.clear()
        super().tearDown()


_theirs = import_module("tests.settings")
globals().update({name: value for name, value in vars(_theirs).items() if name.isupper()})

DATABASES: dict[str, Any] = _theirs.DATABASES
for _alias in ("default", "other"):
    DATABASES[_alias].update(
        ENGINE="field_engine",
        HOST=os.environ["DATABASE_HOST"],
        PORT=os.environ["DATABASE_PORT"],
        USER=os.environ["DATABASE_USER"],
        PASSWORD=os.environ["DATABASE_PASSWORD"],
    )
    DATABASES[_alias]["OPTIONS"].update(json.loads(os.environ["FIELD_OPTIONS"]))

# Before their models are imported, and after django-mysql's.
INSTALLED_APPS = [*_theirs.INSTALLED_APPS]
INSTALLED_APPS.insert(INSTALLED_APPS.index("tests.testapp"), "field_names")

# Django 5.1 refuses it in a Meta. Their tests of several indexes at once fail without what it did.
options.DEFAULT_NAMES = (*options.DEFAULT_NAMES, "index_together")

if os.environ.get("FIELD_OUTSIDE_ATOMIC"):
    django.test.TestCase = OutsideAtomic  # type: ignore[assignment,misc]
