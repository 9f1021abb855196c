"""The private server for a run that needs one, and Django's settings for every run.

A run needs none where all that it was asked for lies in ``tests/unit``. Django's settings then name
an address where nobody answers.

``--server mysql`` takes MySQL instead of MariaDB. A test that is about one server's own words
carries the marker ``mariadb`` or ``mysql``. On the other one it is left out, and the run's last
lines say how many were. So they do of the tests of faults that take longer than a second, which run
with ``--faults``. Tests on a cluster run with ``--clusters NAME`` alone, those of servers and task
queues with ``--servers``, and those in a browser where there is one.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
import pytest

from tests.server import (
    FLAVOURS,
    Server,
    ServerError,
    server_from_environment_or_private,
    wanted_flavour,
)

UNIT_TESTS = Path(__file__).resolve().parent / "unit"
# Only root could listen there, and hardly anybody does: a connection is refused at once.
NOWHERE = Server("127.0.0.1", 1, "nobody", "", "mysqlpool")

EXIT_SECONDS = 60

SERVER = pytest.StashKey[Server]()
_RUNNING = pytest.StashKey[Any]()
_LEFT_OUT = pytest.StashKey[int]()
_LONG_FAULTS_LEFT_OUT = pytest.StashKey[int]()
_CLUSTERS_LEFT_OUT = pytest.StashKey[int]()
_BROWSER_LEFT_OUT = pytest.StashKey[int]()
_SERVERS_LEFT_OUT = pytest.StashKey[int]()

CLUSTERS = ("galera", "group-replication")
BROWSER = ("chromium", "chromedriver")
SERVERS = ("some", "all")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=FLAVOURS,
        help="the server to run on (default: MYSQLPOOL_SERVER, or mariadb)",
    )
    parser.addoption(
        "--faults", action="store_true", help="run the tests of faults that take longer, too"
    )
    parser.addoption(
        "--fault-rows", metavar="FILE", help="write what was seen of the faults there, as JSON"
    )
    parser.addoption("--clusters", choices=CLUSTERS, help="run the tests on such a cluster, too")
    parser.addoption(
        "--pictures", action="store_true", help="let the browser make the pictures in docs/pictures"
    )
    parser.addoption(
        "--servers",
        choices=SERVERS,
        default=os.environ.get("MYSQLPOOL_SERVERS") or None,
        help="run the tests of servers and task queues, too: the most used ones, or all "
        "(default: MYSQLPOOL_SERVERS, or none)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the server before Django reads its settings, which take it from the environment."""
    for name in FLAVOURS:
        config.addinivalue_line("markers", f"{name}: about this server's own words")
    config.addinivalue_line(
        "markers", "fault(name, long=False): about this fault; it takes longer than a second"
    )
    config.addinivalue_line("markers", "cluster(name): on a cluster, of this name if it has one")
    config.stash[_LEFT_OUT] = config.stash[_LONG_FAULTS_LEFT_OUT] = 0
    config.addinivalue_line("markers", "browser: in headless Chromium")
    config.stash[_CLUSTERS_LEFT_OUT] = config.stash[_BROWSER_LEFT_OUT] = 0
    config.stash[_SERVERS_LEFT_OUT] = 0
    config.pluginmanager.register(Told(config))
    if config.getoption("help") or config.getoption("version"):
        return
    try:
        if are_unit_tests(config.args, config.invocation_params.dir):
            address, flavour = NOWHERE, config.getoption("server") or wanted_flavour(os.environ)
        else:
            address = _start(config)
            flavour = address.flavour_name()
    except ServerError as error:
        raise pytest.UsageError(str(error)) from None
    # What starts a server of its own, here or in a process, starts one of the same flavour.
    os.environ["MYSQLPOOL_SERVER"] = flavour
    os.environ.update(address.environ())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()


def are_unit_tests(arguments: Iterable[str], directory: Path) -> bool:
    """Whether all that pytest was asked for lies in ``tests/unit``.

    The arguments are those that pytest itself has found, so without any on the command line they
    are those of the configuration. One that is no file or folder counts as elsewhere: it may be a
    module's name, for ``--pyargs``.
    """
    paths = [(directory / argument.partition("::")[0]).resolve() for argument in arguments]
    return bool(paths) and all(path.is_relative_to(UNIT_TESTS) and path.exists() for path in paths)


