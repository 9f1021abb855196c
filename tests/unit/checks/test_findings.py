"""What follows from the facts of a server, which need no server here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mysqlpool.checks.facts import ServerFacts
from mysqlpool.checks.findings import Demand, Finding, Level, Subject, judge
from mysqlpool.checks.workers import Workers
from mysqlpool.conf.settings import parse_pool_settings

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL

FACTS = ServerFacts(
    kind="MariaDB",
    version=(10, 11, 19),
    version_text="10.11.19-MariaDB",
    identity=("one",),
    account="shop@%",
    max_connections=151,
    connected=12,
    own=5,
    account_limit=0,
    by_the_hour={},
    wait_timeout=28_800,
    idle_transaction_timeout=0,
    read_only=False,
    cipher="TLS_AES_256_GCM_SHA384",
    tls_version="TLSv1.3",
    completion_type="NO_CHAIN",
    init_connect="",
)


def subject(pool: Any = True, **changes: Any) -> Subject:
    settings = parse_pool_settings("default", {"OPTIONS": {"pool": pool}})
    return replace(Subject(settings, client="mysqlclient 2.3.2"), **changes)


def found(one: Subject, **facts: Any) -> dict[str, Finding]:
    return {finding.topic: finding for finding in judge(one, replace(FACTS, **facts))}


def serving(*workers: Workers, processes: int | None = None) -> Demand:
    return Demand(processes, workers)


def test_a_sensible_project_and_server_get_nothing_but_ok() -> None:
    findings = found(subject())
    assert {finding.level for finding in findings.values()} == {OK}
    assert {finding.remedy for finding in findings.values()} == {""}


def test_what_a_server_does_not_tell_is_no_fault() -> None:
    findings = found(subject(), **dict.fromkeys(_UNTOLD))
    assert {finding.level for finding in findings.values()} == {OK}
    assert "does not tell" in findings["max_connections"].text
    assert "does not tell" in findings["TLS"].text


_UNTOLD = (
    "max_connections",
    "connected",
    "own",
    "account_limit",
    "by_the_hour",
    "wait_timeout",
    "idle_transaction_timeout",
    "read_only",
    "cipher",
    "completion_type",
    "init_connect",
)


# Sessions


@pytest.mark.parametrize(
    ("processes", "level"), [(1, OK), (12, OK), (13, WARN), (14, WARN), (15, FAIL), (16, FAIL)]
)
def test_processes_times_limit_must_fit_beside_what_others_use(
    processes: int, level: Level
) -> None:
    one = subject({"pool_size": 8, "max_overflow": 2}, demand=Demand(processes))
    finding = found(one)["max_connections"]
    assert finding.level is level
    assert f" x 10 = {processes * 10} sessions at most, of 151" in finding.text
    assert "7 in use by other accounts" in finding.text


def test_the_remedy_names_a_size_that_fits() -> None:
    finding = found(subject(demand=Demand(20)))["max_connections"]
    assert "pool_size + max_overflow of 7 would fit" in finding.remedy
    smaller = subject({"pool_size": 7}, demand=Demand(20))
    assert found(smaller)["max_connections"].level is not FAIL
    for one in (subject(demand=Demand(200)), subject(demand=Demand(2), others={"reports": 100})):
        assert "fewer processes" in found(one)["max_connections"].remedy


@pytest.mark.parametrize("others", [{}, {"reports": 3}, {"reports": 25, "log": 1}])
def test_the_size_that_is_named_fits_beside_other_aliases_and_one_more_does_not(
    others: dict[str, int],
) -> None:
    one = subject({"pool_size": 60}, demand=Demand(4), others=others)
    remedy = found(one)["max_connections"].remedy
    size = int(remedy.partition("max_overflow of ")[2].split()[0])
    levels = [
        found(replace(subject({"pool_size": n}), demand=Demand(4), others=others))[
            "max_connections"
        ].level
        for n in (size, size + 1)
    ]
    assert levels == [WARN, FAIL]


def test_that_others_cannot_be_counted_is_said() -> None:
    finding = found(subject(demand=Demand(13)), own=None)["max_connections"]
    assert finding.level is OK
    assert "how many others have is not told" in finding.text


def test_the_other_aliases_on_the_server_count() -> None:
    one = subject(demand=Demand(5), others={"reports": 20}, of_account={})
    finding = found(one)["max_connections"]
    assert finding.level is FAIL
    assert "5 processes x 10 + 100 ('reports') = 150" in finding.text


def test_what_was_found_of_servers_and_queues_adds_up_with_its_sources() -> None:
    one = subject(
        demand=serving(
            Workers("gunicorn", 4, 2, "gunicorn.conf.py", "its default"),
            Workers("Celery", 6, 1, "CELERY_WORKER_CONCURRENCY", "prefork"),
            Workers("uvicorn", None, None),
        )
    )
    text = found(one)["max_connections"].text
    assert "4 processes of gunicorn (gunicorn.conf.py) x 2 + " in text
    assert "6 processes of Celery (CELERY_WORKER_CONCURRENCY) x 1 + " in text
    assert "1 process of uvicorn (nobody tells how many) x 10 = 24 sessions" in text


def test_a_number_that_is_given_wins_over_what_was_found() -> None:
    one = subject(demand=serving(Workers("gunicorn", 4, 2), processes=3))
    assert "3 processes x 10 = 30 " in found(one)["max_connections"].text


@pytest.mark.parametrize("pool", [False, {"class": "SingletonThreadPool"}])
def test_a_class_without_a_limit_is_told(pool: Any) -> None:
    finding = found(subject(pool))["max_connections"]
    assert finding.level is WARN
    assert "names no limit" in finding.text


@pytest.mark.parametrize("name", ["StaticPool", "AssertionPool"])
def test_a_class_of_one_session_has_one(name: str) -> None:
    assert " x 1 " in found(subject({"class": name}))["max_connections"].text


# The account


def test_an_account_with_less_than_one_pool_wants_is_a_fault() -> None:
    finding = found(subject({"max_idle": 1}), account_limit=3)["account"]
    assert finding.level is FAIL
    assert "shop@% may have 3" in finding.text
    assert "MAX_USER_CONNECTIONS 10" in finding.remedy


def test_an_account_with_less_than_all_processes_want_is_one_unless_they_share() -> None:
    four = Demand(4)
    assert found(subject(demand=four), account_limit=40)["account"].level is OK
    assert found(subject(demand=four), account_limit=39)["account"].level is FAIL
    shared = found(subject({"max_idle": 5}, demand=four), account_limit=12)["account"]
    assert shared.level is OK
    assert "wait for each other" in shared.text
    unfair = subject({"class": "QueuePool"}, demand=four)
    assert found(unfair, account_limit=12)["account"].level is FAIL


def test_only_the_aliases_of_the_account_count_for_it() -> None:
    one = subject(others={"reports": 50, "log": 5}, of_account={"log": 5})
    assert "= 15 sessions" in found(one, account_limit=20)["account"].text


def test_limits_by_the_hour_are_told() -> None:
    finding = found(subject(), by_the_hour={"MAX_CONNECTIONS_PER_HOUR": 40})["account by the hour"]
    assert finding.level is WARN
    assert "MAX_CONNECTIONS_PER_HOUR 0" in finding.remedy


# Idle sessions


@pytest.mark.parametrize(
    ("pool", "timeout", "level", "named"),
    [
        (True, 601, OK, "'max_idle' 600 s"),
        (True, 600, WARN, "'max_idle' 600 s"),
        ({"max_idle": 30}, 60, OK, "'max_idle' 30 s"),
        ({"max_idle": None}, 1800, WARN, "'recycle' 1800 s"),
        ({"recycle": 50}, 60, OK, "'recycle' 50 s"),
        ({"min_idle": 1}, 1200, WARN, "'recycle' 1800 s"),
        ({"class": "QueuePool"}, 1200, WARN, "'recycle' 1800 s"),
        ({"class": "QueuePool", "recycle": -1}, 28_800, WARN, "no end in sight"),
    ],
)
def test_the_pool_should_give_up_idle_sessions_before_the_server_does(
    pool: Any, timeout: int, level: Level, named: str
) -> None:
    finding = found(subject(pool), wait_timeout=timeout)["wait_timeout"]
    assert finding.level is level
    assert named in finding.text


def test_without_a_pool_nothing_is_idle() -> None:
    assert "wait_timeout" not in found(subject(False), wait_timeout=1)


def test_that_the_server_ends_idle_transactions_is_said() -> None:
    finding = found(subject(), idle_transaction_timeout=5)["transactions"]
    assert (finding.level, "5 s" in finding.text) == (OK, True)


# The server


@pytest.mark.parametrize(
    ("kind", "version", "level"),
    [
        ("MariaDB", (10, 11, 0), OK),
        ("MariaDB", (11, 8, 9), OK),
        ("MariaDB", (10, 6, 20), OK),
        ("MariaDB", (10, 5, 29), WARN),
        ("MariaDB", (12, 1, 0), WARN),
        ("MySQL", (8, 0, 11), OK),
        ("MySQL", (9, 7, 4), OK),
        ("MySQL", (10, 0, 0), WARN),
        ("MySQL", (), WARN),
        ("TiDB", (8, 0, 11), WARN),
    ],
)
def test_versions_that_nobody_tested_are_told(
    kind: str, version: tuple[int, ...], level: Level
) -> None:
    finding = found(subject(), kind=kind, version=version)["versions"]
    assert finding.level is level
    assert "mysqlclient 2.3.2" in finding.text


def test_plain_text_is_told_where_somebody_can_be_on_the_way() -> None:
    assert found(subject(), cipher="")["TLS"].level is WARN
    assert found(subject(is_remote=False), cipher="")["TLS"].level is OK
    assert "TLSv1.3, TLS_AES_256" in found(subject())["TLS"].text


def test_a_server_that_takes_no_writes_is_told() -> None:
    assert found(subject(), read_only=True)["read-only"].level is WARN


def test_a_server_that_chains_transactions_is_told_unless_it_makes_no_difference() -> None:
    assert found(subject(), completion_type="CHAIN")["completion_type"].level is WARN
    own = subject({"begin": "autocommit"})
    assert "completion_type" not in found(own, completion_type="CHAIN")


def test_that_nothing_is_renewed_with_an_init_connect_is_said_without_its_text() -> None:
    finding = found(subject(), init_connect="SET @secret = 1")["init_connect"]
    assert finding.level is OK
    assert "secret" not in finding.text
    assert "secret" not in repr(replace(FACTS, init_connect="SET @secret = 1"))


def test_that_nothing_is_renewed_where_mysql_keeps_foreign_keys_itself_is_said() -> None:
    """None is a server without that variable."""
    topic = "innodb_native_foreign_keys"
    assert found(subject(), native_foreign_keys=False)[topic].level is OK
    assert all(topic not in found(subject(), native_foreign_keys=on) for on in (True, None))


# Threads


@pytest.mark.parametrize(
    ("threads", "lease", "level"),
    [(10, "task", OK), (11, "task", WARN), (11, "transaction", OK)],
)
def test_threads_that_each_keep_a_session_must_not_be_more_than_there_are(
    threads: int, lease: str, level: Level
) -> None:
    gunicorn = Workers("gunicorn", 1, threads, "", "gunicorn.conf.py")
    finding = found(subject({"lease": lease}, demand=serving(gunicorn)))["threads of gunicorn"]
    assert finding.level is level
    assert f"{threads} a process (gunicorn.conf.py), 10 sessions" in finding.text


def test_green_threads_are_told_whatever_their_number() -> None:
    workers = Workers("gunicorn", 1, None, "", "worker_class gevent", "gevent")
    assert found(subject(demand=serving(workers)))["threads of gunicorn"].level is WARN


def test_that_nobody_knows_the_threads_is_said() -> None:
    workers = Workers("uvicorn", 1, None, "", "a thread for each request")
    finding = found(subject(demand=serving(workers)))["threads of uvicorn"]
    assert (finding.level, finding.text) == (OK, "not known: a thread for each request")
