"""What is seen of the site. The functions run one after another in its process: see `__main__`."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

from debug_toolbar.store import get_store
from django.db import connections
from django.test import AsyncClient, Client

import mysqlpool
from mysqlpool.backends.mysqlpool import observers
from tests.helpers import run_threads, session_id

from .settings import SITE
from .site import SECRET, stats

HERE = "tests/server/contrib/toolbar/site.py"


def get(url: str, **data: str) -> str:
    response = Client().get(url, data)
    assert response.status_code == 200
    return str(response.content.decode()) if not response.streaming else ""


def content(number: int = -1) -> str:
    """The panel as the toolbar's script asks for it, and the history, too."""
    request_id = list(get_store().request_ids())[number]
    ids = {"request_id": request_id, "panel_id": "PoolPanel"}
    rendered = Client().get("/__debug__/render_panel/", ids)
    assert rendered.status_code == 200
    html: str = rendered.json()["content"]
    assert SECRET not in html
    return html


def only_lease(number: int = -1) -> dict[str, Any]:
    (lease,) = stats(number)["leases"]
    return dict(lease)


def only_database(number: int = -1) -> dict[str, Any]:
    (database,) = stats(number)["databases"]
    return dict(database)


def discards() -> int:
    pool = mysqlpool.stats().get("default")
    return pool.discards.get("GET_LOCK", 0) if pool else 0


def is_task() -> bool:
    return bool(SITE["pool"]["lease"] == "task")


def assert_nothing_is_out() -> None:
    assert {one.in_use for one in mysqlpool.stats().values()} <= {0}
    assert not observers.onlookers


def a_request_that_reads() -> None:
    number = session_id()
    mysqlpool.release_connections()
    page = get("/read/")
    assert "djDebug" in page
    assert "Connection pools" in page
    assert "1 lease, 0 round trips saved" in page
    lease, database = only_lease(), only_database()
    assert lease["alias"] == "default"
    assert lease["session"] == number
    assert HERE in lease["where"]
    assert lease["where"].endswith(" in read")
    assert not lease["opened"]
    assert lease["is_held"] is is_task()
    assert 0 < lease["held_ms"] < 20_000
    assert lease["wait_ms"] == 0
    assert database["connects_saved"] == 1
    assert database["sessions"] == [number]
    assert_nothing_is_out()
    html = content()
    for text in ("default", str(number), HERE, "given back", "Round trips saved"):
        assert text in html


def in_the_page() -> None:
    assert HERE in get("/read/")


def the_first_request_opens() -> None:
    get("/read/")
    assert only_lease()["opened"]
    assert only_database()["connects_saved"] == 0
    assert "(opened)" in content()


def a_block_saves_round_trips() -> None:
    get("/read/")
    get("/write/")
    database = only_database()
    assert database["saved"] == database["travelled"] + database["not_sent"] == 2
    assert "1 lease, 2 round trips saved" in Client().get("/write/").content.decode()
    assert_nothing_is_out()


def atomic_requests() -> None:
    get("/nothing/")
    assert stats()["leases"] == []
    # Django's engine sends three to each of two databases.
    assert {one["alias"]: one["saved"] for one in stats()["databases"]} == {
        "default": 3,
        "other": 3,
    }
    get("/read/")
    assert {one["alias"]: one["leases"] for one in stats()["databases"]} == {
        "default": 1,
        "other": 0,
    }
    assert [one["saved"] for one in stats()["databases"]] == [2, 3]
    assert_nothing_is_out()


def several_databases() -> None:
    get("/all/")
    assert [lease["alias"] for lease in stats()["leases"]] == ["default", "other"]
    assert [one["alias"] for one in stats()["databases"]] == ["default", "other"]
    assert "stock" not in content()


def nothing_leased() -> None:
    page = get("/nothing/")
    assert "0 leases, 0 round trips saved" in page
    assert stats()["databases"] == []
    assert "leased nothing" in content()


def what_made_it_dirty() -> None:
    get("/nothing/")
    before = discards()
    get("/execute/", sql="SELECT GET_LOCK(%s, 0)")
    lease, page = only_lease(), content()
    assert lease["discard"] == "GET_LOCK"
    assert lease["statement"] == "SELECT GET_LOCK(?, ?)"
    assert only_database()["discards"] == 1
    assert "discarded: GET_LOCK" in page
    assert "SELECT GET_LOCK(?, ?)" in page
    if not is_task():
        assert lease["pinned"] == "GET_LOCK"
        assert "pinned by GET_LOCK" in page
    assert discards() == before + 1
    assert_nothing_is_out()


def what_is_renewed() -> None:
    """Both servers of these tests are known to forget it all by COM_CHANGE_USER."""
    get("/execute/", sql=f"SET @name = '{SECRET}', @other = 12345")
    lease, page = only_lease(), content()
    assert (lease["discard"], lease["renewed"], lease["dirty"]) == ("", True, "SET")
    assert lease["statement"] == "SET @name = ?, @other = ?"
    assert "12345" not in page
    assert only_database()["discards"] == 0


def a_session_for_one_lease() -> None:
    get("/read/")
    lease = only_lease()
    assert (lease["is_held"], lease["discard"], lease["renewed"]) == (True, "reset always", False)
    assert "discarded: reset always" in content()
    assert_nothing_is_out()