def _start(config: pytest.Config) -> Server:
    running = server_from_environment_or_private(config.getoption("server"))
    server = config.stash[SERVER] = running.__enter__()
    config.stash[_RUNNING] = running
    return server


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server. A thread that was left hanging has a while to end, and is then shown."""
    if (running := config.stash.get(_RUNNING, None)) is not None:
        running.__exit__(None, None, None)
    # The time limit of pyproject.toml is of a test; the interpreter waits for its threads for ever.
    faulthandler.dump_traceback_later(EXIT_SECONDS, exit=True, file=2)  # Standard error.


def pytest_report_header(config: pytest.Config) -> str:
    import MySQLdb

    server = config.stash.get(SERVER, None)
    version = "none, these are unit tests" if server is None else server.version()
    return f"server: {version}, driver's client library: {MySQLdb.get_client_info()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other server, and what takes long and was not asked for."""
    others = FLAVOURS.keys() - {os.environ["MYSQLPOOL_SERVER"]}
    cluster, servers = config.getoption("clusters"), config.getoption("servers")

    def leave_out(key: pytest.StashKey[int], is_other: Callable[[pytest.Item], bool]) -> None:
        left_out = [item for item in items if is_other(item)]
        config.stash[key] = len(left_out)
        if left_out:
            items[:] = [item for item in items if not is_other(item)]
            config.hook.pytest_deselected(items=left_out)

    leave_out(_LEFT_OUT, lambda item: any(map(item.get_closest_marker, others)))
    if not config.getoption("faults"):
        leave_out(_LONG_FAULTS_LEFT_OUT, is_long_fault)
    leave_out(_CLUSTERS_LEFT_OUT, lambda item: not is_on(cluster, item))
    leave_out(_SERVERS_LEFT_OUT, lambda item: not is_under(servers, item))
    if not has_browser():
        leave_out(_BROWSER_LEFT_OUT, lambda item: item.get_closest_marker("browser") is not None)


def has_browser() -> bool:
    """Whether Chromium and what drives it are installed."""
    return all(map(shutil.which, BROWSER)) and find_spec("selenium") is not None


def is_on(cluster: str | None, item: pytest.Item) -> bool:
    """Whether it runs where this cluster was asked for; what needs none always does."""
    mark = item.get_closest_marker("cluster")
    return mark is None or (cluster is not None and mark.args in ((), (cluster,)))


def is_under(servers: str | None, item: pytest.Item) -> bool:
    """Whether it runs where these servers were asked for; what is of none always does."""
    marks = list(item.iter_markers("servers"))
    if not marks or servers == "all":
        return True
    return servers == "some" and not any(mark.kwargs.get("everything") for mark in marks)


def is_long_fault(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("fault")
    return mark is not None and bool(mark.kwargs.get("long"))


class Told:
    """Tells of a failure at once, in a line.

    A later test that hangs ends the process, and with it the report that would come in the end.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            crash = getattr(report.longrepr, "reprcrash", None) or report.longreprtext
            reporter.write(f"\nFAILED {report.nodeid} ({report.when}): {crash}\n")
            reporter.flush()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if left_out := config.stash[_LEFT_OUT]:
        here = os.environ["MYSQLPOOL_SERVER"]
        others = " and ".join(sorted(FLAVOURS.keys() - {here}))
        terminalreporter.write_line(
            f"{left_out} tests are about {others} alone, and were left out: this ran on {here}"
        )
    if left_out := config.stash[_LONG_FAULTS_LEFT_OUT]:
        terminalreporter.write_line(
            f"{left_out} tests of faults that take longer were left out; "
            "tox run -e faults runs them"
        )
    if left_out := config.stash[_CLUSTERS_LEFT_OUT]:
        terminalreporter.write_line(
            f"{left_out} tests on clusters were left out; tox run -e galera,group-replication "
            "runs them"
        )
    if left_out := config.stash[_BROWSER_LEFT_OUT]:
        terminalreporter.write_line(
            f"{left_out} tests in a browser were left out, as {', '.join(BROWSER)} or selenium is "
            "not installed; tox run -e browser runs them"
        )
    if left_out := config.stash[_SERVERS_LEFT_OUT]:
        which = "MYSQLPOOL_SERVERS=all tox" if config.getoption("servers") else "tox"
        terminalreporter.write_line(
            f"{left_out} tests of servers and task queues were left out; {which} run -e servers "
            "runs them"
        )


@pytest.fixture(autouse=True)
def fresh_pools(_django_db_marker: None) -> Iterator[None]:
    """Each test starts and ends with no session open and nothing leased by this thread.

    It starts without the pools of aliases that an earlier test had made.
    """
    from django.db import connections

    from mysqlpool import close_pool, release_connections
    from mysqlpool.aliases import registry

    release_connections()
    close_pool()
    for alias in registry._pools.keys() - connections.settings.keys():
        del registry._pools[alias]
    yield
    release_connections()
    close_pool()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of this test alone, to see what is left in it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path
