"""Three MySQL servers as one group with one primary, behind MySQL Router.

Router leads to the primary, and to no other. Which one that is it learns from any member, but only
where it finds the schema that MySQL Shell makes for it, ``mysql_innodb_cluster_metadata``. MySQL
Shell is no part of Debian, so what Router asks of that schema is made by hand: see METADATA.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import MySQLdb

from tests.clusters.cluster import DATABASE, TABLES, WHOLE_SECONDS, Cluster, Node, until
from tests.helpers import run_threads
from tests.server import ServerError
from tests.server.flavours import SERVERS, MySQL, find_program
from tests.server.private import greets

__all__ = ["GroupReplication"]

UNPACKED = SERVERS / "mysql-router"
SIZE = 3
START_SECONDS = 120

# A member that is silent for 5 s is suspected, and so long after that expelled.
EXPEL_SECONDS = 0
# Who was expelled tries at once to come back, and where that failed, again after five minutes.
REJOIN_SECONDS = 30.0
# How often Router asks who the primary is. MySQL Shell sets the same.
ROUTER_SECONDS = 0.5

# Nodes are killed and not their machine: what a node has told the kernel is there when it is back.
LAZY_DISK = ("--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0")

# The tables that Router 9.7 reads. Its own figures it keeps there, too.
SCHEMA = "mysql_innodb_cluster_metadata"
METADATA = """\
CREATE VIEW schema_version AS SELECT 2 AS major, 2 AS minor, 0 AS patch;
CREATE TABLE v2_gr_clusters (cluster_id CHAR(36) PRIMARY KEY, cluster_name VARCHAR(63),
    group_name CHAR(36), cluster_type VARCHAR(9), router_options JSON);
CREATE TABLE v2_instances (instance_id INT PRIMARY KEY, cluster_id CHAR(36), label VARCHAR(64),
    mysql_server_uuid CHAR(36), endpoint VARCHAR(64), xendpoint VARCHAR(64), attributes JSON);
CREATE VIEW v2_this_instance AS SELECT cluster_id, instance_id, cluster_name, cluster_type
    FROM v2_instances JOIN v2_gr_clusters USING (cluster_id)
    JOIN performance_schema.global_variables ON variable_value = mysql_server_uuid
    WHERE variable_name = 'server_uuid';
CREATE TABLE v2_cs_members (cluster_id CHAR(36) PRIMARY KEY, clusterset_id CHAR(36));
CREATE TABLE v2_routers (router_id INT PRIMARY KEY, address VARCHAR(256), router_name VARCHAR(256),
    attributes JSON, options JSON, version VARCHAR(12), last_check_in TIMESTAMP NULL);
INSERT INTO v2_routers VALUES (1, '127.0.0.1', 'router', '{}', '{}', NULL, NULL);
CREATE TABLE v2_router_options (router_id INT PRIMARY KEY, router_options JSON);
INSERT INTO v2_router_options VALUES (1, '{}')"""

ROUTER = """\
[DEFAULT]
{plugins}
logging_folder=
runtime_folder={folder}
data_folder={folder}
config_folder={folder}
keyring_path={folder}/keyring
master_key_path={folder}/key
dynamic_state={folder}/state.json
connect_timeout=1
read_timeout=1

[metadata_cache:group]
cluster_type=gr
router_id=1
user=router
metadata_cluster=group
ttl={ttl}
use_gr_notifications=0

