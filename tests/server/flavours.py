"""The two kinds of server: what each is called, is started with, and needs beforehand.

A third one is a class here with an entry in FLAVOURS.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SERVERS = ROOT / ".servers"

# Directories of servers that are often not on the PATH of an ordinary user: Debian, Fedora.
SYSTEM_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")

# innodb_flush_log_at_trx_commit keeps its default, 1: tests kill the server and look for commits.
COMMON_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--max-connections=400",
    "--character-set-server=utf8mb4",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=32M",
    "--innodb-use-native-aio=OFF",
)

SHA2_REMEDY = (
    "On Debian sid, apt-get install mariadb-server brings that plugin. Anywhere, "
    "MYSQLPOOL_DRIVER_LIBRARY=mariadb scripts/install builds the driver against MariaDB's client "
    "library instead."
)

Run = Callable[[Sequence[str]], None]
"""Runs a program of the server under the guard; ServerError with the log where it fails."""


class ServerError(RuntimeError):
    """The private server is not installed, did not start, or did not stop."""


class Flavour(ABC):
    """One kind of server."""

    name: str

    @property
    @abstractmethod
    def options(self) -> Sequence[str]:
        """What the server is always started with."""

    def identified(self, password: str) -> str:
        """The IDENTIFIED clause for an account that the driver's client library can log in to."""
        return f"IDENTIFIED BY '{password}'"

    @abstractmethod
    def program(self) -> list[str]:
        """The command that runs the server, without options. ServerError when it is missing."""

    @abstractmethod
    def make_data(self, data: Path, run: Run) -> None:
        """Make the data directory, in which root may log in from 127.0.0.1 once it is set up."""

    @abstractmethod
    def set_up(self, database: str) -> str:
        """The SQL that each start runs, a statement a line; harmless when it is run again."""


