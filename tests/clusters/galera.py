"""Three MariaDB nodes with Galera on loopback, behind HAProxy.

scripts/fetch-galera has what it takes. A node that joins gets a snapshot by rsync, and one that was
killed gets the transactions that it missed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import MySQLdb

from tests.clusters.cluster import TABLES, Cluster, Node, until
from tests.server import FLAVOURS, ServerError
from tests.server.flavours import MariaDB, find_program

__all__ = ["Galera", "GaleraNode"]

ROOT = Path(__file__).parent.parent.parent
UNPACKED = ROOT / ".servers" / "galera"
PROVIDER = "usr/lib/galera/libgalera_smm.so"
START_SECONDS = 120.0

# How soon nodes see that one is away. Galera's defaults, of 5 s and more, are for a real network.
PATIENCE = (
    "evs.keepalive_period=PT0.25S",
    "evs.inactive_check_period=PT0.25S",
    "evs.suspect_timeout=PT1.5S",
    "evs.inactive_timeout=PT4S",
    "evs.install_timeout=PT4S",
)

SETTINGS = """\
[mysqld]
bind-address = 127.0.0.1
port = {port}
datadir = {folder}/data
socket = {folder}/socket
pid-file = {folder}/pid
tmpdir = {folder}/tmp
skip-name-resolve
character-set-server = utf8mb4
performance-schema = OFF
innodb-buffer-pool-size = 32M
innodb-log-file-size = 16M
innodb-use-native-aio = OFF
innodb-flush-log-at-trx-commit = 2
innodb-autoinc-lock-mode = 2
binlog-format = ROW
wsrep-on = ON
wsrep-provider = {provider}
wsrep-provider-options = "{provider_options}"
wsrep-cluster-name = {cluster}
wsrep-cluster-address = gcomm://{members}
wsrep-node-name = {name}
wsrep-node-address = 127.0.0.1:{group_port}
wsrep-node-incoming-address = 127.0.0.1:{port}
wsrep-sst-method = rsync
wsrep-sst-receive-address = 127.0.0.1:{snapshot_port}
"""

# The check logs in without a password, and reads a table, which a node refuses that is no part of
# the cluster: that error's number, 1047, ends the check at once. Without a table it would answer.
# Before, it waits for the greeting, and for the OK packet of 7 bytes with the number 2.
# https://mariadb.com/kb/en/connection/#handshake-response-packet
CHECK_USER = "haproxy"
CHECK_TABLE = "clusters.checked"
ANSWER = 100  # Bytes of an answer that says ON or OFF, so that the first ends the check at once.
PROXY_SETTINGS = """\
global
    maxconn 500
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    timeout check 500ms
    retries 2
    option redispatch 1
