"""The page and the health check through Django's handlers, without a database.

Who is staff says a middleware of these tests. What a real user takes is in
tests/server/contrib/status.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin

import pytest
from django.conf import settings as project
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import clear_script_prefix, include, path, reverse, set_script_prefix
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings

import mysqlpool.urls
from mysqlpool import PoolStats
from mysqlpool.contrib.status import access, badge, report, views
from mysqlpool.contrib.status.history import History, Point
from mysqlpool.contrib.status.page import STYLE_VERSION
from mysqlpool.errors import Holder, TooManyWaiters
from tests.documents import blocks_of
from tests.helpers import ROOT

TOKEN = "a-token-that-is-long-enough"
OTHER_TOKEN = "another-one-that-is-long-enough"

STAFF = SimpleNamespace(is_authenticated=True, is_staff=True, is_active=True)
NOBODY = SimpleNamespace(is_authenticated=False)
USER = SimpleNamespace(is_authenticated=True, is_staff=False, is_active=True)
FORMER = SimpleNamespace(is_authenticated=True, is_staff=True, is_active=False)
PLAIN = SimpleNamespace(is_authenticated=True)  # of a model that knows no staff
EXHAUSTED = TooManyWaiters("default", limit=1, in_use=1, waiting=1, seconds=0.0)


def login(request: HttpRequest) -> HttpResponse:
    return HttpResponse("log in")


urlpatterns = [
    path("mysqlpool/", include("mysqlpool.urls")),
    path("no-slash", include("mysqlpool.urls", namespace="no-slash")),
    path("a:b", include("mysqlpool.urls", namespace="colon")),
    path("ops/", include(([path("<slug:tenant>/p/", include("mysqlpool.urls"))], "ops"))),
    path("accounts/login/", login, name="login"),
]


class Who:
    """A middleware that says who asks. ``who`` is a user, or an error that finding out raises."""

    who: Any = NOBODY

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        request.user = SimpleLazyObject(self.find_out)  # type: ignore[assignment]
        return self.get_response(request)

    def find_out(self) -> Any:
        if isinstance(self.who, BaseException):
            raise self.who
        return self.who


@pytest.fixture(autouse=True)
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [f"{__name__}.Who"]
    settings.TEMPLATES = []
    settings.INSTALLED_APPS = ["tests.rows"]
    monkeypatch.setattr(Who, "who", NOBODY)
    monkeypatch.setattr(access, "PATIENCE", 0.0)


@pytest.fixture
def staff(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(Who, "who", STAFF)
    return Client()


@pytest.fixture
def client() -> Client:
    return Client()


def holder(name: str = "worker", seconds: float = 1.5, **more: Any) -> Holder:
    places = "now at /srv/now.py:3 in f", "/srv/leased.py:1 in g"
    return Holder(name, 7, seconds, *places, waits=False, **more)


def pools(monkeypatch: pytest.MonkeyPatch, *holders: Holder, **figures: Any) -> None:
    told = PoolStats(**{"pool_size": 5, "in_use": len(holders), **figures})
    monkeypatch.setattr(report, "stats", lambda: {"default": told})
    monkeypatch.setattr(report, "holders", lambda: {"default": holders})
    monkeypatch.setattr(report, "waiting_seconds", lambda: {"default": 0.0})


def text(response: Any) -> str:
    return str(response.content.decode())


# Who may look


def test_staff_sees_the_page(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pools(monkeypatch, holder("the-holder"), idle=2, waiting=3)
    response = staff.get("/mysqlpool/")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/html; charset=utf-8"
    for wanted in ("the-holder", "/srv/now.py:3 in f", "/srv/leased.py:1 in g", "<svg", "default"):
        assert wanted in text(response)


@pytest.mark.parametrize("who", [USER, FORMER, PLAIN])
@pytest.mark.parametrize("url", ["/mysqlpool/", "/mysqlpool/?format=json", "/mysqlpool/health/"])
def test_a_user_who_is_not_staff_sees_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, who: Any, url: str
) -> None:
    pools(monkeypatch, holder("the-holder"))
    monkeypatch.setattr(Who, "who", who)
    response = client.get(url)
    assert response.status_code == 403
    assert "This is for staff" in text(response)
    assert "the-holder" not in text(response)
    assert "default" not in text(response)
    assert badge.COOKIE not in response.cookies


def test_whoever_is_not_logged_in_is_led_to_the_login_and_back(
    client: Client, settings: Settings
) -> None:
    response = client.get("/mysqlpool/?refresh=5")
    assert response.status_code == 302
    assert response["Location"] == "/accounts/login/?next=%2Fmysqlpool%2F%3Frefresh%3D5"
    settings.LOGIN_URL = "https://sso.example.com/?site=1"
    assert client.get("/mysqlpool/")["Location"].startswith("https://sso.example.com/?site=1&next=")


def test_where_there_is_no_login_it_is_refused(client: Client, settings: Settings) -> None:
    settings.LOGIN_URL = "there-is-none"
    assert client.get("/mysqlpool/").status_code == 403
    settings.LOGIN_URL = "/there/is/none/"
    response = client.get("/mysqlpool/")
    assert response.status_code == 403
    assert "No MYSQLPOOL_STATUS_TOKEN and no MYSQLPOOL_STATUS_ADDRESSES is set" in text(response)


def test_a_program_is_not_led_to_the_login(client: Client) -> None:
    response = client.get("/mysqlpool/?format=json")
    assert response.status_code == 403
    assert "staff" in json.loads(response.content)["error"]


def test_a_project_without_users_is_told_what_to_do(client: Client, settings: Settings) -> None:
    settings.MIDDLEWARE = []
    for url, name in (("/mysqlpool/", "STATUS"), ("/mysqlpool/health/", "HEALTH")):
        response = client.get(url)
        assert response.status_code == 403
        assert response["Content-Type"] == "text/plain; charset=utf-8"
        assert "django.contrib.auth" in text(response)
        assert f"MYSQLPOOL_{name}_TOKEN" in text(response)


def test_what_is_set_is_not_told_to_strangers(client: Client, settings: Settings) -> None:
    settings.MYSQLPOOL_HEALTH_TOKEN = TOKEN
    response = client.get("/mysqlpool/health/")
    assert (response.status_code, text(response)) == (403, "This is for staff.\n")


HEADERS = [
    {"Authorization": f"Bearer {TOKEN}"},
    {"Authorization": f"bearer  {TOKEN} "},
    {"X-Mysqlpool-Token": TOKEN},
]
BAD_HEADERS = [
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": TOKEN},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": "Bearer \xe9\xff"},
    {"X-Mysqlpool-Token": ""},
    {"X-Mysqlpool-Token": TOKEN.upper()},
]


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks who the user is fails the test."""
    monkeypatch.setattr(Who, "who", AssertionError("the session was asked"))


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("url", ["/mysqlpool/", "/mysqlpool/?format=json", "/mysqlpool/health/"])
def test_a_token_lets_in_and_no_session_is_asked(
    client: Client, settings: Settings, headers: dict[str, str], url: str
) -> None:
    page = "HEALTH" if "health" in url else "STATUS"
    setattr(settings, f"MYSQLPOOL_{page}_TOKEN", [OTHER_TOKEN, TOKEN])
    response = client.get(url, headers=headers)
    assert response.status_code == 200
    assert badge.COOKIE not in response.cookies, "it is for staff"


