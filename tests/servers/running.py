"""A product that runs as its users run it, in processes that are gone when the block ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.clusters.cluster import Processes
from tests.helpers import ROOT
from tests.server.private import free_port

from .products import SITE, Product, Queue, Server

__all__ = ["Running", "stays", "until", "unwanted"]

START_SECONDS, JOBS_SECONDS = 60.0, 60.0
"""Bounds that only prove that something did not hang, as all here but a product's own grace."""

WANTED = "Wanted"
TRACEBACK = "Traceback (most recent call last)"
LOG_LINES = 60


def unwanted(log: str) -> list[str]:
    """The tracebacks of a log that are not of the failure that is wanted."""
    return [text for text in log.split(TRACEBACK)[1:] if WANTED not in text]


def redis_server() -> list[str]:
    """The installed one, or the one of scripts/fetch-redis; the test is left out without either."""
    if found := shutil.which("redis-server"):
        return [found]
    run = ROOT / ".servers" / "redis" / "run"
    if not run.exists():
        pytest.skip("there is no redis-server: scripts/fetch-redis")
    return [str(run.resolve()), "redis-server"]


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until this is true, and return what it is then."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)
    return value


def stays(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Watch that this is true all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(0.02)


class Running:
    """Started by start(). What it needs, such as a broker, is there from the beginning.

    The test is left out where it is not installed.
    """

    def __init__(
        self,
        product: Product,
        env: Mapping[str, str],
        *,
        bare: bool = False,
        lease: str = "task",
    ) -> None:
        if product.version() is None:
            pytest.skip(f"{product.name} is left out: {product.package} is not installed")
        self.product = product
        self.port = free_port()
        self._redis = redis_server() if isinstance(product, Queue) and product.redis else None
        self._processes = Processes(may_be_root=True)
        self.folder = self._processes.make("site")
        self._main: subprocess.Popen[bytes] | None = None
        self.env = {
            **env,
            "HOME": str(self.folder),  # gunicorn makes a socket there.
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": f"{SITE}.settings",
            "SITE_FOLDER": str(self.folder),
            "SITE_APPS": self._words(product.apps),
            "SITE_BARE": "yes" if bare else "",
            "SITE_LEASE": lease,
        }
        for name in ("jobs", "control"):
            (self.folder / name).mkdir()

    def __enter__(self) -> Self:
        try:
            if self._redis is not None:
                self._start_redis(self._redis)
        except BaseException:
            self._processes.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._processes.stop()

    def _words(self, text: str) -> str:
        tasks = "" if has_module("django.tasks") else "django_tasks"
        return text.format(port=self.port, site=SITE, tasks=tasks)

    def _start_redis(self, program: Sequence[str]) -> None:
        folder = self._processes.make("redis")
        path = folder / "socket"
        command = [*program, "--port", "0", "--unixsocket", str(path), "--save", ""]
        self._processes.spawn(command, folder)
        until(path.exists, START_SECONDS, "redis-server has a socket")
        self.env["SITE_REDIS"] = f"unix://{path}"

    def run(self, *arguments: str) -> None:
        """Run Python to its end, as the site."""
        folder = self._processes.directory / "before"
        if not folder.exists():
            self._processes.make("before")
        process = self._processes.spawn([sys.executable, *arguments], folder, self.env)
        assert process.wait(START_SECONDS) == 0, (folder / "log").read_text(errors="replace")

    def start(self) -> None:
        program, *arguments = self._words(self.product.command).split()
        found = shutil.which(program, path=str(Path(sys.executable).parent))
        assert found is not None, f"{self.product.package} brings no {program}"
        self._main = self._processes.spawn([found, *arguments], self.folder, self.env)
        if isinstance(self.product, Server):
            until(self._is_ready, START_SECONDS, f"{self.product.name} is ready")

    def assert_lives(self) -> None:
        assert self._main is not None
        assert self._main.poll() is None, self.log()

    def _is_ready(self) -> bool:
        assert isinstance(self.product, Server)
        ready = self.product.ready
        return self._answers() and (not ready or self._log().count(ready) >= self.product.processes)

    def _answers(self) -> bool:
        self.assert_lives()
        try:
            url = f"http://127.0.0.1:{self.port}/read?n=0"
            with urllib.request.urlopen(url, timeout=START_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def reload(self) -> None:
        assert isinstance(self.product, Server)
        assert self.product.reload is not None
        assert self._main is not None
        self._main.send_signal(self.product.reload)

    def stop(self) -> None:
        """Ask it to end, and wait as long as it gives itself."""
        assert self._main is not None
        self._main.send_signal(self.product.stop)
        try:
            self._main.wait(self.product.grace)
        except subprocess.TimeoutExpired:
            grace = f"{self.product.name} still runs after {self.product.grace:g} s"
            raise AssertionError(grace + self.log()) from None

    # What was told

    def log(self) -> str:
        """The end of what it wrote."""
        lines = self._log().splitlines()
        return "\n".join(["", *lines[-LOG_LINES:]])

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def tracebacks(self) -> list[str]:
        """All but those of jobs and views that are to fail."""
        return unwanted(self._log())

    def told(self) -> list[dict[str, Any]]:
        try:
            lines = (self.folder / "told").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that were done."""
        return [record for record in self.told() if "answer" in record]

    def wait_for_jobs(self, count: int) -> None:
        def done() -> bool:
            self.assert_lives()
            return len(self.jobs()) >= count

        until(done, JOBS_SECONDS, f"{count} jobs are done")

    def held(self) -> int:
        """How many sessions are leased now, in all processes that live."""
        latest = {record["pid"]: record["in_use"] for record in self.told() if "in_use" in record}
        return sum(count for pid, count in latest.items() if Path("/proc", str(pid)).exists())

    def pids(self) -> set[int]:
        """The processes that have worked."""
        return {record["pid"] for record in self.told()}


def has_module(name: str) -> bool:
    """Whether this Django has it."""
    from importlib.util import find_spec

    return find_spec(name) is not None