class MariaDB(Flavour):
    """MariaDB's accounts log in by mysql_native_password, which not every driver knows any longer.

    For a driver whose client library is Oracle's of version 9 or newer they log in by what MySQL's
    do, caching_sha2_password. The server has that as a plugin.
    """

    name = "mariadb"
    plugin = "auth_mysql_sha2"

    install_options = (
        "--no-defaults",
        # Creates root@127.0.0.1 without a password.
        "--auth-root-authentication-method=normal",
        "--skip-name-resolve",
        "--skip-test-db",
        "--innodb-log-file-size=16M",
    )

    @property
    def options(self) -> Sequence[str]:
        options = (*COMMON_OPTIONS, "--innodb-log-file-size=16M")
        return (*options, f"--plugin-load-add={self.plugin}") if needs_sha2() else options

    def identified(self, password: str) -> str:
        if needs_sha2():
            return f"IDENTIFIED VIA caching_sha2_password USING PASSWORD('{password}')"
        return super().identified(password)

    def program(self) -> list[str]:
        return [self._find("mariadbd")]

    def make_data(self, data: Path, run: Run) -> None:
        run([self._find("mariadb-install-db"), *self.install_options, f"--datadir={data}"])

    def set_up(self, database: str) -> str:
        statements = [f"CREATE DATABASE IF NOT EXISTS {database};\n"]
        if needs_sha2():
            self._check_plugin()
            statements += [
                f"ALTER USER IF EXISTS root@'{host}' {self.identified('')};\n"
                for host in ("localhost", "127.0.0.1", "::1")
            ]
        return "".join(statements)

    def _check_plugin(self) -> None:
        """Without the plugin, each login would fail with an error 2059 that names no remedy."""
        asked = [*self.program(), "--no-defaults", "--verbose", "--help"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        folder = re.search(r"^plugin-dir +(\S.*)$", told, re.MULTILINE)
        if folder is None or not Path(folder[1], f"{self.plugin}.so").exists():
            raise ServerError(
                f"the driver's client library, Oracle's {client_version()}, knows no "
                f"mysql_native_password, and this MariaDB has no plugin {self.plugin} to let it "
                f"log in without. {SHA2_REMEDY}"
            )

    def _find(self, program: str) -> str:
        if path := find_program(program):
            return path
        raise ServerError(
            f"{program} is not installed. It comes with MariaDB's server: "
            "apt-get install mariadb-server-core mariadb-client (Debian, Ubuntu), "
            "dnf install mariadb-server (Fedora), brew install mariadb (macOS). "
            "Or set DATABASE_HOST, DATABASE_PORT, DATABASE_USER and DATABASE_PASSWORD "
            "to use a server that runs already."
        )


class MySQL(Flavour):
    """Oracle's server: the one that scripts/fetch-mysql unpacked, or else the distribution's.

    To initialise a data directory takes it seconds, so that is done once for each version, and
    what came of it is kept in .servers and copied.
    """

    name = "mysql"
    sizes = ("--innodb-redo-log-capacity=16M",)
    options = (
        *COMMON_OPTIONS,
        *sizes,
        "--mysqlx=OFF",
        "--skip-log-bin",
        "--secure-file-priv=",
        # Without it no session is renewed from 9.6 on: see mysqlpool.session.renewal.
        "--loose-innodb-native-foreign-keys=ON",
    )

    def program(self) -> list[str]:
        unpacked = SERVERS / "mysql"
        if (unpacked / "run").exists():
            return [str(unpacked / "run"), "mysqld"]
        # On a machine with MariaDB alone, mysqld is another name of that.
        if (path := find_program("mysqld")) and "MariaDB" not in version_of([path]):
            return [path]
        raise ServerError(
            "MySQL's server is not installed. scripts/fetch-mysql unpacks it into .servers/mysql, "
            "or tells what to install. Or set DATABASE_HOST, DATABASE_PORT, DATABASE_USER and "
            "DATABASE_PASSWORD to use a server that runs already."
        )

    def base_options(self) -> list[str]:
        """Where a server that was unpacked, and not installed, finds what belongs to it."""
        unpacked = SERVERS / "mysql"
        return [f"--basedir={unpacked / 'usr'}"] if (unpacked / "run").exists() else []

    def make_data(self, data: Path, run: Run) -> None:
        template = self._template()
        if not os.access(template, os.R_OK | os.X_OK):
            self._initialise(data, run)
            _keep(data, template)
        else:
            shutil.copytree(template, data)
            # Two servers with the same server_uuid could not replicate from each other.
            (data / "auto.cnf").unlink(missing_ok=True)

    def _initialise(self, data: Path, run: Run) -> None:
        command = [*self.program(), "--no-defaults", "--initialize-insecure", *self.base_options()]
        run([*command, *self.sizes, f"--datadir={data}"])

    def _template(self) -> Path:
        version = version_of(self.program())
        mark = hashlib.sha256(repr((version, self.sizes)).encode()).hexdigest()[:16]
        return SERVERS / f"mysql-data-{mark}"

    def set_up(self, database: str) -> str:
        return (
            "CREATE USER IF NOT EXISTS root@127.0.0.1;\n"
            "GRANT ALL ON *.* TO root@127.0.0.1 WITH GRANT OPTION;\n"
            f"CREATE DATABASE IF NOT EXISTS {database};\n"
        )


FLAVOURS: Mapping[str, Flavour] = {flavour.name: flavour for flavour in (MariaDB(), MySQL())}


def client_version() -> str:
    """The version of the driver's client library, or nothing where there is no driver.

    The driver is imported late, because what only starts a server has no need of it.
    """
    try:
        import MySQLdb
    except ImportError:
        return ""
    return str(MySQLdb.get_client_info())


def needs_sha2() -> bool:
    """Whether the driver has Oracle's client library, of a version without mysql_native_password.

    That is not built in since 9.0: https://dev.mysql.com/doc/relnotes/mysql/9.0/en/news-9-0-0.html
    MariaDB's library is at 3, and calls itself MariaDB where it has the server's number.
    """
    version = client_version()
    major = re.match(r"\d+", version)
    return major is not None and int(major[0]) >= 9 and "mariadb" not in version.lower()


def find_program(name: str) -> str | None:
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_DIRECTORIES))
    return shutil.which(name, path=search)


def version_of(program: Sequence[str]) -> str:
    """What the program says when it is asked for its version; empty where it cannot run."""
    asked = [*program, "--no-defaults", "--version"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _keep(data: Path, template: Path) -> None:
    """Copy a data directory to where the next server finds it, whole or not at all.

    Where that cannot be written to, the next server has to make its own.
    """
    with contextlib.suppress(OSError):
        template.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=template.parent, prefix="new-") as scratch:
            copy = Path(scratch) / "data"
            shutil.copytree(data, copy)
            copy.rename(template)
