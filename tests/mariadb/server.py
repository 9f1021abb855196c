"""A throw-away MariaDB server for the tests, the benchmarks and the demo.

``with PrivateServer() as server:`` creates a data directory in a temporary directory, starts
mariadbd on it with a free loopback port and its own socket, and removes all of it at the end.
It reads no configuration file and touches no other server. __main__ does the same around a
command.

Root may log in over TCP from 127.0.0.1 without a password: mariadb-install-db creates that account
when its authentication method is "normal". The port is open on the loopback interface only, to
whoever is on this machine, as long as the server runs.

However the owner ends, the server does too: see guard.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

DATABASE_NAME = "mysqlpool"

# Directories of mariadbd that are often not on the PATH of an ordinary user: Debian, Fedora.
SYSTEM_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")

# Below the range that Linux and macOS give to outgoing connections, so that none of those can take
# the port while a killed server is down.
PORTS = range(15_000, 32_000)
START_ATTEMPTS = 5
START_SECONDS = 30.0
STOP_SECONDS = 30.0
LOG_LINES = 60

INSTALL_OPTIONS = (
    "--no-defaults",
    "--auth-root-authentication-method=normal",
    "--skip-name-resolve",
    "--skip-test-db",
    "--innodb-log-file-size=16M",
)
# innodb_flush_log_at_trx_commit keeps its default, 1: tests kill the server and look for commits.
SERVER_OPTIONS = (
    "--no-defaults",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--max-connections=400",
    "--character-set-server=utf8mb4",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-use-native-aio=OFF",
)


class ServerError(RuntimeError):
    """The private server is not installed, did not start, or did not stop."""


class Server:
    """Where a server is and how to log in to it."""

    def __init__(self, host: str, port: int, user: str, password: str, name: str) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.name = name

    def environ(self) -> dict[str, str]:
        """The environment variables by which the example project finds the server."""
        return {
            "DATABASE_HOST": self.host,
            "DATABASE_PORT": str(self.port),
            "DATABASE_USER": self.user,
            "DATABASE_PASSWORD": self.password,
            "DATABASE_NAME": self.name,
        }

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """The server that environ() of another one, or a person, described."""
        return cls(
            host=environ["DATABASE_HOST"],
            port=int(environ.get("DATABASE_PORT") or 3306),
            user=environ.get("DATABASE_USER", "root"),
            password=environ.get("DATABASE_PASSWORD", ""),
            name=environ.get("DATABASE_NAME", DATABASE_NAME),
        )


class PrivateServer(Server):
    """A MariaDB server that lives as long as the ``with`` block, or from start() to stop().

    ``options`` are added to mariadbd's command line and win over SERVER_OPTIONS. The database
    ``name`` exists once the server is up. Raises ServerError when mariadbd is missing or does not
    start, with the end of the server's error log.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        super().__init__("127.0.0.1", 0, "root", "", DATABASE_NAME)
        self.options = tuple(options)
        self._owner = os.getpid()
        self._directory: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def directory(self) -> Path:
        """The temporary directory that holds everything the server writes."""
        if self._directory is None:
            raise ServerError("the private server has not been started")
        return self._directory

    @property
    def socket(self) -> str:
        """The path of the server's Unix socket."""
        return str(self.directory / "socket")

    @property
    def pid(self) -> int:
        """The process id of mariadbd, for signals such as SIGSTOP."""
        return self._running().pid

    def start(self) -> None:
        """Start the server, on its old data directory and port if it had them.

        Returns when the server answers. On any exception nothing is left behind.
        """
        if self._server is not None:
            raise ServerError("the private server is running already")
        try:
            if self._directory is None:
                self._create()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the server and remove its files; nothing when that is done already.

        A forked child that runs its parent's clean-up code does no harm here.
        """
        if os.getpid() != self._owner:
            return
        if self._server is not None:
            self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            self._guard = None
        self.port = 0

    def kill(self) -> None:
        """End the server by SIGKILL, as a crash would. Its data and its port stay reserved."""
        server = self._running()
        server.kill()
        server.wait()
        self._server = None

    def terminate(self) -> None:
        """Shut the server down in good order. Its data and its port stay reserved."""
        server = self._running()
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise ServerError(f"mariadbd still runs {STOP_SECONDS:g} s after SIGTERM") from None
        self._server = None

    def restart(self) -> None:
        """Shut the server down if it runs, and start it on the same data and port."""
        if self._server is not None:
            self.terminate()
        self.start()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._server is None:
            raise ServerError("the private server is not running")
        return self._server

    def _create(self) -> None:
        """Make the temporary directory, set the guard over it, and create the system tables."""
        install = find_program("mariadb-install-db")
        find_program("mariadbd")
        self._directory = Path(tempfile.mkdtemp(prefix="mysqlpool-"))
        (self._directory / "tmp").mkdir()
        script = str(Path(__file__).with_name("guard.py"))
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(self._owner), str(self._directory)],
            process_group=0,
            stdin=subprocess.DEVNULL,
        )
        (self._directory / "init.sql").write_text(f"CREATE DATABASE IF NOT EXISTS {self.name};\n")
        if self._spawn([install, *INSTALL_OPTIONS]).wait() != 0:
            raise ServerError(f"mariadb-install-db failed. Its log ends with:\n{self._log_tail()}")

    def _launch(self) -> None:
        """Start mariadbd; with another port as long as a first start finds the port taken."""
        command = [find_program("mariadbd"), *SERVER_OPTIONS]
        command += [f"--socket={self.socket}", f"--init-file={self.directory / 'init.sql'}"]
        fixed_port = self.port
        for _attempt in range(START_ATTEMPTS):
            self.port = fixed_port or free_port()
            self._server = self._spawn([*command, f"--port={self.port}", *self.options])
            if self._answers():
                return
            self.kill()
            if fixed_port or "Bind on TCP/IP port" not in self._log_tail():
                break
        raise ServerError(f"mariadbd did not start. Its error log ends with:\n{self._log_tail()}")

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Run a program of the server on the data directory, under the guard."""
        assert self._guard is not None
        # --no-defaults must stay first. A server that starts deletes the temporary tables it finds
        # in its tmpdir, also those of a server that runs: never share /tmp.
        command[2:2] = [f"--datadir={self.directory / 'data'}", f"--tmpdir={self.directory}"]
        if os.geteuid() == 0:
            command.append("--user=root")
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                # A server deletes what it takes for its own leftovers in the directory for
                # temporary tables when it starts, and so must not share one with another.
                env={**os.environ, "TMPDIR": str(self.directory / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._guard.pid,
            )

    def _answers(self) -> bool:
        """Wait until the server greets on its socket; False when it ended or stayed silent."""
        server = self._running()
        deadline = time.monotonic() + START_SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            if greets(self.socket):
                return True
            time.sleep(0.01)
        return False

    def _log_tail(self) -> str:
        lines = (self.directory / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])


