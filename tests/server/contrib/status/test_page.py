"""The page and the health check with real users, sessions, pools and holders."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import AsyncClient, Client, RequestFactory
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings

from mysqlpool import release_connections, stats
from mysqlpool.aliases.ticker import Ticker
from mysqlpool.contrib.status import access
from mysqlpool.contrib.status.history import history
from mysqlpool.events import file as logfile
from mysqlpool.events.reading import latest_statistics
from mysqlpool.stats_log import write_every
from tests.fake_driver import until
from tests.helpers import leased, session_id
from tests.observer import Observer
from tests.server.pointed import alias_with

from .conftest import holders, running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("site")]

TOKEN = "a-token-that-is-long-enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OTHERS = ["QueuePool", "NullPool", "StaticPool", "SingletonThreadPool", "AssertionPool"]
URL, JSON, HEALTH = "/mysqlpool/", "/mysqlpool/?format=json", "/mysqlpool/health/"


def user(**fields: Any) -> Any:
    from django.contrib.auth.models import User

    return User.objects.create(username="somebody", **fields)


def logged_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(user(**fields))
    release_connections()
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


@pytest.fixture
def token(settings: Settings) -> None:
    settings.MYSQLPOOL_STATUS_TOKEN = TOKEN


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Staff is told at once that the database cannot be asked."""
    monkeypatch.setattr(access, "PATIENCE", 0.0)


# Who may look


@pytest.mark.parametrize("lease", ["task", "transaction"])
@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_staff_sees_who_holds_a_session_and_where(name: str, lease: str) -> None:
    with alias_with(**{"class": name, "pool_size": 3, "lease": lease}):
        client = logged_in(is_staff=True)
        with holders("the-<holder>"):
            page = text(client.get(URL))
            found = client.get(JSON).json()["pools"]["default"]
    assert "the-&lt;holder&gt;" in page
    assert "the-<holder>" not in page
    assert "status/conftest.py:" in page
    assert "tests/helpers.py:" in page
    [one] = found["holders"]
    assert one["thread_name"] == "the-<holder>"
    assert one["leased_at"].endswith("in session_id")
    assert one["location"].endswith("in hold_one")
    assert found["in_use"] == 1, "the request itself has none any more"


@pytest.mark.parametrize(
    "fields", [{}, {"is_superuser": True}, {"is_staff": True, "is_active": False}]
)
def test_others_see_nothing(fields: dict[str, bool]) -> None:
    client = logged_in(**fields)
    with holders("the-holder"):
        for url in (URL, JSON, HEALTH):
            response = client.get(url)
            # Who is not active is nobody to Django's own backend.
            assert response.status_code in (302, 403)
            assert "the-holder" not in text(response)


def test_whoever_is_not_logged_in_comes_to_the_admins_login_and_back() -> None:
    response = Client().get(URL, follow=True)
    assert response.redirect_chain == [("/admin/login/?next=%2Fmysqlpool%2F", 302)]
    assert response.status_code == 200
    assert 'name="next" value="/mysqlpool/"' in text(response)


def test_logging_in_leads_to_the_page() -> None:
    somebody = user(is_staff=True)
    somebody.set_password("secret")
    somebody.save()
    data = {"username": "somebody", "password": "secret"}
    response = Client().post("/admin/login/?next=%2Fmysqlpool%2F", data, follow=True)
    assert response.redirect_chain == [("/mysqlpool/", 302)]
    assert "<h1>mysqlpool</h1>" in text(response)


