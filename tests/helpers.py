"""What several test modules do."""

from __future__ import annotations

import cProfile
import json
import logging
import os
import pstats
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from django.db import connections

from tests.server import FLAVOURS

ROOT = Path(__file__).parent.parent  # of the repository

STRESS_SECONDS = float(os.environ.get("MYSQLPOOL_STRESS_SECONDS", "2"))
HANG = 30  # seconds; a generous bound that only proves that something did not hang


def lease_all(*aliases: str) -> None:
    for alias in aliases:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)


def leased() -> list[str]:
    """The aliases on which this thread holds a connection."""
    return [c.alias for c in connections.all(initialized_only=True) if c.connection is not None]


def make_certificate(directory: Path, name: str = "127.0.0.1") -> list[str]:
    """Make one for a server of this name, and tell with which options that presents it."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    kind = "IP" if name[0].isdecimal() else "DNS"  # Oracle's client library looks only here.
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=HANG)
    return [f"--ssl-key={key}", f"--ssl-cert={certificate}"]


def rows_of(count: int, columns: str) -> str:
    """A query of ``count`` rows, 1000 at most, without a table, for both kinds of server."""
    return f"{_numbers(count)} SELECT {columns} FROM numbered"


def endless() -> str:
    """What a ``SELECT`` goes on with that ends by an error when it is killed, on both servers.

    ``SLEEP()`` does not on MySQL, where it returns 1.
    """
    tables = ", ".join(f"numbered AS n{i}" for i in range(5))
    return f"COUNT(*) FROM ({_numbers(1000)} SELECT MAX(n0.n) FROM {tables}) AS counted"


def _numbers(count: int) -> str:
    more = f"SELECT n + 1 FROM numbered WHERE n < {count}"
    return f"WITH RECURSIVE numbered (n) AS (SELECT 1 UNION ALL {more})"


def session_id(alias: str = "default") -> int:
    """The server's number of this thread's session, which is leased if it was not."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        number: int = cursor.fetchone()[0]
        return number


def identified(password: str) -> str:
    """The IDENTIFIED clause for an account of a test, to which this run's driver can log in."""
    return FLAVOURS[os.environ["MYSQLPOOL_SERVER"]].identified(password)


def error_of(function: Callable[[], Any]) -> BaseException | None:
    """What a function raises; ``None`` where it raises nothing."""
    try:
        function()
    except BaseException as error:
        return error
    return None


class Handler(logging.Handler):
    """One without Python's own lock, which would keep others that log waiting while it hangs."""

    def handle(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return True


@contextmanager
def without_logging() -> Iterator[None]:
    """No log at all, for a test whose signal handler raises at any moment.

    The standard library's lock of all loggers is not safe against that: a handler that raises while
    ``Logger.isEnabledFor`` fills its cache leaves it taken, and every thread that logs hangs.
    """

    def is_enabled_for(logger: logging.Logger, level: int) -> bool:
        return False

    with mock.patch.object(logging.Logger, "isEnabledFor", is_enabled_for):
        yield


class Result:
    value: Any = None
    error: BaseException | None = None


@contextmanager
def in_thread(function: Callable[[], Any]) -> Iterator[Result]:
    """Run a function in a thread beside the block; its error is raised after the block."""
    result = Result()

    def run() -> None:
        try:
            result.value = function()
        except BaseException as error:
            result.error = error

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield result
    finally:
        thread.join(HANG)
    assert not thread.is_alive(), "the thread hangs"
    if result.error is not None:
        raise result.error


def run_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run all functions at once, each in a thread; raise the first error, or return the values."""
    results = [Result() for _ in functions]

    def run(function: Callable[[], Any], result: Result) -> None:
        try:
            result.value = function()
        except BaseException as error:
            result.error = error

    threads = [
        threading.Thread(target=run, args=pair, daemon=True)
        for pair in zip(functions, results, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG * 2)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    for result in results:
        if result.error is not None:
            raise result.error
    return [result.value for result in results]


def calls(function: Callable[[], object]) -> int:
    """The fewest of several rounds: since Python 3.12 the profiler hears other threads, too."""
    for _ in range(3):  # The first opens the session, and fills caches.
        function()
    return min(_profiled(function) for _ in range(20))


def _profiled(function: Callable[[], object]) -> int:
    profile = cProfile.Profile()
    profile.enable()
    function()
    profile.disable()
    total: int = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]
    return total


def json_lines(path: Path) -> list[dict[str, Any]]:
    """What a file of JSON lines holds, such as the event log."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]