listen galera
    bind 127.0.0.1:{port}
    option tcp-check
    tcp-check connect
    tcp-check expect string mysql_native_password
    tcp-check send-binary {login}
    tcp-check expect binary 07000002
    tcp-check send-binary {question}
    tcp-check expect min-recv 9 ! binary ff1704
    tcp-check expect min-recv {answer} string writableOFF
    default-server inter 200ms fall 2 rise 5 on-marked-down shutdown-sessions
{servers}
"""


def packet(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def login() -> bytes:
    """A handshake response for an account without a password: PROTOCOL_41 | SECURE_CONNECTION."""
    capabilities = (0x0200 | 0x8000).to_bytes(4, "little")
    largest, character_set = (1 << 24).to_bytes(4, "little"), b"\x21"
    user = CHECK_USER.encode("ascii")
    return packet(1, capabilities + largest + character_set + bytes(23) + user + b"\0" + b"\0")


def question() -> bytes:
    sql = f"SELECT CONCAT('writable', @@GLOBAL.read_only) FROM {CHECK_TABLE}"
    return packet(0, b"\x03" + sql.encode("ascii"))


class GaleraNode(Node):
    """``read_only()`` sets the global variable, which the account may not go around."""

    cluster: Galera

    def __init__(self, cluster: Cluster, number: int, port: int) -> None:
        super().__init__(cluster, number, port)
        self.group_port, self.transfer_port, self.snapshot_port = (
            cluster.free_port() for _ in range(3)
        )

    def query(self, sql: str, *args: Any, **options: Any) -> tuple[tuple[Any, ...], ...]:
        """Ask it when it has applied all that was committed anywhere before."""
        wait = {"init_command": "SET SESSION wsrep_sync_wait = 1"}
        return super().query(sql, *args, **wait, **options)

    @property
    def settings_file(self) -> Path:
        return self.folder / "my.cnf"

    def write_settings(self, members: Sequence[GaleraNode]) -> None:
        options = (
            f"base_port={self.group_port}",
            f"gmcast.listen_addr=tcp://127.0.0.1:{self.group_port}",
            f"ist.recv_addr=127.0.0.1:{self.transfer_port}",
            "gcache.size=16M",
            *PATIENCE,
        )
        text = SETTINGS.format(
            **{name: getattr(self, name) for name in ("name", "port", "group_port", "folder")},
            snapshot_port=self.snapshot_port,
            provider=self.cluster.provider(),
            provider_options=";".join(options),
            cluster=self.cluster.processes.directory.name,
            members=",".join(f"127.0.0.1:{node.group_port}" for node in members),
        )
        self.settings_file.write_text(text)
        self.cluster.processes.give(self.settings_file)

    def make_data(self) -> None:
        """Make the first node's data; the others have theirs by a snapshot."""
        command = [*self.cluster.program("mariadb-install-db"), *MariaDB.install_options]
        made = self._run([*command, f"--datadir={self.folder / 'data'}"])
        if made.wait() != 0:
            raise ServerError(f"mariadb-install-db failed:\n{self.log_tail()}")

    def make_room(self) -> None:
        data = self.folder / "data"
        data.mkdir(0o700)
        self.cluster.processes.give(data)

    def start(self) -> None:
        self.launch([] if self.cluster.is_new(self) else [self._position()])
        self.until_synced()

    def launch(self, options: Sequence[str] = ()) -> None:
        mariadbd = [*self.cluster.program("mariadbd"), f"--defaults-file={self.settings_file}"]
        self._server = self._run([*mariadbd, *filter(None, options)])

    def until_synced(self) -> None:
        def is_synced() -> bool:
            assert self._server is not None
            if self._server.poll() is not None:
                raise ServerError(f"{self.name} ended. Its log ends with:\n{self.log_tail()}")
            return self.state()[0] == "Synced"

        try:
            until(is_synced, START_SECONDS, f"{self.name} is synced", pause=0.1)
        except ServerError as error:
            raise ServerError(f"{error}. Its log ends with:\n{self.log_tail()}") from None

    def _position(self) -> str:
        """Where a killed node stopped, so that it needs no snapshot: as galera_recovery does."""
        before = (self.folder / "log").stat().st_size
        mariadbd = [*self.cluster.program("mariadbd"), f"--defaults-file={self.settings_file}"]
        self._run([*mariadbd, "--wsrep-recover"]).wait(START_SECONDS)
        told = (self.folder / "log").read_bytes()[before:].decode(errors="replace")
        found = re.findall(r"Recovered position: *(\S+)", told)
        return f"--wsrep-start-position={found[-1]}" if found else ""

    def _run(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return self.cluster.processes.spawn(command, self.folder)

    def as_root(self, sql: str) -> tuple[tuple[Any, ...], ...]:
        return self.query(sql, user="root", password="")

    def state(self) -> tuple[str, str, str]:
        """Its own state, the cluster's, and the number of members; empty where nobody answers."""
        try:
            told = dict(self.as_root("SHOW GLOBAL STATUS LIKE 'wsrep%%'"))
        except MySQLdb.Error:
            return "", "", ""
        return (
            told.get("wsrep_local_state_comment", ""),
            told.get("wsrep_cluster_status", ""),
            told.get("wsrep_cluster_size", ""),
        )

    def is_member(self) -> bool:
        return self.state() == ("Synced", "Primary", str(len(self.cluster.nodes)))

    def read_only(self) -> None:
        self.as_root("SET GLOBAL read_only = ON")

    def writable(self) -> None:
        self.as_root("SET GLOBAL read_only = OFF")


class Galera(Cluster):
    """HAProxy leads to the first node that is a writable member; all nodes take writes."""

    name = "galera"
    nodes: Sequence[GaleraNode]

    def start(self) -> None:
        self._unpacked = self._programs()
        self.nodes = [GaleraNode(self, number, self.free_port()) for number in (1, 2, 3)]
        for node in self.nodes:
            node.write_settings(self.nodes)
        first, *others = self.nodes
        first.make_data()
        first.launch(["--wsrep-new-cluster"])
        first.until_synced()
        identified = FLAVOURS["mariadb"].identified(self.password)
        for sql in (
            *TABLES,
            f"CREATE USER {self.user}@127.0.0.1 {identified}",
            f"GRANT ALL ON clusters.* TO {self.user}@127.0.0.1",
            f"CREATE USER {CHECK_USER}@127.0.0.1",
            f"CREATE TABLE {CHECK_TABLE} (id INT PRIMARY KEY)",
            f"INSERT INTO {CHECK_TABLE} VALUES (1)",
            f"GRANT SELECT ON {CHECK_TABLE} TO {CHECK_USER}@127.0.0.1",
        ):
            first.as_root(sql)
        for node in others:
            node.make_room()
            node.start()
        self._start_proxy()

    def _programs(self) -> Path:
        """Where what was unpacked is, for a user who may not see the repository: a copy of it."""
        runner = UNPACKED / "run"
        if runner.exists():
            folder = self.processes.make("programs")
            if self.processes.spawn(["test", "-x", str(runner)], folder).wait() != 0:
                return Path(shutil.copytree(UNPACKED, folder / "galera", symlinks=True))
        return UNPACKED

    def program(self, name: str) -> list[str]:
        """The command that runs a program, in which it finds the others that it needs."""
        if (runner := self._unpacked / "run").exists():
            return [str(runner), find_program(name) or name]
        if path := find_program(name):
            return [path]
        raise ServerError(f"{name} is not installed; scripts/fetch-galera has what a cluster takes")

    def provider(self) -> str:
        """Galera's library."""
        path = self._unpacked / PROVIDER
        return os.fspath(path if path.exists() else Path("/", PROVIDER))

    def is_new(self, node: Node) -> bool:
        """Whether the node has no data yet."""
        return not (node.folder / "data" / "grastate.dat").exists()

    def _start_proxy(self) -> None:
        self.proxy = ("127.0.0.1", self.free_port())
        lines = (
            f"    server {node.name} {node.address} check{' backup' if node.number > 1 else ''}"
            for node in self.nodes
        )
        folder = self.processes.make("proxy")
        settings = folder / "haproxy.cfg"
        settings.write_text(
            PROXY_SETTINGS.format(
                port=self.proxy[1],
                login=login().hex(),
                question=question().hex(),
                answer=ANSWER,
                servers="\n".join(lines),
            )
        )
        self.processes.give(settings)
        running = self.processes.spawn(
            [*self.program("haproxy"), "-db", "-f", str(settings)], folder
        )

        def leads() -> bool:
            if running.poll() is not None:
                raise ServerError(f"HAProxy ended:\n{(folder / 'log').read_text()}")
            try:
                self.nodes[0].query("SELECT 1", port=self.proxy[1])
            except MySQLdb.Error:
                return False
            return True

        until(leads, START_SECONDS, "HAProxy leads to a node")