@pytest.mark.parametrize("headers", BAD_HEADERS)
def test_another_token_does_not(
    client: Client, settings: Settings, headers: dict[str, str]
) -> None:
    settings.MYSQLPOOL_HEALTH_TOKEN = TOKEN
    settings.MYSQLPOOL_STATUS_TOKEN = TOKEN
    for url in ("/mysqlpool/health/", "/mysqlpool/?format=json"):
        assert client.get(url, headers=headers).status_code == 403


@pytest.mark.parametrize("name", ["token", "key", "X-Mysqlpool-Token", "Authorization"])
def test_a_token_in_the_url_is_none(client: Client, settings: Settings, name: str) -> None:
    settings.MYSQLPOOL_HEALTH_TOKEN = TOKEN
    assert client.get("/mysqlpool/health/", {name: TOKEN}).status_code == 403


def test_tokens_are_compared_in_constant_time(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(access, "constant_time_compare", compare)
    settings.MYSQLPOOL_HEALTH_TOKEN = [TOKEN, OTHER_TOKEN]
    assert client.get("/mysqlpool/health/", headers=HEADERS[0]).status_code == 200
    assert (TOKEN, TOKEN) in compared
    assert (TOKEN, OTHER_TOKEN) in compared, "also after the right one was found"


def test_the_token_of_the_health_check_does_not_open_the_page(
    client: Client, settings: Settings
) -> None:
    settings.MYSQLPOOL_HEALTH_TOKEN = TOKEN
    assert client.get("/mysqlpool/?format=json", headers=HEADERS[0]).status_code == 403


@pytest.mark.usefixtures("unasked")
def test_whoever_may_see_the_page_may_ask_for_the_health(
    client: Client, settings: Settings
) -> None:
    settings.MYSQLPOOL_STATUS_TOKEN = TOKEN
    assert client.get("/mysqlpool/health/", headers=HEADERS[0]).status_code == 200


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize(
    "address", ["10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3", "fd00::7", "fe80::1%eth0"]
)
def test_an_address_lets_in_and_no_session_is_asked(
    client: Client, settings: Settings, address: str
) -> None:
    networks = ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "fe80::/10"]
    settings.MYSQLPOOL_HEALTH_ADDRESSES = settings.MYSQLPOOL_STATUS_ADDRESSES = networks
    for url in ("/mysqlpool/health/", "/mysqlpool/"):
        assert client.get(url, REMOTE_ADDR=address).status_code == 200


