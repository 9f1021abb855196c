"""``manage.py mysqlpool bench`` puts the server under load, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from mysqlpool import stats
from mysqlpool.management.interrupts import Interrupt
from mysqlpool.management.load import Load, Stuck
from tests.helpers import HANG, identified, session_id
from tests.observer import Observer
from tests.server.pointed import pointed

from .helpers import document, ran, started

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.long,
]

SHORT = ("bench", "--seconds", "1")
PASSWORD = "sesam-open"


def only(found: dict[str, Any]) -> dict[str, Any]:
    (bench,) = found["databases"]
    assert isinstance(bench, dict)
    return bench


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_the_server_hears_what_is_told_and_nothing_is_written(
    lease: str, observer: Observer
) -> None:
    names = ("Com_select", "Com_begin", "Com_insert", "Com_create_table", "Com_commit")
    before = observer.sessions()
    pool = {"pool_size": 3, "lease": lease, "begin": "separate"}
    with pointed(OPTIONS={"pool": pool}), observer.counting(*names) as grown:
        bench = only(document(*SHORT, "--database", "default"))
    by_work = {
        work: sum(level["done"] for level in bench["levels"] if level["work"] == work)
        for work in ("leases", "queries", "atomic blocks")
    }
    assert all(by_work.values())
    selects, begun, inserted, created, committed = grown
    assert selects >= by_work["queries"] + by_work["atomic blocks"] + bench["path"]["trips"]
    assert committed >= begun >= by_work["atomic blocks"]
    assert (inserted, created) == (0, 0)
    observer.until(lambda: observer.sessions() <= before)
    assert stats()["default"].in_use == stats()["default"].idle == 0


def test_threads_grow_above_the_limit_and_wait_there(observer: Observer) -> None:
    with pointed(OPTIONS={"pool": {"pool_size": 2}}):
        bench = only(document("bench", "--seconds", "2", "--database", "default"))
    assert bench["pool"] == {"class": "FairQueuePool", "lease": "transaction", "limit": 2}
    steps = [(level["work"], level["threads"]) for level in bench["levels"]]
    assert steps == [
        ("leases", 1),
        *((work, threads) for threads in (1, 2, 4) for work in ("queries", "atomic blocks")),
    ]
    assert all(level["failed"] == 0 < level["rate"] for level in bench["levels"])
    assert all(level["busy"] <= 2.01 for level in bench["levels"]), "Little's law holds"
    waits = [level["wait_p95"] for level in bench["levels"] if level["threads"] == 4]
    assert all(wait > 0 for wait in waits)
    assert bench["levels"][0]["wait_p95"] == 0
    advice = bench["advice"]
    assert 1 <= advice["pool_size"] <= advice["room"]
    assert bench["path"]["trips"] > 0 < bench["path"]["median"] <= bench["path"]["p95"]
    assert bench["connecting"] > 0


def test_so_many_threads_as_are_wanted(observer: Observer) -> None:
    bench = only(document(*SHORT, "--database", "default", "--threads", "3"))
    assert sorted({level["threads"] for level in bench["levels"]}) == [1, 2, 3]


def test_all_of_ours_are_measured_and_the_others_told() -> None:
    found = document(*SHORT, "--threads", "1")
    assert [one["alias"] for one in found["databases"]] == ["default", "other"]
    assert found["left_out"] == {"stock": "django.db.backends.mysql"}
    assert "has no pool" in ran(*SHORT, "--database", "stock")[1]


def test_what_is_shown_has_the_path_the_table_and_the_reasons() -> None:
    text, error = ran(*SHORT, "--database", "default", "--threads", "2")
    assert error == ""
    for part in ("Round trip of SELECT 1", "atomic blocks", "busy sessions", "Recommended: pool_"):
        assert part in text
    for reason in ("Little's law", "room for", "cores", "Yours take longer"):
        assert reason in text


@pytest.mark.parametrize(
    "name", ["QueuePool", "NullPool", "StaticPool", "SingletonThreadPool", "AssertionPool"]
)
def test_each_pool_class_is_measured_by_as_many_threads_as_it_is_made_for(
    name: str, observer: Observer
) -> None:
    before = observer.sessions()
    with pointed(OPTIONS={"pool": {"class": name}}):
        bench = only(document(*SHORT, "--database", "default", "--threads", "2"))
        text, _ = ran(*SHORT, "--database", "default", "--threads", "1")
    several = name in ("QueuePool", "NullPool")
    assert {level["threads"] for level in bench["levels"]} == ({1, 2} if several else {1})
    assert all(level["failed"] == 0 < level["done"] for level in bench["levels"])
    assert all(level["wait_p95"] is None for level in bench["levels"])
    assert (bench["advice"] is not None) is (name == "QueuePool")
    assert ("none to recommend" in text) is (name != "QueuePool")
    observer.until(lambda: observer.sessions() <= before)


@pytest.mark.parametrize(
    "options",
    [
        {"unscoped": "raise"},
        {"reset": "always"},
        {"max_overflow": 2},
        {"min_idle": 1},
        {"lease": "task", "leak_after": 0.001},
    ],
)
def test_the_pools_options_are_no_obstacle(options: dict[str, Any], observer: Observer) -> None:
    before = observer.sessions()
    with pointed(OPTIONS={"pool": {"pool_size": 2, **options}}):
        bench = only(document(*SHORT, "--database", "default", "--threads", "2"))
        assert bench["first_error"] is None
        assert all(level["done"] for level in bench["levels"])
        observer.until(lambda: observer.sessions() <= before)


def test_requests_that_fail_are_counted_and_the_first_error_is_told() -> None:
    pool = {"pool_size": 1, "timeout": 0, "lease": "task"}
    with pointed(OPTIONS={"pool": pool}):
        bench = only(document(*SHORT, "--database", "default", "--threads", "4"))
    assert bench["first_error"].startswith("PoolTimeout: ")
    assert bench["levels"][-1]["failed"] > 0
    assert bench["advice"] is not None


def test_autocommit_off_is_no_obstacle(observer: Observer) -> None:
    with pointed(AUTOCOMMIT=False):
        bench = only(document(*SHORT, "--database", "default", "--threads", "2"))
    assert bench["first_error"] is None


def test_a_server_that_is_not_to_be_reached_is_an_error_without_the_password() -> None:
    with pointed(PORT=1, PASSWORD=PASSWORD):
        text, error = ran(*SHORT, "--threads", "1")
    assert error.startswith("default: OperationalError: 200")
    assert "Too little was measured" in text
    assert "other: FairQueuePool" in text, "the next alias is measured"
    assert PASSWORD not in text + error


def test_no_more_is_taken_or_recommended_than_the_account_may_have(observer: Observer) -> None:
    observer.query(f"CREATE USER few@'%%' {identified(PASSWORD)} WITH MAX_USER_CONNECTIONS 4")
    name = connection.settings_dict["NAME"]
    observer.query(f"GRANT SELECT ON `{name}`.* TO few@'%%'")
    try:
        with pointed(USER="few", PASSWORD=PASSWORD):
            bench = only(document(*SHORT, "--database", "default"))
        assert max(level["threads"] for level in bench["levels"]) == 2, "half of it"
        assert bench["first_error"] is None
        assert bench["advice"]["room"] == 4
        assert bench["advice"]["pool_size"] <= 4
    finally:
        observer.query("DROP USER few@'%%'")


def test_sessions_that_are_killed_meanwhile_are_counted_as_errors(
    observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Load("default") as load:
        load.run("queries", 1, 0.01)
        for number in observer.sessions(str(connection.settings_dict["NAME"])):
            observer.kill(number)
        level = load.run("queries", 1, 0.05)
    assert level.done > 0, "an idle session that died is replaced"
    assert level.failed == 0


def test_a_thread_that_hangs_does_not_keep_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hangs, release = threading.Event(), threading.Event()
    monkeypatch.setattr("mysqlpool.management.load.END_SECONDS", 0.01)
    calls: list[str] = []

    def hang(alias: str) -> None:
        calls.append(alias)
        if len(calls) > 1:
            hangs.set()
            release.wait(HANG)

    class AsItHangs(Interrupt):
        def comes_within(self, seconds: float) -> bool:
            return hangs.wait(seconds)

    monkeypatch.setattr("mysqlpool.management.load.WORKS", {"queries": hang})
    load = Load("default", AsItHangs())
    try:
        with pytest.raises(Stuck, match="1 of 1 threads still wait"), load:
            load.run("queries", 1, HANG)
    finally:
        release.set()


def test_ctrl_c_ends_it_with_what_was_measured(tmp_path: Path, observer: Observer) -> None:
    before = observer.sessions()
    process = started(tmp_path, "bench", "--seconds", "100", "--json", "--database", "default")
    name = str(connection.settings_dict["NAME"])
    # One is held for the path, which takes 5 seconds of the 100. The others are the pool's.
    observer.until(lambda: len(opened := observer.sessions(name)) > 0 and opened != before, HANG)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, "")
    found = json.loads(out)
    assert found["interrupted"] is True
    assert only(found)["path"]["trips"] > 0
    observer.until(lambda: observer.sessions() <= before)


def test_ctrl_c_in_the_midst_of_the_load_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, observer: Observer
) -> None:
    """It comes as the third level begins, which is then measured for no time."""
    begun: list[str] = []
    run = Load.run

    def interrupted(self: Load, work: str, threads: int, seconds: float) -> Any:
        begun.append(work)
        if len(begun) == 3:
            signal.raise_signal(signal.SIGINT)
        return run(self, work, threads, seconds)

    monkeypatch.setattr(Load, "run", interrupted)
    found = document("bench", "--seconds", "3", "--database", "default")
    assert found["interrupted"] is True
    levels = only(found)["levels"]
    assert len(levels) == 3
    assert [level["done"] > 0 for level in levels[:2]] == [True, True]
    assert only(found)["advice"] is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_log_on_the_standard_output_does_not_spoil_the_json(tmp_path: Path) -> None:
    logging = {
        "version": 1,
        "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
        "root": {"handlers": ["out"], "level": "DEBUG"},
        "loggers": {"mysqlpool": {"level": "DEBUG"}, "django.db.backends": {"level": "DEBUG"}},
    }
    arguments = (*SHORT, "--json", "--threads", "1", "--database", "default")
    process = started(tmp_path, *arguments, LOGGING=logging, DEBUG=True)
    out, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, "")
    assert only(json.loads(out))["levels"][-1]["done"] > 0


def test_with_debug_it_says_that_it_costs_time(settings: Any) -> None:
    settings.DEBUG = True
    assert "DEBUG is on" in ran(*SHORT, "--threads", "1", "--database", "default")[0]


def test_who_measures_keeps_the_lease_of_the_thread_that_asks(observer: Observer) -> None:
    number = session_id()
    document(*SHORT, "--database", "default", "--threads", "1")
    assert session_id() == number
