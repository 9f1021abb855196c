"""The status page in a project with several databases, and none of Django's own apps."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

from tests.helpers import session_id

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "stock"])

urlpatterns = [path("mysqlpool/", include("mysqlpool.urls"))]


def test_open_pools_are_told_of_and_aliases_of_other_engines_are_not(settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.INSTALLED_APPS = ["tests.rows"]
    settings.MIDDLEWARE = []
    settings.TEMPLATES = [{"BACKEND": "django.template.backends.dummy.TemplateStrings"}]
    settings.MYSQLPOOL_STATUS_ADDRESSES = ["127.0.0.1"]
    for alias in ("stock", "other", "default"):
        session_id(alias)
    try:
        found = Client().get("/mysqlpool/?format=json").json()["pools"]
        page = Client().get("/mysqlpool/").content.decode()
    finally:
        connections["stock"].close()
    assert [found[alias]["in_use"] for alias in ("default", "other")] == [1, 1]
    assert "stock" not in found
    assert page.count("<svg") == len(found)
