"""What every cluster can do, and its nodes: a flavour is a subclass of each.

A cluster's processes share one guard and one temporary directory, so that nothing of them is left
however the run ends: see tests/server/guard.py.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Self

import MySQLdb

from tests.server import ServerError, guard
from tests.server.private import free_port

__all__ = ["DATABASE", "TABLES", "Cluster", "Node", "Processes", "until"]

DATABASE = "clusters"
_KEY = "id BIGINT AUTO_INCREMENT PRIMARY KEY"
TABLES = (
    f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
    # The text has no unique key, as a row that is there twice is to be seen.
    f"CREATE TABLE IF NOT EXISTS {DATABASE}.written ({_KEY}, text VARCHAR(100) NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS {DATABASE}.probed ({_KEY}, node VARCHAR(20) NOT NULL)",
    # Rows for two writers to want at once.
    f"CREATE TABLE IF NOT EXISTS {DATABASE}.contended (id INT PRIMARY KEY, value INT NOT NULL)",
)

WHOLE_SECONDS = 120.0
"""Until all nodes are members again; a bound that only proves that something did not hang."""

CONNECT_SECONDS, ANSWER_SECONDS = 2, 20
LOG_LINES = 40


def until(condition: Callable[[], Any], seconds: float, what: str, pause: float = 0.05) -> Any:
    """Wait until this is true, and return what it is then."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
    return value


class Processes:
    """Processes under one guard, and the directory that they write to.

    Root starts them as another user where their programs want no root.
    """

    def __init__(self, *, may_be_root: bool = False) -> None:
        self._owner = os.getpid()
        self._ids = _ordinary_user() if os.geteuid() == 0 and not may_be_root else {}
        self.directory = Path(tempfile.mkdtemp(prefix="mysqlpool-"))
        self.give(self.directory)
        self._started: list[subprocess.Popen[bytes]] = []
        script = str(Path(guard.__file__))
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(self._owner), str(self.directory)],
            process_group=0,
            stdin=subprocess.DEVNULL,
        )

    def give(self, path: Path) -> None:
        """Let the processes own a file or a directory."""
        if self._ids:
            os.chown(path, self._ids["user"], self._ids["group"])

    def make(self, *names: str) -> Path:
        """A directory of theirs, with a tmp of its own, which servers must not share."""
        path = self.directory.joinpath(*names)
        path.mkdir()
        self.give(path)
        (path / "tmp").mkdir()
        self.give(path / "tmp")
        return path

    def spawn(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a program in a folder of make(), where what it writes goes to ``log``."""
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder / "tmp"), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._guard.pid,
                umask=0o077,
                **self._ids,
            )
        self._started.append(process)
        return process

    def stop(self) -> None:
        """Kill the guard's process group, which is all that was started here and its children."""
        if os.getpid() != self._owner:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        for process in (self._guard, *self._started):
            process.wait()
        guard.remove(str(self.directory))


def _ordinary_user() -> dict[str, Any]:
    """What Popen takes to run as a user who is not root, and has nothing else to lose."""
    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise ServerError("there is neither a user mysql nor a user nobody to run a cluster's nodes")


class Node(ABC):
    """A server of a cluster. It is down until start()."""

    host = "127.0.0.1"

    def __init__(self, cluster: Cluster, number: int, port: int) -> None:
        self.cluster = cluster
        self.number = number
        self.name = f"node{number}"
        self.port = port
        self.folder = cluster.processes.make(self.name)
        self.is_frozen = False
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_up(self) -> bool:
        """Whether it runs and is not frozen, which says nothing of its membership."""
        return self._server is not None and self._server.poll() is None and not self.is_frozen

    @abstractmethod
    def start(self) -> None:
        """Start it on the data that it has, and have it join; it is a member when this returns."""

    @abstractmethod
    def read_only(self) -> None:
        """Let it take no writes."""

    @abstractmethod
    def writable(self) -> None:
        """Let it take writes again."""

    @abstractmethod
    def is_member(self) -> bool:
        """Whether it says that it is a healthy member of the whole cluster."""

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; frozen or not."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        self._server, self.is_frozen = None, False

    def freeze(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._server.pid, os.WSTOPPED)
        self.is_frozen = True

    def thaw(self) -> None:
        assert self._server is not None
        self.is_frozen = False
        self._server.send_signal(signal.SIGCONT)

    def query(self, sql: str, *args: Any, **options: Any) -> tuple[tuple[Any, ...], ...]:
        """Ask it by a connection of its own, which belongs to no pool."""
        wanted: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.cluster.user,
            "password": self.cluster.password,
            "autocommit": True,
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            **options,
        }
        connection = MySQLdb.connect(**wanted)
        try:
            cursor = connection.cursor()
            cursor.execute(sql, args or None)
            return tuple(cursor.fetchall()) if cursor.description else ()
        finally:
            connection.close()

    def takes_writes(self) -> bool:
        """Whether a row can be committed there now: by writing one."""
        if not self.is_up:
            return False
        try:
            self.query(f"INSERT INTO {DATABASE}.probed (node) VALUES (%s)", self.name)
        except MySQLdb.Error:
            return False
        return True

    def log_tail(self) -> str:
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])