def find_program(name: str) -> str:
    """The path of one of MariaDB's programs; ServerError naming the package when it is missing."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_DIRECTORIES))
    if path := shutil.which(name, path=search):
        return path
    raise ServerError(
        f"{name} is not installed. It comes with MariaDB's server: "
        "apt-get install mariadb-server-core mariadb-client (Debian, Ubuntu), "
        "dnf install mariadb-server (Fedora), brew install mariadb (macOS). "
        "Or set DATABASE_HOST, DATABASE_PORT, DATABASE_USER and DATABASE_PASSWORD "
        "to use a server that runs already."
    )


def free_port() -> int:
    """A loopback port that nobody listens on now. Another process may still be quicker."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def greets(path: str) -> bool:
    """Whether a server behind the Unix socket sends the handshake of a server that is ready.

    The first packet is a 4 byte header and the protocol version, 10:
    https://mariadb.com/kb/en/connection/#initial-handshake-packet
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(START_SECONDS)
        try:
            probe.connect(path)
            return probe.recv(5)[4:] == b"\x0a"
        except (FileNotFoundError, ConnectionError):
            return False


def server_from_environment_or_private() -> AbstractContextManager[Server]:
    """The server that DATABASE_HOST and its like name, or a private one for the ``with`` block."""
    if os.environ.get("DATABASE_HOST"):
        return contextlib.nullcontext(Server.from_environ(os.environ))
    return PrivateServer()