# What it costs


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("begin", ["fused", "separate", "autocommit"])
def test_whoever_has_the_token_costs_no_lease_and_no_statement(
    observer: Observer, begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with ATOMIC_REQUESTS, under which a view is in a transaction unless it says no."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    with alias_with(pool_size=2, begin=begin):
        session_id()
        release_connections()
        before = stats()["default"].leases
        with observer.counting("Questions", "Connections") as grown:
            for url in (URL, JSON, HEALTH, "/mysqlpool/style.css"):
                assert Client().get(url, headers=BEARER).status_code == 200
                assert leased() == []
        assert grown == [0, 0]
        assert stats()["default"].leases == before


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_what_it_takes_to_know_staff_is_given_back_before_the_page_is_made(lease: str) -> None:
    with alias_with(pool_size=2, lease=lease):
        client = logged_in(is_staff=True)
        pool = client.get(JSON).json()["pools"]["default"]
    assert (pool["in_use"], pool["holders"]) == (0, [])


def test_a_lease_that_the_thread_had_before_stays_its_own() -> None:
    request: Any = RequestFactory().get("/")
    with alias_with(pool_size=2, lease="task"):
        user(is_staff=True)
        release_connections()
        number = session_id()
        request.user = SimpleLazyObject(the_user)
        assert access.standing_of(request, lambda: False) is access.Standing.STAFF
        assert leased() == ["default"]
        assert session_id() == number


def the_user() -> Any:
    from django.contrib.auth.models import User

    return User.objects.get()


# While the pool is exhausted


@pytest.fixture(params=["FairQueuePool", "QueuePool"])
def full_pool(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Staff that saw the page once; the pool's only session is held from now on."""
    with alias_with(**{"class": request.param, "pool_size": 1, "timeout": 600, "lease": "task"}):
        client = logged_in(is_staff=True)
        assert client.get(URL).status_code == 200
        with holders("the-holder") as client.end:  # type: ignore[attr-defined]
            yield client


@pytest.mark.usefixtures("impatient")
def test_it_answers_whoever_saw_it_before(full_pool: Client) -> None:
    response = full_pool.get(URL)
    assert response.status_code == 200
    assert "the-holder" in text(response)
    assert stats()["default"].waits == 0


@pytest.mark.usefixtures("impatient")
def test_it_refuses_at_once_whoever_cannot_be_asked_for(full_pool: Client) -> None:
    del full_pool.cookies["mysqlpool_status"]
    response = full_pool.get(URL)
    assert response.status_code == 503
    assert "MYSQLPOOL_STATUS_TOKEN" in text(response)
    assert "the-holder" not in text(response)


@pytest.mark.usefixtures("token", "impatient")
@pytest.mark.parametrize("full_pool", ["FairQueuePool"], indirect=True)
def test_it_answers_amid_waiters_and_health_tells_of_them(full_pool: Client) -> None:
    end = full_pool.end  # type: ignore[attr-defined]
    with running("the-waiter", session_id_and_back):
        until(lambda: stats()["default"].waiting == 1)
        for client, headers in ((full_pool, {}), (Client(), BEARER)):
            found = client.get(JSON, headers=headers).json()["pools"]["default"]
            assert (found["waiting"], found["in_use"]) == (1, 1)
            assert found["waiting_seconds"] > 0
        response = Client().get(f"{HEALTH}?sustained=0", headers=BEARER)
        assert response.status_code == 503
        assert "pool 'default' has had waiters for" in text(response)
        assert Client().get(f"{HEALTH}?sustained=600", headers=BEARER).status_code == 200
        assert stats()["default"].waits == 1, "nobody else waited"
        end.set()
    assert Client().get(f"{HEALTH}?sustained=0", headers=BEARER).status_code == 200


def session_id_and_back() -> None:
    session_id()
    release_connections()


def test_a_busy_pool_lets_staff_in_as_soon_as_a_session_is_free() -> None:
    with alias_with(pool_size=1, lease="task"):
        client = logged_in(is_staff=True)
        with holders("the-holder") as end, running("the-end", partial(end_soon, end)):
            assert client.get(URL).status_code == 200
        assert stats()["default"].waits == 0


def end_soon(end: threading.Event) -> None:
    end.wait(0.2)
    end.set()


# What there is to see


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("name", OTHERS)
def test_it_works_with_sqlalchemys_own_classes(name: str) -> None:
    with alias_with(**{"class": name, "lease": "task"}):
        session_id()
        found = Client().get(JSON, headers=BEARER).json()["pools"]["default"]
        assert "<svg" in text(Client().get(URL, headers=BEARER))
        assert [one["thread_name"] for one in found["holders"]] == ["MainThread"]
        assert found["waiting_seconds"] == 0
        assert Client().get(f"{HEALTH}?sustained=0", headers=BEARER).status_code == 200


@pytest.mark.usefixtures("token")
def test_200_holders_are_all_there() -> None:
    names = [f"holder-{number}." for number in range(200)]
    with alias_with(pool_size=200), holders(*names):
        page = text(Client().get(URL, headers=BEARER))
        pool = Client().get(JSON, headers=BEARER).json()["pools"]["default"]
    assert all(name in page for name in names)
    assert len(pool["holders"]) == pool["in_use"] == 200


@pytest.mark.usefixtures("token")
def test_nothing_secret_is_on_it() -> None:
    secret = "a-secret-parameter"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT %s", [secret])
        settings = connection.settings_dict
        secrets = [secret, settings["PASSWORD"], settings["NAME"], f"'{settings['USER']}'"]
        for url in (URL, JSON):
            page = text(Client().get(url, headers=BEARER))
            assert not [one for one in secrets if one and one in page]


@pytest.mark.usefixtures("token")
def test_the_last_minutes_are_noted_while_there_is_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mysqlpool.urls

    assert mysqlpool.urls.app_name == "mysqlpool"
    ticker = Ticker(0.05, history.note)
    history.forget()
    ticker.start()
    try:
        with holders("the-holder"):
            until(lambda: len(history._samples) > 3)
            points = Client().get(JSON, headers=BEARER).json()["pools"]["default"]["history"]
    finally:
        ticker.stop()
    assert len(points) > 3
    assert {one["in_use"] for one in points[-3:]} == {1}
    seconds = [one["seconds_ago"] for one in points]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] == 0


@pytest.mark.usefixtures("token")
def test_other_processes_are_told_of_where_there_is_an_event_log(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MYSQLPOOL_LOG = tmp_path / "events.log"
    assert "None has written" in text(Client().get(URL, headers=BEARER))
    logfile.configure(settings.MYSQLPOOL_LOG)
    try:
        session_id()
        write_every(0.05)
        until(lambda: latest_statistics(settings.MYSQLPOOL_LOG))
    finally:
        write_every(0)
        logfile.configure(None)
    assert Client().get(JSON, headers=BEARER).json()["processes"] == [], "it is this process"
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    found = Client().get(JSON, headers=BEARER).json()["processes"]
    [one] = [one for one in found if one["alias"] == "default"]
    assert (one["pid"], one["in_use"]) == (own, 1)
    page = text(Client().get(URL, headers=BEARER))
    assert f'<th scope="row">{own} <small>' in page
    assert "1 of 5" in page


@pytest.mark.usefixtures("token")
def test_a_log_that_cannot_be_read_is_told_and_the_rest_is_there(
    settings: Settings, tmp_path: Path
) -> None:
    settings.MYSQLPOOL_LOG = tmp_path  # A folder.
    page = text(Client().get(URL, headers=BEARER))
    assert "The event log cannot be read: Is a directory." in page


def test_it_works_under_asgi() -> None:
    async def main(key: str) -> None:
        client = AsyncClient()
        assert (await client.get(URL)).status_code == 302
        client.cookies["sessionid"] = key
        response = await client.get(URL)
        assert response.status_code == 200
        assert "the-holder" in text(response)
        assert (await client.get(HEALTH)).status_code == 200

    with alias_with(pool_size=2):
        key = logged_in(is_staff=True).cookies["sessionid"].value
        with holders("the-holder"):
            asyncio.run(main(key))
        until(lambda: stats()["default"].in_use == 0)