class Cluster(ABC):
    """Some nodes, and a proxy that leads to one that takes writes.

    ``with Cluster():`` starts all, and ends all in the end. The account may do anything but write
    to a server that is read-only.
    """

    name: str
    """As ``--clusters`` and tox call it."""

    nodes: Sequence[Node]
    proxy: tuple[str, int]
    user = "application"
    password = "secret"
    processes: Processes
    may_be_root = False
    """Whether its programs run as root where the tests do."""

    def __enter__(self) -> Self:
        self.processes = Processes(may_be_root=self.may_be_root)
        self._ports = {0}
        try:
            self.start()
            self.wait_whole()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def free_port(self) -> int:
        """One that nobody listens on, and that this has not given out before."""
        port = 0
        while port in self._ports:
            port = free_port()
        self._ports.add(port)
        return port

    @abstractmethod
    def start(self) -> None:
        """Make and start the nodes with TABLES in them and the account, and then the proxy."""

    def stop(self) -> None:
        """End all processes, and remove their files."""
        self.processes.stop()

    def wait_whole(self, seconds: float = WHOLE_SECONDS) -> None:
        """Wait until all nodes are members, and one of them takes writes."""
        whole = "all nodes are healthy members"
        until(
            lambda: all(node.is_up and node.is_member() for node in self.nodes),
            seconds,
            whole,
        )
        self.writer()

    def heal(self) -> None:
        """Bring back the nodes that were killed or frozen."""
        for node in self.nodes:
            if node.is_frozen:
                node.thaw()
        for node in self.nodes:
            if not node.is_up:
                node.start()
        self.wait_whole()

    def writer(self, seconds: float = WHOLE_SECONDS) -> Node:
        """The node on which a write succeeds first, as soon as there is any.

        All are tried at once, since one of them may let a write wait until it sees that others are
        away. The order of ``nodes`` decides where several take writes.
        """
        deadline = time.monotonic() + seconds
        executor = ThreadPoolExecutor()
        try:
            while time.monotonic() < deadline:
                waiting = {executor.submit(node.takes_writes): node for node in self.nodes}
                for answer in as_completed(waiting):
                    if answer.result():
                        return waiting[answer]
                time.sleep(0.05)
        finally:
            executor.shutdown(wait=False)  # One that hangs is not waited for.
        raise ServerError(f"no node of {self.name} takes writes within {seconds:g} s")

    def query(self, sql: str, *args: Any) -> tuple[tuple[Any, ...], ...]:
        """Ask the node that takes writes now."""
        return self.writer().query(sql, *args)

    def rows(self) -> list[str]:
        """What is committed, as a node says that takes writes and has all that others committed."""
        return [text for (text,) in self.query(f"SELECT text FROM {DATABASE}.written")]

    def empty(self) -> None:
        """Remove all rows but those of the probes, which other nodes may still be at."""
        node = self.writer()
        for table in ("written", "contended"):
            node.query(f"DELETE FROM {DATABASE}.{table}")

    def settings(self, reach: str) -> dict[str, Any]:
        """What an alias has in Django's settings, to come there by ``proxy`` or by ``hosts``."""
        host, port = self.proxy
        by_proxy = {"HOST": host, "PORT": str(port)}
        by_hosts = {"HOST": ",".join(node.address for node in self.nodes), "PORT": ""}
        return {
            **{"proxy": by_proxy, "hosts": by_hosts}[reach],
            "USER": self.user,
            "PASSWORD": self.password,
            "NAME": DATABASE,
        }
