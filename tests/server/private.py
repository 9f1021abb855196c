"""A throw-away server, MariaDB or MySQL, for the tests, the benchmarks and the demo.

``with PrivateServer() as server:`` creates a data directory in a temporary directory, starts
the server on it with a free loopback port and its own socket, and removes all of it at the end.
It reads no configuration file and touches no other server. __main__ does the same around a
command. What the two kinds of server differ in is in flavours.

Root may log in over TCP from 127.0.0.1 without a password. The port is open on the loopback
interface only, to whoever is on this machine, as long as the server runs.

However the owner ends, the server does too: see guard.
"""

import argparse
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

from .address import DATABASE_NAME, Server
from .flavours import FLAVOURS, Flavour, ServerError

# Below the range that Linux and macOS give to outgoing connections, so that none of those can take
# the port while a killed server is down.
PORTS = range(15_000, 32_000)
START_ATTEMPTS = 5
START_SECONDS = 60.0
STOP_SECONDS = 60.0
LOG_LINES = 60


class PrivateServer(Server):
    """A server that lives as long as the ``with`` block, or from start() to stop().

    ``options`` are added to the server's command line and win over the flavour's own.
    ``flavour`` is a name in FLAVOURS; None stands for the one that the environment wants. The
    database ``name`` exists once the server is up. Raises ServerError when the server is missing
    or does not start, with the end of its error log.
    """

    def __init__(self, options: Sequence[str] = (), flavour: str | None = None) -> None:
        super().__init__("127.0.0.1", 0, "root", "", DATABASE_NAME)
        self.options = tuple(options)
        self.flavour: Flavour = FLAVOURS[flavour or wanted_flavour(os.environ)]
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
        """The server's process id, for signals such as SIGSTOP."""
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
            still = f"{self.flavour.name} still runs {STOP_SECONDS:g} s after SIGTERM"
            raise ServerError(still) from None
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
        self.flavour.program()  # where there is none, nothing is made
        self._directory = Path(tempfile.mkdtemp(prefix="mysqlpool-"))
        (self._directory / "tmp").mkdir()
        script = str(Path(__file__).with_name("guard.py"))
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(self._owner), str(self._directory)],
            process_group=0,
            stdin=subprocess.DEVNULL,
        )
        (self._directory / "init.sql").write_text(self.flavour.set_up(self.name))
        self.flavour.make_data(self._directory / "data", self._run)

    def _run(self, command: Sequence[str]) -> None:
        if self._spawn(command).wait() != 0:
            raise ServerError(f"{command[0]} failed. Its log ends with:\n{self._log_tail()}")

    def _launch(self) -> None:
        """Start the server; with another port as long as a first start finds the port taken."""
        command = [
            *(*self.flavour.program(), "--no-defaults"),  # which must stay the first option
            *self.flavour.options,
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}",
            f"--init-file={self.directory / 'init.sql'}",
        ]
        fixed_port = self.port
        for _attempt in range(START_ATTEMPTS):
            self.port = fixed_port or free_port()
            self._server = self._spawn([*command, f"--port={self.port}", *self.options])
            if self._answers():
                return
            self.kill()
            if fixed_port or "Bind on TCP/IP port" not in self._log_tail():
                break
        name = self.flavour.name
        raise ServerError(f"{name} did not start. Its error log ends with:\n{self._log_tail()}")

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Run a program of the server under the guard."""
        assert self._guard is not None
        # A server that starts deletes the temporary tables it finds in its tmpdir, also those of a
        # server that runs: never share /tmp.
        tmpdir = self.directory / "tmp"
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, f"--tmpdir={tmpdir}", *as_root],
                cwd=self.directory,
                env={**os.environ, "TMPDIR": str(tmpdir)},
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


def wanted_flavour(environ: Mapping[str, str]) -> str:
    """The flavour that MYSQLPOOL_SERVER names, MariaDB by default. ServerError for no such one."""
    name = environ.get("MYSQLPOOL_SERVER") or "mariadb"
    if name not in FLAVOURS:
        raise ServerError(f"MYSQLPOOL_SERVER must be one of {', '.join(FLAVOURS)}, not {name!r}")
    return name


def add_server_option(parser: argparse.ArgumentParser) -> None:
    """Let a command take ``--server NAME``, for server_from_environment_or_private()."""
    parser.add_argument("--server", choices=FLAVOURS, help="default: MYSQLPOOL_SERVER or mariadb")


def server_from_environment_or_private(
    flavour: str | None = None,
) -> AbstractContextManager[Server]:
    """The server that DATABASE_HOST and its like name, or a private one for the ``with`` block.

    Raises ServerError where ``flavour`` is given and the one named is of another.
    """
    if not os.environ.get("DATABASE_HOST"):
        return PrivateServer(flavour=flavour)
    server = Server.from_environ(os.environ)
    if flavour is not None and (found := server.flavour_name()) != flavour:
        raise ServerError(f"DATABASE_HOST names a server of {found}, not of {flavour}")
    return contextlib.nullcontext(server)
