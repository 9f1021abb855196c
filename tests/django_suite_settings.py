"""Settings for Django's own test suite, and a runner that writes down how every test ended.

django_suite starts it in a process for each engine; what differs comes from the environment.
"""

import json
import os
import unittest
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner

ENGINE = os.environ["DJANGO_SUITE_ENGINE"]
OPTIONS = json.loads(os.environ["DJANGO_SUITE_OPTIONS"])


def database(test_name: str) -> dict[str, Any]:
    return {
        "ENGINE": ENGINE,
        "NAME": os.environ["DATABASE_NAME"],
        "HOST": os.environ["DATABASE_HOST"],
        "PORT": os.environ["DATABASE_PORT"],
        "USER": os.environ["DATABASE_USER"],
        "PASSWORD": os.environ["DATABASE_PASSWORD"],
        "OPTIONS": OPTIONS,
        "TEST": {"NAME": test_name},
    }


DATABASES = {"default": database("django_suite"), "other": database("django_suite_other")}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "tests.django_suite_settings.RecordingRunner"


class RecordingRunner(DiscoverRunner):
    """Django's runner, which also writes a JSON record to the path DJANGO_SUITE_RECORD."""

    def suite_result(self, suite: unittest.TestSuite, result: Any, **kwargs: Any) -> int:
        record = {
            "run": result.testsRun,
            "bad": {
                **{test.id(): text for test, text in [*result.failures, *result.errors]},
                **{test.id(): "unexpected success" for test in result.unexpectedSuccesses},
            },
            "skipped": {test.id(): reason for test, reason in result.skipped},
        }
        Path(os.environ["DJANGO_SUITE_RECORD"]).write_text(json.dumps(record), encoding="utf-8")
        return super().suite_result(suite, result, **kwargs)
