"""``manage.py mysqlpool check``, and the server's side of ``manage.py check --database``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import INFO, WARNING, run_checks
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction

from mysqlpool import close_pool, stats
from mysqlpool.checks import check_servers
from tests.conftest import NOWHERE
from tests.helpers import identified, in_thread, lease_all, leased, make_certificate
from tests.observer import Observer
from tests.server import PrivateServer, Server
from tests.server.pointed import pointed

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

SECRET = "s3cret-of-the-account"


@pytest.fixture(autouse=True)
def nowhere_near_a_web_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)


def alias_with(
    alias: str = "default", pool: Any = None, **changes: Any
) -> AbstractContextManager[None]:
    """In this block an alias has other settings, and sessions of its own."""
    close_pool()
    if pool is not None:
        changes["OPTIONS"] = {**changes.get("OPTIONS", {}), "pool": pool}
    return pointed(alias, **changes)


def checked(*arguments: str) -> str:
    """What the command says. Raises CommandError as it does."""
    out = StringIO()
    try:
        call_command("mysqlpool", "check", *arguments, stdout=out)
    except CommandError as error:
        error.add_note(out.getvalue())
        raise
    return out.getvalue()


def failed(*arguments: str) -> tuple[str, str]:
    """What the command says before it fails, and how it fails."""
    with pytest.raises(CommandError) as caught:
        checked(*arguments)
    (said,) = caught.value.__notes__
    return said, str(caught.value)


def ids(*databases: str) -> list[str]:
    return [str(message.id) for message in check_servers(databases=databases)]


@pytest.fixture
def account(observer: Observer) -> Iterator[str]:
    """An account with the least rights and the limits that the test gives it; the admin is root."""
    name = "checker"
    observer.query(f"CREATE USER {name}@'127.0.0.1' {identified(SECRET)}")
    for alias in ("default", "other"):
        database = connections[alias].settings_dict["NAME"]
        observer.query(f"GRANT SELECT ON {database}.* TO {name}@'127.0.0.1'")
    yield name
    observer.query(f"DROP USER {name}@'127.0.0.1'")


@contextmanager
def variable(observer: Observer, name: str, value: Any) -> Iterator[None]:
    ((before,),) = observer.query(f"SELECT @@GLOBAL.{name}")
    observer.query(f"SET GLOBAL {name} = %s", value)
    close_pool()
    try:
        yield
    finally:
        observer.query(f"SET GLOBAL {name} = %s", before)


# What is in order


def test_all_our_aliases_are_compared_and_nothing_stays_leased() -> None:
    said = checked("--fail-level", "warn")
    assert "default: FairQueuePool, 'lease': 'task', on 127.0.0.1:" in said
    assert "other: FairQueuePool" in said
    assert "stock" not in said
    assert {line.split()[0] for line in said.splitlines() if line.startswith("  ")} == {"OK"}
    assert leased() == []


def test_one_alias_may_be_named() -> None:
    said = checked("--database", "other")
    assert "other: " in said
    assert "default: " not in said


def test_the_system_check_has_nothing_to_say_of_such_a_server() -> None:
    assert ids("default", "other", "stock") == []
    assert run_checks(tags=["database"], databases=["default", "other"]) == []
    assert check_servers() == []
    assert leased() == []


@pytest.mark.parametrize(
    "pool",
    [
        False,
        {"class": "QueuePool"},
        {"class": "StaticPool"},
        {"class": "AssertionPool"},
        {"class": "SingletonThreadPool"},
        {"pool_size": 1, "timeout": 0.5},
        {"lease": "transaction", "unscoped": "raise"},
        {"reset": "always"},
    ],
)
def test_every_kind_of_pool_can_be_checked_even_by_who_has_its_only_session(pool: Any) -> None:
    with alias_with(pool=pool):
        lease_all("default")
        assert "  OK    versions: " in checked("--database", "default")
        lease_all("default")
        assert "mysqlpool.W014" not in ids("default")


def test_a_check_in_a_transaction_leaves_it_alone() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        before = cursor.fetchone()
        assert ids("default") == []
        cursor.execute("SELECT CONNECTION_ID()")
        assert cursor.fetchone() == before


# max_connections


def test_too_many_processes_are_a_fault_and_little_room_is_a_warning() -> None:
    # The server of the tests has 400, and the two aliases 5 + 3.
    assert "5 processes x 5 + 15 ('other') = 40 sessions at most, of 400" in checked(
        "--processes", "5"
    )
    said, error = failed("--processes", "51")
    assert "  FAIL  max_connections: 51 processes x 5 + 153 ('other') = 408 " in said
    assert error == "2 FAIL of 12 findings."
    assert "  WARN  max_connections: " in checked("--processes", "48")
    _, error = failed("--processes", "48", "--fail-level", "warn")
    assert error == "2 WARN of 12 findings."


def test_the_other_alias_on_the_server_counts_where_one_is_checked_alone() -> None:
    said, _ = failed("--database", "default", "--processes", "51")
    assert "+ 153 ('other') = 408" in said


def test_another_name_of_the_same_server_does_not_deceive() -> None:
    with alias_with(HOST="127.1"):
        said = failed("--processes", "51")[0]
    assert said.count("= 408 sessions") == 2


def test_what_other_accounts_use_is_counted_without_a_right_to_see_it(
    account: str, observer: Observer
) -> None:
    with alias_with(USER=account, PASSWORD=SECRET):
        observer.until(lambda: observer.status("Threads_connected") == [1])
        assert "; 1 in use by other accounts now" in checked("--database", "default")


def test_processes_are_found_in_gunicorns_file(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 100\nthreads = 8\n")
    said, _ = failed("--database", "default")
    assert "100 processes of gunicorn (gunicorn.conf.py) x 5 " in said
    assert "  WARN  threads of gunicorn: 8 a process (gunicorn.conf.py), 5 sessions" in said
    assert ids("default") == ["mysqlpool.W013"]


# The account


def test_a_limit_of_the_account_is_found_without_rights(account: str, observer: Observer) -> None:
    observer.query(f"ALTER USER {account}@'127.0.0.1' WITH MAX_USER_CONNECTIONS 3")
    with alias_with(USER=account, PASSWORD=SECRET, pool={"pool_size": 4}):
        said, _ = failed("--database", "default")
        (message,) = check_servers(databases=["default"])
    assert "  FAIL  account: 1 process x 4 (--processes tells of more) = 4 " in said
    assert "checker@127.0.0.1 may have 3" in said
    assert SECRET not in said
    # `migrate` and `test` ask for these checks, and are not to be stopped.
    assert (message.id, message.level) == ("mysqlpool.W014", WARNING)


@pytest.mark.mysql
def test_a_limit_of_all_accounts_is_one_of_the_account(account: str, observer: Observer) -> None:
    """MariaDB takes none on while it runs, if it was started without."""
    with (
        variable(observer, "max_user_connections", 4),
        alias_with(USER=account, PASSWORD=SECRET),
    ):
        assert "may have 4" in failed("--database", "default")[0]


def test_processes_may_share_a_limit_by_a_short_max_idle(account: str, observer: Observer) -> None:
    observer.query(f"ALTER USER {account}@'127.0.0.1' WITH MAX_USER_CONNECTIONS 12")
    with alias_with(USER=account, PASSWORD=SECRET, pool={"max_idle": 2}):
        said = checked("--database", "default", "--processes", "4")
        assert "processes that want more wait for each other" in said
    with alias_with(USER=account, PASSWORD=SECRET, pool=True):
        assert "  FAIL  account: " in failed("--database", "default", "--processes", "4")[0]


def test_limits_by_the_hour_are_told_and_no_hash_of_a_password(
    account: str, observer: Observer
) -> None:
    observer.query(f"ALTER USER {account}@'127.0.0.1' WITH MAX_CONNECTIONS_PER_HOUR 90")
    ((shown,),) = observer.query(f"SHOW CREATE USER {account}@'127.0.0.1'")
    with alias_with(USER=account, PASSWORD=SECRET):
        said = checked("--database", "default")
        assert ids("default") == ["mysqlpool.W015"]
    assert "  WARN  account by the hour: checker@127.0.0.1 has MAX_CONNECTIONS_PER_HOUR 90" in said
    assert "IDENTIFIED" in shown
    assert "IDENTIFIED" not in said


# The server


def test_a_short_wait_timeout_is_told(observer: Observer) -> None:
    with variable(observer, "wait_timeout", 60):
        said = checked("--database", "default")
        assert "  WARN  wait_timeout: the server closes what is idle for 60 s" in said
        assert ids("default") == ["mysqlpool.W016"]
        with alias_with(pool={"max_idle": 30}):
            assert ids("default") == []


def test_the_timeout_of_an_interactive_client_is_its_own(observer: Observer) -> None:
    from MySQLdb.constants import CLIENT

    with variable(observer, "interactive_timeout", 50):
        assert ids("default") == []
        with alias_with(OPTIONS={"client_flag": CLIENT.INTERACTIVE}):
            assert ids("default") == ["mysqlpool.W016"]


def test_a_server_that_takes_no_writes_is_told(observer: Observer) -> None:
    with variable(observer, "read_only", 1):
        assert "  WARN  read-only: " in checked("--database", "default")
        assert ids("default") == ["mysqlpool.W017"]


def test_a_server_that_chains_transactions_is_told(observer: Observer) -> None:
    with variable(observer, "completion_type", 1):
        assert "  WARN  completion_type: is CHAIN" in checked("--database", "default")
        assert ids("default") == ["mysqlpool.W018"]


def test_tls_in_use_is_told_of_a_session_of_the_pool(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with PrivateServer(certificate) as secure:
        ca = str(tmp_path / "certificate.pem")
        options = {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": ca}}
        where = {"HOST": secure.host, "PORT": str(secure.port), "USER": secure.user}
        with alias_with(**where, PASSWORD=secure.password, NAME="", OPTIONS=options):
            assert "  OK    TLS: in use: TLSv1." in checked("--database", "default")


def test_plain_text_to_another_machine_is_information_to_the_system_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mysqlpool.checks.comparison._is_remote", lambda server: True)
    with alias_with(OPTIONS={"ssl_mode": "DISABLED"}):  # Oracle's library prefers TLS.
        assert "  WARN  TLS: not in use" in checked("--database", "default")
        (message,) = check_servers(databases=["default"])
    assert (message.id, message.level) == ("mysqlpool.I003", INFO)


# Who cannot connect


def test_where_nobody_answers_the_others_are_compared_all_the_same() -> None:
    with alias_with("other", HOST=NOWHERE.host, PORT=str(NOWHERE.port)):
        said, error = failed()
    assert "  FAIL  connect: " in said
    assert "        Remedy: Nobody answers: correct HOST and PORT" in said
    assert "default: FairQueuePool" in said
    assert "  OK    versions: " in said
    assert error == "1 FAIL of 7 findings."


def test_a_wrong_password_is_told_and_not_shown(account: str) -> None:
    with alias_with(USER=account, PASSWORD="not-" + SECRET):
        said, _ = failed("--database", "default")
    assert "  FAIL  connect: Access denied for user 'checker'@" in said
    assert "(1045)" in said
    assert SECRET not in said


def test_a_database_that_is_not_there_and_a_full_account_have_their_remedies(
    account: str, observer: Observer
) -> None:
    with alias_with(NAME="no_such_database"):
        assert "Remedy: There is no database NAME" in failed("--database", "default")[0]
    observer.query(f"ALTER USER {account}@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
    taken: dict[str, Any] = {"USER": account, "PASSWORD": SECRET}
    with alias_with("other", **taken), alias_with(**taken, pool={"timeout": 0.2}):
        lease_all("other")
        assert "Remedy: The account is full" in failed("--database", "default")[0]


def test_what_a_callable_password_raises_is_named_and_not_quoted() -> None:
    def ask_the_vault() -> str:
        raise KeyError(SECRET)

    with alias_with(PASSWORD=ask_the_vault):
        said, _ = failed("--database", "default")
        assert "  FAIL  connect: KeyError while connecting" in said
        assert SECRET not in said
        with pytest.raises(KeyError):
            call_command("mysqlpool", "check", traceback=True, stdout=StringIO())


def test_the_system_check_raises_what_djangos_own_does() -> None:
    with (
        alias_with(HOST=NOWHERE.host, PORT=str(NOWHERE.port)),
        pytest.raises(OperationalError),
    ):
        check_servers(databases=["default"])


def test_each_of_several_servers_is_asked(server: Server) -> None:
    good, bad = f"{server.host}:{server.port}", f"{NOWHERE.host}:{NOWHERE.port}"
    with alias_with(HOST=[bad, good], pool={"pool_size": 1, "timeout": 5, "lease": "task"}):
        lease_all("default")  # The only session, which each server's is asked by in turn.
        said = checked("--database", "default")
        assert f"on {bad}\n  WARN  connect: " in said
        assert f"on {good}\n  OK    versions: " in said
        assert ids("default") == []
    with alias_with(HOST=[bad, bad.replace(":1", ":2")]):
        assert failed("--database", "default")[0].count("  FAIL  connect: ") == 2


def test_bad_settings_are_a_fault_and_nothing_is_connected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "mysqlpool.session")
    with alias_with(pool={"pool_sise": 5, "timeout": -1}):
        said, error = failed("--database", "default")
    assert said.startswith("default: its settings are refused\n  FAIL  settings: DATABASES")
    assert error == "2 FAIL of 2 findings."
    assert "session opened" not in caplog.text


def test_a_check_from_another_thread_leaves_nothing_behind() -> None:
    with in_thread(lambda: checked("--database", "default")) as result:
        pass
    assert "  OK    versions: " in result.value
    assert stats()["default"].in_use == 0
