"""Database URLs, as the real packages read them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import dj_database_url
import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from mysqlpool import register_url_scheme
from mysqlpool.conf.servers import parse_servers
from mysqlpool.conf.settings import parse_pool_settings
from tests.helpers import ROOT

OURS = "mysqlpool.backends.mysqlpool"
ADDRESS = "shop:s%40cret@db.example.com:3307/shop"

Reader = Callable[..., dict[str, Any]]


def by_dj_database_url(url: str, **kwargs: Any) -> dict[str, Any]:
    return dict(dj_database_url.parse(url, **kwargs))


def by_django_environ(url: str, **kwargs: Any) -> dict[str, Any]:
    return dict(environ.Env.db_url_config(url, **kwargs))


both = pytest.mark.parametrize("read", [by_dj_database_url, by_django_environ])


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dj_database_url, "ENGINE_SCHEMES", dict(dj_database_url.ENGINE_SCHEMES))
    monkeypatch.setattr(environ.Env, "DB_SCHEMES", dict(environ.Env.DB_SCHEMES))
    register_url_scheme()


@both
@pytest.mark.parametrize(
    ("scheme", "engine"), [("mysqlpool", OURS), ("mysqlpoolgis", "mysqlpool.backends.gis")]
)
def test_the_url_names_the_engine(registered: None, read: Reader, scheme: str, engine: str) -> None:
    found = read(f"{scheme}://{ADDRESS}?connect_timeout=3")
    assert found["ENGINE"] == engine
    named = [found[key] for key in ("USER", "PASSWORD", "HOST", "PORT", "NAME")]
    assert named == ["shop", "s@cret", "db.example.com", 3307, "shop"]
    assert found["OPTIONS"] == {"connect_timeout": 3}
    assert parse_pool_settings("default", found).pooled


@both
def test_the_engine_beside_a_mysql_url_needs_no_registering(read: Reader) -> None:
    found = read(f"mysql://{ADDRESS}", engine=OURS)
    assert found["ENGINE"] == OURS
    assert parse_pool_settings("default", found).pooled


@both
def test_several_servers_may_stand_in_a_url(read: Reader) -> None:
    found = read("mysql://shop:secret@db1,db2:3307/shop", engine=OURS)
    assert parse_servers("here", found) == (("db1", 3307), ("db2", 3307))


def test_a_certificate_is_understood_as_in_a_mysql_url(registered: None) -> None:
    query = f"{ADDRESS}?ssl-ca=/etc/ca.pem"
    found = by_dj_database_url(f"mysqlpool://{query}")["OPTIONS"]
    assert (
        found == by_dj_database_url(f"mysql://{query}")["OPTIONS"] == {"ssl": {"ca": "/etc/ca.pem"}}
    )


@both
@pytest.mark.parametrize("query", ["pool_size=5", "POOL_SIZE=5", "lease=transaction"])
def test_a_key_of_the_pool_in_a_url_is_refused_with_its_right_place(
    registered: None, read: Reader, query: str
) -> None:
    key = query.partition("=")[0].lower()
    with pytest.raises(ImproperlyConfigured) as caught:
        parse_pool_settings("default", read(f"mysqlpool://{ADDRESS}?{query}"))
    assert f"move it to DATABASES['default']['OPTIONS']['pool']['{key}']" in str(caught.value)
    assert "from the query of a database URL" in str(caught.value)
    assert "s@cret" not in str(caught.value)


@both
def test_pool_itself_in_a_url_is_a_switch_or_is_refused(registered: None, read: Reader) -> None:
    found = read(f"mysqlpool://{ADDRESS}?pool=5")
    with pytest.raises(ImproperlyConfigured, match="must be True, False or a dict, not 5"):
        parse_pool_settings("default", found)


@both
def test_a_second_registering_changes_nothing(registered: None, read: Reader) -> None:
    before = read(f"mysqlpool://{ADDRESS}")
    register_url_scheme()
    assert read(f"mysqlpool://{ADDRESS}") == before


@pytest.mark.parametrize("other", ["dj_database_url", "environ"])
def test_one_of_the_packages_is_enough(other: str) -> None:
    code = (
        f"import sys; sys.modules[{other!r}] = None\n"
        "from mysqlpool import register_url_scheme; register_url_scheme()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_where_there_is_none_the_error_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dj_database_url", None)
    monkeypatch.setitem(sys.modules, "environ", None)
    with pytest.raises(ImproperlyConfigured, match="install dj-database-url or django-environ"):
        register_url_scheme()


def test_a_dj_database_url_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(dj_database_url, "register")
    with pytest.raises(ImproperlyConfigured, match=r"dj-database-url 3\.0 or newer"):
        register_url_scheme()


def test_importing_mysqlpool_imports_none_of_them() -> None:
    code = (
        "import sys, mysqlpool\n"
        "assert not {'dj_database_url', 'environ', 'MySQLdb', 'opentelemetry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
