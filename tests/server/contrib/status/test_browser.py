"""The page in headless Chromium, as somebody sees it: under load, on a phone, in the dark.

With ``--pictures`` this also makes those in docs/pictures. Their load is real, and lasts for some
seconds, which are stretched to the five minutes of the chart.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import django
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.db import connection, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test import Client
from pytest_django import Settings

from mysqlpool import auto_close_db, release_connections, stats
from mysqlpool.aliases.ticker import Ticker
from mysqlpool.contrib.status.history import SPAN, history
from mysqlpool.pool import clock
from tests.fake_driver import until
from tests.helpers import HANG, ROOT
from tests.server.pointed import alias_with

from .conftest import MIDDLEWARE, holders, running

webdriver = pytest.importorskip("selenium.webdriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("site"),
]

PICTURES = ROOT / "docs" / "pictures"
EVIL = "<img src=x onerror=document.title='evil'>"
STRICT = "default-src 'none'; style-src 'self'"


class Policy:
    """A middleware of a project with a Content-Security-Policy of its own."""

    policy = ""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if self.policy:
            response["Content-Security-Policy"] = self.policy
        return response


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing: a run is not about requests."""


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    """Where the site is served, by threads."""
    own = ["django.middleware.csp.ContentSecurityPolicyMiddleware"] * (django.VERSION >= (6, 0))
    settings.MIDDLEWARE = [f"{__name__}.Policy", *own, *MIDDLEWARE]
    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet, connections_override={})
    server.daemon_threads = True
    server.set_app(WSGIHandler())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(HANG)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    # Root may not have a sandbox, and a container's /dev/shm may be small.
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(HANG)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """A window of a desktop's size, in the light, in which nobody is logged in."""
    look(chromium, 1000, 900)
    chromium.get_log("browser")  # What it had to say until now.
    yield chromium
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})


def look(browser: Any, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
    scale = 2 if phone else 1
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@pytest.fixture
def as_staff(browser: Any, address: str) -> Any:
    """The browser with the page open, after somebody of the staff has logged in."""
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create(username="somebody", is_staff=True))
    release_connections()
    browser.get(f"{address}/mysqlpool/style.css")
    session = client.cookies["sessionid"].value
    browser.add_cookie({"name": "sessionid", "value": session, "path": "/"})
    browser.get(f"{address}/mysqlpool/")
    return browser


def placed(path: str, function: Any) -> Callable[..., None]:
    """The function, as if it stood in this file of a project."""
    code = function.__code__.replace(co_filename=path)
    return FunctionType(code, function.__globals__, function.__name__)