[routing:writes]
bind_address=127.0.0.1
bind_port={port}
destinations=metadata-cache://group/?role=PRIMARY
routing_strategy=first-available
protocol=classic
connect_timeout=1
client_ssl_mode=PASSTHROUGH
server_ssl_mode=AS_CLIENT
"""

MEMBERS = (
    "SELECT member_port, member_state, member_role"
    " FROM performance_schema.replication_group_members"
)


class Member(Node):
    """One of the servers. Root logs in to it without a password, and does what is done here."""

    flavour = MySQL()

    def __init__(self, cluster: GroupReplication, number: int, port: int) -> None:
        super().__init__(cluster, number, port)
        self.socket = str(self.folder / "socket")
        self.group = cluster
        (self.folder / "init.sql").write_text(self._set_up())
        self.flavour.make_data(self.folder / "data", self._run)

    def _set_up(self) -> str:
        """Each server makes the accounts by itself, before it knows of a group."""
        user = f"{self.cluster.user}@'%'"
        return (
            "SET sql_log_bin = 0;\n"
            f"{self.flavour.set_up(DATABASE)}"
            "CREATE USER recovery@'%' IDENTIFIED BY 'recovery';\n"
            "GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM"
            " ON *.* TO recovery@'%';\n"
            "CREATE USER router@'%' IDENTIFIED BY 'router';\n"
            "GRANT SELECT, UPDATE ON mysql_innodb_cluster_metadata.* TO router@'%';\n"
            "GRANT SELECT ON performance_schema.* TO router@'%';\n"
            f"CREATE USER {user} IDENTIFIED BY '{self.cluster.password}';\n"
            f"GRANT ALL ON {DATABASE}.* TO {user};\n"
        )

    # As a process

    def launch(self) -> None:
        """Start the server; it belongs to no group yet, and takes no writes unless it is new."""
        command = [
            *(*self.flavour.program(), "--no-defaults"),
            *self.flavour.options,
            *LAZY_DISK,
            *self._options(),
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'pid'}",
            f"--port={self.port}",
        ]
        init = self.folder / "init.sql"
        # A server that lost its group must not take writes for which no other member would know.
        command.append(f"--init-file={init}" if init.exists() else "--super-read-only=ON")
        self._server = self._spawn(command)
        until(self._has_begun, START_SECONDS, f"{self.name} starts", 0.01)
        init.unlink(missing_ok=True)

    def _options(self) -> Sequence[str]:
        own, others = self._seeds()
        return (
            f"--server-id={self.number}",
            "--report-host=127.0.0.1",
            "--log-bin=binlog",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--performance-schema=ON",
            "--plugin-load-add=group_replication.so",
            f"--loose-group-replication-group-name={self.group.uuid}",
            f"--loose-group-replication-local-address={own}",
            f"--loose-group-replication-group-seeds={others}",
            "--loose-group-replication-start-on-boot=OFF",
            "--loose-group-replication-recovery-get-public-key=ON",
            "--loose-group-replication-ip-allowlist=127.0.0.0/8",
            "--loose-group-replication-recovery-reconnect-interval=1",
            f"--loose-group-replication-member-expel-timeout={EXPEL_SECONDS}",
        )

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        tmpdir = f"--tmpdir={self.folder / 'tmp'}"
        return self.cluster.processes.spawn([*command, tmpdir, *as_root], self.folder)

    def _run(self, command: Sequence[str]) -> None:
        if self._spawn(command).wait() != 0:
            raise ServerError(f"{command[0]} failed. Its log ends with:\n{self.log_tail()}")

    def _has_begun(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise ServerError(f"{self.name} ended. Its log ends with:\n{self.log_tail()}")
        return greets(self.socket)

    # As a member

    def start(self) -> None:
        self._move()
        self.launch()
        self.join()
        until(self._is_online, START_SECONDS, f"{self.name} is online")

    def _seeds(self) -> tuple[str, str]:
        """Where it listens for the group, and where the others do, whom it asks to let it in."""
        addresses = [f"127.0.0.1:{port}" for port in self.group.ports]
        own = addresses.pop(self.number - 1)
        return own, ",".join(addresses)

    def _move(self) -> None:
        """Listen elsewhere for the group.

        The others wait some seconds before they try again where nobody listened.
        """
        self.group.ports[self.number - 1] = self.group.free_port()
        for node in self.group.nodes:
            if node.is_up:
                node.query("SET GLOBAL group_replication_group_seeds = %s", node._seeds()[1])

    def bootstrap(self) -> None:
        """Begin the group."""
        self.query("SET GLOBAL group_replication_bootstrap_group = ON")
        self.join()
        self.query("SET GLOBAL group_replication_bootstrap_group = OFF")

    def join(self) -> None:
        self.query(
            "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'recovery', SOURCE_PASSWORD = 'recovery'"
            " FOR CHANNEL 'group_replication_recovery'"
        )
        self.query("START GROUP_REPLICATION", read_timeout=START_SECONDS)

    def rejoin(self) -> None:
        """Join again, unless it is a member or about to be one."""
        if self._state() not in ("ONLINE", "RECOVERING"):
            self.query("STOP GROUP_REPLICATION", read_timeout=START_SECONDS)
            self.join()

    def query(self, sql: str, *args: Any, **options: Any) -> tuple[tuple[Any, ...], ...]:
        return super().query(sql, *args, **{"user": "root", "password": "", **options})

    def members(self) -> dict[int, tuple[str, str]]:
        """State and role of the members that it knows of, by their ports."""
        return {port: (state, role) for port, state, role in self.query(MEMBERS)}

    def _state(self) -> str:
        return self.members()[self.port][0]

    def _is_online(self) -> bool:
        return self._state() == "ONLINE"

    def is_member(self) -> bool:
        """Whether it says so of all members. One that was frozen says it until it knows better."""
        try:
            states = [state for state, _ in self.members().values()]
        except MySQLdb.Error:
            return False
        return states == ["ONLINE"] * SIZE

    def is_primary(self) -> bool:
        return self.members().get(self.port) == ("ONLINE", "PRIMARY")

    def read_only(self) -> None:
        """Let the next member be the primary, which makes this one super_read_only."""
        others = itertools.islice(itertools.cycle(self.group.nodes), self.number, None)
        next(node for node in others if node.is_up and node is not self).writable()

    def writable(self) -> None:
        """Let it be the primary."""
        self.query("SELECT group_replication_set_as_primary(@@server_uuid)")


class GroupReplication(Cluster):
    """The group, and Router before it.

    The account is an ordinary one, as only such is locked out of a member that left its group.
    """

    name = "group-replication"
    nodes: Sequence[Member]
    may_be_root = True

    def start(self) -> None:
        router, keyring = router_program("mysqlrouter"), router_program("mysqlrouter_keyring")
        self.uuid = str(uuid.uuid4())
        self.ports = [self.free_port() for _ in range(SIZE)]
        """Those for the group's own messages."""
        self.nodes = [Member(self, n + 1, self.free_port()) for n in range(SIZE)]
        self.proxy = ("127.0.0.1", self.free_port())
        run_threads(*[node.launch for node in self.nodes])
        first, *others = self.nodes
        first.bootstrap()
        run_threads(*[node.join for node in others])
        for sql in TABLES:
            first.query(sql)
        self._write_metadata(first)
        self._start_router(router, keyring)

    def wait_whole(self, seconds: float = WHOLE_SECONDS) -> None:
        """A node that does not come back by itself is told to join again."""
        try:
            super().wait_whole(REJOIN_SECONDS)
        except ServerError:
            for node in self.nodes:
                if node.is_up:
                    node.rejoin()
            super().wait_whole(seconds)

    def _write_metadata(self, primary: Member) -> None:
        primary.query(f"CREATE DATABASE {SCHEMA}")
        for sql in METADATA.split(";\n"):
            primary.query(sql, db=SCHEMA)
        sql = "INSERT INTO v2_gr_clusters VALUES (%s, 'group', %s, 'gr', '{}')"
        primary.query(sql, self.uuid, self.uuid, db=SCHEMA)
        sql = "INSERT INTO v2_instances VALUES (%s, %s, %s, %s, %s, NULL, '{}')"
        for node in self.nodes:
            ((server,),) = node.query("SELECT @@server_uuid")
            values = (node.number, self.uuid, node.name, server, node.address)
            primary.query(sql, *values, db=SCHEMA)

    def _start_router(self, router: Sequence[str], keyring: Sequence[str]) -> None:
        folder = self.processes.make("router")
        store, key = str(folder / "keyring"), f"--master-key-file={folder / 'key'}"
        self._finish([*keyring, "init", store, key], folder)
        self._finish([*keyring, "set", store, "router", "password", "router", key], folder)
        servers = [f"mysql://{node.address}" for node in self.nodes]
        known = {"group-replication-id": self.uuid, "cluster-metadata-servers": servers}
        state = {"version": "1.0.0", "metadata-cache": known}
        (folder / "state.json").write_text(json.dumps(state))
        plugins = UNPACKED / "usr/lib/mysqlrouter/plugin"
        text = ROUTER.format(
            folder=folder,
            plugins=f"plugin_folder={plugins}" if plugins.exists() else "",
            port=self.proxy[1],
            ttl=ROUTER_SECONDS,
        )
        (folder / "router.conf").write_text(text)
        process = self.processes.spawn([*router, "-c", str(folder / "router.conf")], folder)
        until(lambda: self._leads_on(process, folder), START_SECONDS, "Router leads to the primary")

    def _leads_on(self, process: subprocess.Popen[bytes], folder: Path) -> bool:
        if process.poll() is not None:
            raise ServerError(f"Router ended: {(folder / 'log').read_text()}")
        host, port = self.proxy
        try:
            MySQLdb.connect(
                host=host, port=port, user=self.user, password=self.password, connect_timeout=2
            ).close()
        except MySQLdb.Error:
            return False
        return True

    def _finish(self, command: Sequence[str], folder: Path) -> None:
        if self.processes.spawn(command, folder).wait() != 0:
            raise ServerError(f"{command[0]} failed: {(folder / 'log').read_text()}")


def router_program(name: str) -> list[str]:
    """Of the distribution, or what scripts/fetch-mysql unpacked."""
    if (run := UNPACKED / "run").exists():
        return [str(run), name]
    if path := find_program(name):
        return [path]
    raise ServerError(
        f"{name} is not installed. scripts/fetch-mysql .servers/mysql-router mysql-router "
        "unpacks it on Debian; elsewhere it is a package mysql-router."
    )