@pytest.mark.parametrize("address", ["11.1.2.3", "::1", "", "unix:", "10.1.2.3, 11.1.2.3"])
def test_another_address_does_not(client: Client, settings: Settings, address: str) -> None:
    settings.MYSQLPOOL_HEALTH_ADDRESSES = ["10.0.0.0/8"]
    assert client.get("/mysqlpool/health/", REMOTE_ADDR=address).status_code == 403


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via"]
)
def test_an_address_that_a_header_tells_is_not_believed(
    client: Client, settings: Settings, header: str
) -> None:
    settings.MYSQLPOOL_HEALTH_ADDRESSES = ["10.0.0.0/8"]
    get = functools.partial(client.get, "/mysqlpool/health/")
    assert get(REMOTE_ADDR="11.1.1.1", headers={header: "10.1.1.1"}).status_code == 403
    assert get(REMOTE_ADDR="10.1.1.1", headers={header: "11.1.1.1"}).status_code == 403
    assert get(REMOTE_ADDR="10.1.1.1").status_code == 200


# While the database cannot be asked


SESSION = {"sessionid": "the-session"}


def with_badge(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Somebody who saw the page as staff a moment ago, and then the database went away."""
    client = Client()
    client.cookies.load(SESSION)
    monkeypatch.setattr(Who, "who", STAFF)
    assert client.get("/mysqlpool/").status_code == 200
    monkeypatch.setattr(Who, "who", EXHAUSTED)
    return client


@pytest.mark.parametrize("error", [EXHAUSTED, DatabaseError("down"), InterfaceError("gone")])
def test_who_cannot_be_asked_for_is_not_let_in(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Who, "who", error)
    for url, name in (("/mysqlpool/", "STATUS"), ("/mysqlpool/health/", "HEALTH")):
        response = client.get(url)
        assert response.status_code == 503
        assert f"MYSQLPOOL_{name}_TOKEN" in text(response)
        assert str(error) not in text(response)


def test_whoever_was_staff_a_moment_ago_sees_the_page_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = with_badge(monkeypatch)
    assert client.get("/mysqlpool/").status_code == 200
    assert client.get("/mysqlpool/?format=json").status_code == 200


def test_a_badge_is_nothing_as_soon_as_the_database_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = with_badge(monkeypatch)
    monkeypatch.setattr(Who, "who", USER)
    assert client.get("/mysqlpool/").status_code == 403


def test_a_badge_ends_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    client = with_badge(monkeypatch)
    client.cookies["sessionid"] = "another"
    assert client.get("/mysqlpool/").status_code == 503
    del client.cookies["sessionid"]
    assert client.get("/mysqlpool/").status_code == 503


@pytest.mark.parametrize("forged", ["", "x", "x:y:z", None])
def test_a_forged_badge_is_none(monkeypatch: pytest.MonkeyPatch, forged: str | None) -> None:
    client = with_badge(monkeypatch)
    genuine = client.cookies[badge.COOKIE].value
    client.cookies[badge.COOKIE] = genuine[:-1] + "*" if forged is None else forged
    assert client.get("/mysqlpool/").status_code == 503


def test_a_badge_is_not_renewed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever is no longer staff would have one for as long as the database is away."""
    client = with_badge(monkeypatch)
    assert badge.COOKIE not in client.get("/mysqlpool/").cookies


def test_a_badge_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    client = with_badge(monkeypatch)
    monkeypatch.setattr(badge, "SECONDS", -1)
    assert client.get("/mysqlpool/").status_code == 503


def test_a_badge_is_kept_from_scripts_other_sites_and_other_pages(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    cookie = with_badge(monkeypatch).cookies[badge.COOKIE]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert (cookie["path"], cookie["max-age"]) == ("/mysqlpool/", 3600)
    assert not cookie["secure"], "it came by http"
    settings.SESSION_COOKIE_SECURE = True
    assert with_badge(monkeypatch).cookies[badge.COOKIE]["secure"]


def test_a_busy_pool_is_asked_again_before_anybody_is_turned_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [EXHAUSTED, EXHAUSTED, True]

    class Later:
        is_staff = is_active = True

        @property
        def is_authenticated(self) -> bool:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return True

    monkeypatch.setattr(Who, "who", Later())
    monkeypatch.setattr(access, "PATIENCE", 60.0)
    monkeypatch.setattr(access, "PAUSE", 0.0)
    assert client.get("/mysqlpool/").status_code == 200


# What is asked for


def test_json_has_what_the_page_has(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pools(monkeypatch, holder("the-holder", pinned="user variable"), waiting=3, leases=17)
    response = staff.get("/mysqlpool/?format=json")
    assert response["Content-Type"] == "application/json"
    found = response.json()
    pool = found["pools"]["default"]
    assert (pool["in_use"], pool["waiting"], pool["leases"], pool["limit"]) == (1, 3, 17, 5)
    [one] = pool["holders"]
    assert one["thread_name"] == "the-holder"
    assert one["leased_at"] == "/srv/leased.py:1 in g"
    assert one["location"] == "now at /srv/now.py:3 in f"
    assert pool["history"][-1] == {"seconds_ago": 0.0, "in_use": 1, "idle": 0, "waiting": 3}
    assert isinstance(found["pid"], int)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("format=xml", "format must be html or json, not 'xml'"),
        ("format=", "format must be html or json, not ''"),
        ("refresh=0", "refresh must be a whole number of seconds, 1 to 86400, not '0'"),
        ("refresh=x", "refresh must be"),
        ("refresh=1.5", "refresh must be"),
        ("refresh=-5", "refresh must be"),
        ("refresh=86401", "refresh must be"),
        ("refresh=5;url=https://evil.example", "refresh must be"),
    ],
)
def test_a_bad_query_is_refused_by_its_rule(staff: Client, query: str, complaint: str) -> None:
    response = staff.get(f"/mysqlpool/?{query}")
    assert response.status_code == 400
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert complaint in text(response)


def test_the_page_loads_itself_again_where_that_is_wanted(staff: Client) -> None:
    assert '<meta http-equiv="refresh" content="5">' in text(staff.get("/mysqlpool/?refresh=5"))
    assert "http-equiv" not in text(staff.get("/mysqlpool/"))


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch", "options", "trace"])
@pytest.mark.parametrize("url", ["/mysqlpool/", "/mysqlpool/health/", "/mysqlpool/style.css"])
def test_nothing_but_get_and_head_is_allowed(staff: Client, url: str, method: str) -> None:
    response = getattr(staff, method)(url)
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("url", ["/mysqlpool/", "/mysqlpool/health/", "/mysqlpool/style.css"])
def test_head_has_no_body(staff: Client, url: str) -> None:
    response = staff.head(url)
    assert (response.status_code, response.content) == (200, b"")


# What is on it


def test_all_that_others_name_is_escaped(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "<script>alert(1)</script>'\"&"
    one = Holder(evil, 7, 1.0, f"now at {evil}", evil, waits=True, pinned=evil)
    pools(monkeypatch, one, discards={evil: 1}, pinned={evil: 2})
    for name in ("stats", "holders", "waiting_seconds"):
        found = getattr(report, name)()["default"]
        monkeypatch.setattr(report, name, lambda found=found: {evil: found})
    page = text(staff.get("/mysqlpool/"))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 7
    assert "'\"&" not in page
    assert json.loads(staff.get("/mysqlpool/?format=json").content)["pools"][evil]


def test_nothing_stands_inline(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pools(monkeypatch, holder())
    page = text(staff.get("/mysqlpool/?refresh=5"))
    for inline in ("<script", "<style", " style=", " onload=", " onclick=", "javascript:", "http:"):
        assert inline not in page.lower()


def test_numbers_stay_numbers_in_every_language(
    staff: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LANGUAGE_CODE = "de"
    settings.USE_THOUSAND_SEPARATOR = True
    points = (Point(101.5, 1000, 500, 70), Point(99.5, 2000, 1, 0), Point(0.0, 1, 1, 1))
    pools(monkeypatch, holder(), leases=1234567)
    monkeypatch.setattr(History, "points", lambda *args: points)
    page = text(staff.get("/mysqlpool/"))
    assert "0 to 2001" in page
    assert "1234567" in page
    assert "H401" in page


def test_no_pool_is_open_yet(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "stats", dict)
    assert "No pool is open" in text(staff.get("/mysqlpool/"))
    assert staff.get("/mysqlpool/?format=json").json()["pools"] == {}


def test_200_holders_are_all_there(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pools(monkeypatch, *(holder(f"thread-{n}.") for n in range(200)), pool_size=200)
    page = text(staff.get("/mysqlpool/"))
    assert all(f"thread-{n}." in page for n in range(200))
    assert len(page) < 200_000


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({"pinned": "temporary table"}, "pinned by temporary table"),
        ({"idle": True}, "idle, nobody released it"),
        ({}, None),
    ],
)
def test_what_is_told_of_a_holder(
    staff: Client, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], note: str | None
) -> None:
    pools(monkeypatch, holder(seconds=312.4, **more))
    page = text(staff.get("/mysqlpool/"))
    assert "5 min 12 s" in page
    assert note is None or note in page


def test_nothing_secret_is_on_it(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "PASSWORD", "the-password")
    monkeypatch.setitem(connections["default"].settings_dict, "USER", "the-user")
    pools(monkeypatch, holder())
    for url in ("/mysqlpool/", "/mysqlpool/?format=json"):
        page = text(staff.get(url))
        for secret in ("the-password", "the-user", project.SECRET_KEY):
            assert secret not in page


# What is sent along


@pytest.mark.parametrize("url", ["/mysqlpool/", "/mysqlpool/?format=json", "/mysqlpool/health/"])
@pytest.mark.parametrize("who", [STAFF, USER, NOBODY])
def test_nobody_keeps_frames_or_leaks_it(
    client: Client, monkeypatch: pytest.MonkeyPatch, url: str, who: Any
) -> None:
    monkeypatch.setattr(Who, "who", who)
    response = client.get(url)
    assert "no-store" in response["Cache-Control"]
    assert "private" in response["Cache-Control"]
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["X-Content-Type-Options"] == "nosniff"
    policy = response["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_the_style_is_kept_and_is_everybodys(client: Client, staff: Client) -> None:
    page = text(staff.get("/mysqlpool/"))
    response = client.get("/mysqlpool/style.css")
    assert response["Content-Type"] == "text/css; charset=utf-8"
    assert "immutable" in response["Cache-Control"]
    assert "prefers-color-scheme: dark" in text(response)
    assert "@import" not in text(response)
    assert "url(" not in text(response)
    assert f'href="./style.css?v={STYLE_VERSION}"' in page


# Where it is


@pytest.mark.parametrize(
    ("url", "style"),
    [
        ("/mysqlpool/", "/mysqlpool/style.css"),
        ("/no-slash", "/no-slashstyle.css"),
        ("/a:b", "/a:bstyle.css"),
        ("/ops/acme/p/", "/ops/acme/p/style.css"),
    ],
)
def test_the_style_is_found_from_wherever_the_page_is(staff: Client, url: str, style: str) -> None:
    response = staff.get(url)
    request: Any = RequestFactory().get("/")
    request.path = url
    found = views._style_url(request)
    assert urljoin(f"https://host{url}", found) == f"https://host{style}?v={STYLE_VERSION}"
    assert response.status_code == 200
    assert staff.get(style).status_code == 200


def test_no_path_can_have_the_style_come_from_elsewhere() -> None:
    request: Any = RequestFactory().get("/")
    for path_ in ("//evil.example/", "//evil.example", "/x/https:"):
        request.path = path_
        url = urljoin(f"https://host{path_}", views._style_url(request))
        assert url.startswith("https://host/")


@pytest.fixture
def under_a_prefix() -> Iterator[None]:
    """As a WSGI server has it that serves the project under /site."""
    set_script_prefix("/site/")
    yield
    clear_script_prefix()


@pytest.mark.usefixtures("under_a_prefix")
def test_it_works_under_a_script_prefix(staff: Client) -> None:
    assert 'href="./style.css?v=' in text(staff.get("/mysqlpool/"))
    assert reverse("mysqlpool:health") == "/site/mysqlpool/health/"


@pytest.mark.usefixtures("under_a_prefix")
def test_the_login_is_found_under_a_script_prefix(client: Client, settings: Settings) -> None:
    settings.LOGIN_URL = "/site/accounts/login/"
    assert client.get("/mysqlpool/")["Location"].startswith("/site/accounts/login/?next=")
    settings.LOGIN_URL = "login"
    assert client.get("/mysqlpool/")["Location"].startswith("/site/accounts/login/?next=")


def test_a_view_that_is_called_by_no_url_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    request: Any = RequestFactory().get("/")
    request.user = STAFF
    assert views.status(request).status_code == 200


def test_no_transaction_is_begun_for_it_on_any_alias() -> None:
    for pattern in mysqlpool.urls.urlpatterns:
        view: Any = pattern.callback
        assert view._non_atomic_requests >= set(connections)


def test_a_middleware_that_wants_everybody_logged_in_leaves_it_alone(
    client: Client, settings: Settings
) -> None:
    settings.INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
    settings.MIDDLEWARE = [
        f"{__name__}.Who",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    settings.MYSQLPOOL_HEALTH_ADDRESSES = ["127.0.0.1"]
    assert client.get("/mysqlpool/health/").status_code == 200
    assert client.get("/mysqlpool/style.css").status_code == 200
    assert client.get("/mysqlpool/?format=json").status_code == 403


def test_it_answers_under_asgi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Who, "who", STAFF)

    async def main() -> None:
        assert (await AsyncClient().get("/mysqlpool/")).status_code == 200
        assert (await AsyncClient().get("/mysqlpool/health/")).status_code == 200

    asyncio.run(main())


@pytest.mark.parametrize("name", ["STATUS_TOKEN", "HEALTH_TOKEN", "HEALTH_ADDRESSES"])
def test_a_bad_setting_is_refused_when_the_urls_are_loaded(settings: Settings, name: str) -> None:
    setattr(settings, f"MYSQLPOOL_{name}", "short")
    with pytest.raises(ImproperlyConfigured, match=f"MYSQLPOOL_{name} must be"):
        importlib.reload(mysqlpool.urls)


# Health


def waited(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    monkeypatch.setattr(views, "waiting_seconds", lambda: seconds)


@pytest.mark.parametrize(
    ("query", "seconds", "code"),
    [
        ("", 0.0, 200),
        ("", 9.9, 200),
        ("", 10.0, 503),
        ("?sustained=10", 9.9, 200),
        ("?sustained=10", 10.0, 503),
        ("?sustained=2.5", 2.4, 200),
        ("?sustained=2.5", 2.5, 503),
        ("?sustained=0", 0.0, 200),
        ("?sustained=0", 0.001, 503),
        ("?sustained=60", 59.0, 200),
        ("?sustained=10&other=x", 11.0, 503),
    ],
)
def test_it_is_unhealthy_only_after_waiters_for_so_long(
    staff: Client, monkeypatch: pytest.MonkeyPatch, query: str, seconds: float, code: int
) -> None:
    waited(monkeypatch, default=0.0, other=seconds)
    response = staff.get(f"/mysqlpool/health/{query}")
    assert response.status_code == code
    if code == 200:
        assert text(response) == "ok\n"
    else:
        assert text(response) == f"pool 'other' has had waiters for {seconds:.1f} s\n"


def test_health_as_json(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    waited(monkeypatch, default=12.5, other=0.0)
    response = staff.get("/mysqlpool/health/?format=json&sustained=5")
    assert response.status_code == 503
    found = {"healthy": False, "sustained": 5.0, "waiting_seconds": {"default": 12.5}}
    assert response.json() == found


def test_without_any_pool_it_is_healthy(staff: Client) -> None:
    assert staff.get("/mysqlpool/health/").status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "-1",
        "nan",
        "inf",
        "1e3",
        "1_0",
        "10s",
        " 10",
        "86401",
        "\uff11\uff10",
        "1" * 5000,
        "+1",
    ],
)
def test_a_bad_number_of_seconds_is_refused(staff: Client, value: str) -> None:
    response = staff.get("/mysqlpool/health/", {"sustained": value})
    assert response.status_code == 400
    assert "sustained must be a number of seconds, 0 to 86400" in text(response)
    assert len(text(response)) < 200


def test_a_stranger_does_not_learn_whether_a_query_is_good(client: Client) -> None:
    assert client.get("/mysqlpool/health/?sustained=x").status_code == 403


# What Django's own settings do to a check, as docs/status-page.rst has it


DOC = (ROOT / "docs" / "status-page.rst").read_text(encoding="utf-8")


def test_a_check_needs_a_host_that_is_allowed(staff: Client, settings: Settings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.common.CommonMiddleware"]
    settings.ALLOWED_HOSTS = ["shop.example.com"]
    assert staff.get("/mysqlpool/health/", headers={"Host": "10.0.0.7"}).status_code == 400
    assert staff.get("/mysqlpool/health/", headers={"Host": "shop.example.com"}).status_code == 200


def test_a_check_by_plain_http_is_left_out_of_the_redirect(
    staff: Client, settings: Settings
) -> None:
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", *settings.MIDDLEWARE]
    settings.SECURE_SSL_REDIRECT = True
    assert staff.get("/mysqlpool/health/").status_code == 301
    [line] = [line for line in DOC.splitlines() if "SECURE_REDIRECT_EXEMPT = " in line]
    names: dict[str, Any] = {}
    exec(line.strip(), names)
    settings.SECURE_REDIRECT_EXEMPT = names["SECURE_REDIRECT_EXEMPT"]
    client = Client()  # Its middleware reads the settings anew.
    assert client.get("/mysqlpool/health/").status_code == 200
    assert client.get("/mysqlpool/").status_code == 301


def test_the_settings_of_the_docs_are_taken(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_TOKEN", OTHER_TOKEN)
    monkeypatch.setenv("STATUS_TOKEN", TOKEN)
    names: dict[str, Any] = {}
    for block in blocks_of(DOC):
        if block.kind == "python":
            exec(compile(block.text, "docs/status-page.rst", "exec"), names)
    for name, value in names.items():
        if name.isupper():
            setattr(settings, name, value)
    assert [str(one.pattern) for one in names["urlpatterns"]] == ["mysqlpool/"]
    for url, address in (("/mysqlpool/", "10.8.0.9"), ("/mysqlpool/health/", "10.1.2.3")):
        assert client.get(url, REMOTE_ADDR=address).status_code == 200
    commands = re.findall(r'curl -H "(.+?): (.*?)\$(\w+)" \S+example.com(\S+)', DOC)
    assert len(commands) == 2
    for header, scheme, variable, url in commands:
        value = scheme + os.environ[variable]
        assert client.get(url, headers={header: value}).status_code == 200


@pytest.mark.parametrize("query", re.findall(r"``(?:health/)?(\?\w+=\w+)``", DOC))
def test_the_queries_of_the_docs_are_taken(staff: Client, query: str) -> None:
    page = "/mysqlpool/health/" if "sustained" in query else "/mysqlpool/"
    assert staff.get(page + query).status_code == 200


@pytest.mark.parametrize("name", re.findall(r"``(mysqlpool:\w+)``", DOC))
def test_the_names_of_the_docs_are_there(name: str) -> None:
    assert reverse(name).startswith("/mysqlpool/")


def test_the_policy_of_the_docs_is_sent() -> None:
    told = re.findall(r"``Content-Security-Policy: (.*?)``", DOC, re.DOTALL)
    assert [" ".join(one.split()) for one in told] == [views.POLICY]


def test_the_pictures_of_the_docs_are_there_and_small() -> None:
    pictures = re.findall(r"image:: (\S+)", DOC)
    assert len(pictures) == 3
    for name in pictures:
        assert (ROOT / "docs" / name).stat().st_size < 150_000