def monthly_sums(taken: threading.Barrier, end: threading.Event) -> None:
    with auto_close_db(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        taken.wait(HANG)
        end.wait(HANG)


def send(seconds: float) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(%s)", [seconds])


hold = placed("/srv/shop/reports/sums.py", monthly_sums)
send_one = auto_close_db(placed("/srv/shop/mail/outbox.py", send))


@contextmanager
def load(*names: str, threads: int = 8) -> Iterator[None]:
    """A pool of 5 that is exhausted: these hold a session each, and others come and go."""
    history.forget()
    ticker, over = Ticker(0.05, history.note), threading.Event()
    with alias_with(pool_size=5, lease="task"), ExitStack() as stack:
        stack.callback(ticker.stop)
        ticker.start()
        stack.enter_context(holders(*names, hold=hold))
        until(lambda: len(history._samples) > 10)
        for number in range(threads):
            stack.enter_context(running(f"mail-{number}", partial(work, over, number)))
        stack.callback(over.set)
        until(lambda: stats()["default"].waiting > 0)
        until(lambda: len(history._samples) > 40)
        yield


def work(over: threading.Event, number: int) -> None:
    while not over.wait(0.05 * (number % 3)):
        send_one(0.1 + 0.03 * number)


def text(browser: Any) -> str:
    return str(browser.find_element("tag name", "body").text)


def style(browser: Any, selector: str, name: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return str(browser.execute_script(script, selector, name))


def complaints(browser: Any) -> list[str]:
    """What the browser's log has, but that the site has no icon."""
    entries = [str(entry["message"]) for entry in browser.get_log("browser")]
    return [entry for entry in entries if "favicon.ico" not in entry]


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    shares = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(browser: Any, selector: str, ground: str) -> float:
    front = luminance(style(browser, selector, "color"))
    back = luminance(style(browser, ground, "backgroundColor"))
    return (max(front, back) + 0.05) / (min(front, back) + 0.05)


# What is seen


def test_under_load_the_chart_and_the_holders_are_there(as_staff: Any) -> None:
    with load("report", "nightly-sum", EVIL):
        as_staff.refresh()
    seen = text(as_staff)
    for wanted in ("report", "nightly-sum", EVIL, "/srv/shop/reports/sums.py", "in monthly_sums"):
        assert wanted in seen
    assert as_staff.title == "mysqlpool"
    for area in ("path.in-use", "path.waiting"):
        box = as_staff.find_element("css selector", f".chart {area}").rect
        assert box["width"] > 0
        assert box["height"] > 10
    assert style(as_staff, ".chart path.in-use", "fill") == "rgb(36, 105, 199)"
    chart = as_staff.find_element("class name", "chart").get_attribute("aria-label")
    assert re.search(r"in use, at most [1-9]\d* waiting", chart)
    assert complaints(as_staff) == []


def test_without_rights_nothing_is_seen(browser: Any, address: str) -> None:
    with load("the-holder"):
        browser.get(f"{address}/mysqlpool/")
        assert browser.current_url == f"{address}/admin/login/?next=%2Fmysqlpool%2F"
        for path in ("?format=json", "health/"):
            browser.get(f"{address}/mysqlpool/{path}")
            assert "This is for staff" in text(browser)
            assert "the-holder" not in browser.page_source


@pytest.mark.parametrize("policy", [STRICT, f"{STRICT}; require-trusted-types-for 'script'"])
def test_a_projects_strict_policy_is_kept(
    as_staff: Any, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Policy, "policy", policy)
    with holders("the-holder"):
        as_staff.refresh()
    assert "the-holder" in text(as_staff)
    assert style(as_staff, ".chart path.in-use", "fill") == "rgb(36, 105, 199)"
    assert complaints(as_staff) == []


def test_a_policy_that_is_broken_is_seen(as_staff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the tests above would see it, too."""
    monkeypatch.setattr(Policy, "policy", "default-src 'none'")
    as_staff.refresh()
    assert any("Content Security Policy" in entry for entry in complaints(as_staff))


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has a policy of its own since 6.0")
def test_djangos_own_policy_with_a_nonce_is_kept(as_staff: Any, settings: Settings) -> None:
    from django.utils.csp import CSP  # type: ignore[import-not-found, unused-ignore]

    policy = {"default-src": [CSP.NONE], "style-src": [CSP.NONCE]}
    settings.SECURE_CSP = settings.SECURE_CSP_REPORT_ONLY = policy
    as_staff.refresh()
    assert style(as_staff, "body", "maxWidth") == "1152px"
    assert complaints(as_staff) == []
    settings.MYSQLPOOL_STATUS_ADDRESSES = ["127.0.0.1"]
    response = Client().get("/mysqlpool/")
    [nonce] = re.findall(r' nonce="(.+?)"', response.content.decode())
    assert f"'nonce-{nonce}'" in response["Content-Security-Policy-Report-Only"]


def test_it_loads_itself_again_where_that_is_wanted(as_staff: Any, address: str) -> None:
    as_staff.find_element("link text", "Load again every 5 s").click()
    assert as_staff.current_url.endswith("/mysqlpool/?refresh=5")
    as_staff.find_element("link text", "stop").click()
    assert as_staff.current_url.endswith("/mysqlpool/?")
    as_staff.get(f"{address}/mysqlpool/?refresh=1")
    times: set[str] = set()

    def changed() -> bool:
        times.update(re.findall("<time>.*?</time>", as_staff.page_source))
        return len(times) > 2

    until(changed)


@pytest.mark.parametrize("width", [320, 360])
def test_on_a_phone_only_the_tables_scroll_sideways(as_staff: Any, width: int) -> None:
    look(as_staff, width, 740, phone=True)
    with load("report", "x" * 80):
        as_staff.refresh()
    page = "return [document.scrollingElement.scrollWidth, innerWidth]"
    assert as_staff.execute_script(page) == [width, width]
    table = "let box = document.querySelector('.scroll'); return box.scrollWidth > box.clientWidth"
    assert as_staff.execute_script(table)
    assert as_staff.find_element("class name", "chart").rect["width"] <= width


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_by_day_and_in_the_dark(as_staff: Any, dark: bool) -> None:
    look(as_staff, 1000, 900, dark=dark)
    with load("report"):
        as_staff.refresh()
    ground = luminance(style(as_staff, "body", "backgroundColor"))
    assert ground < 0.05 if dark else ground > 0.9
    section = "section.pool"
    pairs = [("body", "body"), ("header p", "body"), ("header a", "body"), ("dt", section)]
    pairs += [("dd", section), ("small", section), (".full .in-use dd", section)]
    pairs += [("thead th", "thead th"), ("td code", ".scroll"), (".axis", section)]
    for front, back in pairs:
        assert contrast(as_staff, front, back) >= 4.5, front


# The pictures of the docs


def test_the_pictures_of_the_docs_are_made(
    as_staff: Any, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    folder = PICTURES if pytestconfig.getoption("pictures") else tmp_path
    folder.mkdir(exist_ok=True)
    with load("report", "nightly-sum", threads=10):
        time.sleep(1)
        stretch()
        as_staff.refresh()
        size = as_staff.execute_script("return document.body.scrollHeight")
        for name, look_ in (
            ("status-light", {"width": 1000, "height": size}),
            ("status-dark", {"width": 1000, "height": size, "dark": True}),
            ("status-phone", {"width": 360, "height": 740, "phone": True}),
        ):
            look(as_staff, **look_)
            as_staff.save_screenshot(str(folder / f"{name}.png"))
    for name in ("status-light", "status-dark", "status-phone"):
        picture = folder / f"{name}.png"
        assert 10_000 < picture.stat().st_size < 150_000


def stretch() -> None:
    """Let what was noted so far have lasted for five minutes."""
    now, noted = clock.monotonic(), history._samples
    step = SPAN / len(noted)
    history._samples = tuple(
        replace(one, at=now - step * (len(noted) - number)) for number, one in enumerate(noted)
    )