def what_cannot_be_shown() -> None:
    get("/execute/", sql=f"SET @name = 'it\\'s {SECRET}'")
    assert "backslash" in only_lease()["statement"]
    content()
    get("/execute/", sql=f"SET @{'long' * 12} = '{SECRET}', @b = {', @c = '.join('1' * 99)}")
    assert len(only_lease()["statement"]) <= 201
    content()


def an_ended_lease_is_told_as_it_ended() -> None:
    """With the toolbar's middleware before ours, which is not how the README has it."""
    get("/execute/", sql="SELECT GET_LOCK(%s, 0)")
    lease = only_lease()
    assert (lease["is_held"], lease["discard"]) == (False, "GET_LOCK")
    assert "discarded: GET_LOCK" in content()
    get("/read/")
    assert only_lease()["is_held"] is False


def an_error_ends_it() -> None:
    response = Client(raise_request_exception=False).get("/fail/")
    assert response.status_code == 500
    assert only_lease()["where"].endswith(" in fail")
    assert_nothing_is_out()
    get("/read/", without="1")
    assert len(list(get_store().request_ids())) == 1


def history() -> None:
    get("/read/")
    get("/all/")
    get("/nothing/")
    assert [len(stats(number)["leases"]) for number in range(3)] == [1, 2, 0]
    assert content(0).count(HERE) == 1
    assert content(1).count(HERE) == 2
    assert "leased nothing" in content(2)
    ids = list(get_store().request_ids())
    switched = Client().get("/__debug__/history_sidebar/", {"request_id": ids[1]})
    assert switched.status_code == 200
    assert "2 leases" in str(switched.json()["PoolPanel"])


def no_inline_script_or_style() -> None:
    get("/execute/", sql="SELECT GET_LOCK(%s, 0)")
    assert not re.search(r"<script|<style|style=|\bon\w+=|https?:", content())


def threads_at_once() -> None:
    run_threads(lambda: get("/together/default/"), lambda: get("/together/other/"))
    found = [stats(0), stats(1)]
    aliases = sorted(one["databases"][0]["alias"] for one in found)
    assert aliases == ["default", "other"]
    for one in found:
        assert {lease["alias"] for lease in one["leases"]} == {one["databases"][0]["alias"]}
        assert len(one["leases"]) == 1
        assert one["total_saved"] == 2
    assert_nothing_is_out()


def a_stream_is_not_looked_at() -> None:
    response = Client().get("/stream/")
    assert list(response.streaming_content)  # type: ignore[attr-defined]
    assert stats()["leases"] == []
    assert_nothing_is_out()


def asynchronous() -> None:
    async def both() -> None:
        clients = [AsyncClient().get(f"/async/{alias}/") for alias in ("default", "other")]
        for response in await asyncio.gather(*clients):
            assert response.status_code == 200
            assert "round trips saved" in response.content.decode()

    asyncio.run(both())
    found = [stats(0), stats(1)]
    assert sorted(one["databases"][0]["alias"] for one in found) == ["default", "other"]
    for one in found:
        (database,) = one["databases"]
        assert {lease["alias"] for lease in one["leases"]} == {database["alias"]}
        assert database["saved"] == 2
        assert one["leases"][0]["where"] == "asynchronous code"
    assert not observers.onlookers
    content(0)


def a_sync_view_under_asgi() -> None:
    async def ask() -> None:
        assert (await AsyncClient().get("/write/")).status_code == 200

    asyncio.run(ask())
    assert only_database()["saved"] == 2
    assert only_lease()["where"].endswith(" in write")


def a_full_pool() -> None:
    assert SITE["pool"]["pool_size"] == 1

    def refused() -> Any:
        return Client(raise_request_exception=False).get("/read/").status_code

    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('kept', 0)")
        assert run_threads(refused) == [500]
    failure = stats()["failures"][0]  # Django's page of the error may show what asks once more.
    assert (failure["alias"], failure["error"]) == ("default", "PoolTimeout")
    assert failure["where"].endswith(" in read")
    assert failure["request_ms"] >= 900
    assert only_database()["failures"] >= 1
    assert "PoolTimeout" in content()


def a_wait() -> None:
    asked, asleep = threading.Event(), threading.Event()

    def holder() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT GET_LOCK('kept', 0)")
            asked.set()
            while not mysqlpool.stats()["default"].waiting:
                asleep.wait(0.01)
            cursor.execute("SELECT SLEEP(0.05)")
        mysqlpool.release_connections()

    def asker() -> None:
        assert asked.wait(20)
        get("/read/")

    run_threads(holder, asker)
    lease, database = only_lease(), only_database()
    assert 40 < lease["wait_ms"] < 20_000
    assert lease["request_ms"] >= lease["wait_ms"]
    assert (database["waits"], database["wait_ms"]) == (1, lease["wait_ms"])


def sqlalchemys_pool() -> None:
    get("/read/")
    get("/execute/", sql="SET @name = %s")
    lease = only_lease()
    assert (lease["discard"], lease["renewed"]) == ("SET", False)
    assert lease["statement"] == "SET @name = ?"
    assert lease["wait_known"] is False
    assert "not known" in content()
    assert HERE in lease["where"]
    get("/write/")
    assert only_database()["saved"] == 2
    assert_nothing_is_out()


def without_debug() -> None:
    """A project may show the toolbar to its staff. Then Django does not log queries."""
    client = Client()
    for _ in range(2):
        client.get("/write/")
    assert only_database()["saved"] == 2
