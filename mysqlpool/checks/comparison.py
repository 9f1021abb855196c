"""Comparison: each alias's server is asked, and its answers are held against the alias's pool."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import MySQLdb
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mysqlpool.conf.servers import Server
from mysqlpool.conf.settings import PoolSettings, refusals
from mysqlpool.release import release_connections
from mysqlpool.session import library

from .entries import limit_of, pools_in_order, servers_of_alias, shown_server
from .facts import ServerFacts, gather
from .findings import Demand, Finding, Level, Subject, judge
from .queues import task_queues
from .web_servers import web_servers
from .workers import Workers

__all__ = ["Comparison", "asked", "compare", "demand_found"]


@dataclass(frozen=True)
class Comparison:
    """What was found of one alias on one of its servers. ``pool`` is None for refused settings,
    and ``error`` what connecting raised.
    """

    alias: str
    server: str
    pool: PoolSettings | None
    findings: tuple[Finding, ...]
    error: Exception | None = None


@dataclass(frozen=True)
class _Asked:
    """An alias on one of its servers: the facts, or the error that came instead of them."""

    pool: PoolSettings
    server: Server
    facts: ServerFacts | None
    error: Exception | None = None


def demand_found() -> Demand:
    """What serves this project, as the working directory, the environment and settings tell."""
    # Path.cwd() raises where that folder is gone, as that of an old release may be.
    servers, queues = list(web_servers(Path(), os.environ)), list(task_queues())
    if queues and not servers:  # Somebody puts the tasks into the queue.
        servers = [Workers("what is not found")]
    return Demand(None, (*servers, *queues))


def compare(aliases: Iterable[str], demand: Demand) -> Iterator[Comparison]:
    """Ask the servers of these aliases, each of several, and yield what follows from the answers.

    No error comes out of it, whatever connecting raises: it is a finding, which tells no secret.
    """
    pools = {pool.alias: pool for pool in pools_in_order()}
    answers: list[_Asked] = []
    for alias in aliases:
        if alias in pools:
            answers += _tried(pools[alias])
        else:
            yield Comparison(alias, "", None, tuple(_refused(alias)))
    for one in answers:
        found = tuple(_found(one, answers, demand))
        yield Comparison(one.pool.alias, shown_server(one.server), one.pool, found, one.error)


def asked(alias: str, demand: Demand) -> list[Finding]:
    """What follows from the answers of the server that an alias is connected to, or would be.

    Raises ``django.db.Error`` where it cannot be connected, and nothing for refused settings.
    """
    pool = next((pool for pool in pools_in_order() if pool.alias == alias), None)
    if pool is None:
        return []
    with _given_back(connections[alias]) as connection:
        answer = _Asked(pool, servers_of_alias(alias)[0], gather(connection))
    return list(_found(answer, [answer], demand))


def _tried(pool: PoolSettings) -> Iterator[_Asked]:
    """Ask each server of an alias; of one server the alias's own connection does."""
    servers = servers_of_alias(pool.alias)
    if len(servers) == 1:
        yield _answer(pool, servers[0], lambda: connections[pool.alias])
        return
    for server in servers:
        yield _answer(pool, server, lambda server=server: _connection_to(pool.alias, server))


def _answer(pool: PoolSettings, server: Server, connection: Any) -> _Asked:
    try:
        with _given_back(connection()) as connected:
            return _Asked(pool, server, gather(connected))
    except Exception as error:  # A callable for the password, say, may raise anything.
        return _Asked(pool, server, None, error)


def _connection_to(alias: str, server: Server) -> BaseDatabaseWrapper:
    """A wrapper that leases from the alias's pool, of one server of several."""
    own = connections[alias]
    host, port = (server, "") if isinstance(server, str) else server
    return type(own)({**own.settings_dict, "HOST": host, "PORT": str(port)}, alias)


@contextmanager
def _given_back(connection: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """In this block a lease is had, if there is one to be had, with none of the block's left."""
    alias = connection.alias
    if not connections[alias].in_atomic_block:
        release_connections(alias)
    try:
        yield connection
    finally:
        if not connection.in_atomic_block:
            connection.close()


def _refused(alias: str) -> Iterator[Finding]:
    for error in refusals(alias, connections.settings[alias]):
        remedy = "Correct it, or leave it out: what is not set has its default."
        yield Finding(Level.FAIL, "settings", str(error), remedy)


def _found(one: _Asked, answers: Iterable[_Asked], demand: Demand) -> Iterator[Finding]:
    if one.facts is None:
        assert one.error is not None
        answered = any(a.pool is one.pool and a.facts is not None for a in answers)
        yield no_connection(one.error, Level.WARN if answered else Level.FAIL)
    else:
        yield from judge(_subject(one, answers, demand), one.facts)


def _subject(one: _Asked, answers: Iterable[_Asked], demand: Demand) -> Subject:
    beside = _beside(one, answers)
    user = _user(one.pool.alias)
    return Subject(
        one.pool,
        demand,
        others=beside,
        of_account={alias: n for alias, n in beside.items() if _user(alias) == user},
        is_remote=_is_remote(one.server),
        client=client(),
    )


def _user(alias: str) -> Any:
    settings_dict = connections.settings[alias]
    return settings_dict.get("OPTIONS", {}).get("user") or settings_dict.get("USER")


def _beside(one: _Asked, answers: Iterable[_Asked]) -> Mapping[str, int]:
    """The limits of our further aliases on this server: at its address, or known by its answer."""
    assert one.facts is not None
    same = {
        answer.pool.alias
        for answer in answers
        if answer.facts is not None and answer.facts.identity == one.facts.identity
    }
    found = {}
    for pool in pools_in_order():
        is_here = pool.alias in same or one.server in servers_of_alias(pool.alias)
        limit = limit_of(pool)
        if pool.alias != one.pool.alias and is_here and limit is not None:
            found[pool.alias] = limit
    return found


def _is_remote(server: Server) -> bool:
    if isinstance(server, str) or server[0] == "localhost":
        return False
    try:
        return not ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return True


def client() -> str:
    """The driver, and what it is built on."""
    made_by = "MariaDB" if library.is_mariadbs() else "Oracle"
    return (
        f"mysqlclient {'.'.join(map(str, MySQLdb.version_info[:3]))} on {made_by}'s client library "
        f"{MySQLdb.get_client_info()}"
    )


_REMEDIES: Mapping[int, str] = {
    1045: "USER or PASSWORD is wrong, or the account is not for the host of this machine.",
    1698: "USER logs in by another way than a password, such as the name of the system's user.",
    1044: "The account has no rights on the database NAME: GRANT ... ON it.",
    1049: "There is no database NAME: create it, or correct the name.",
    1040: "The server is full: use fewer sessions, or raise its max_connections.",
    1203: "The account is full: use fewer sessions, or raise its MAX_USER_CONNECTIONS.",
    1226: "The account is full: use fewer sessions, or raise its MAX_USER_CONNECTIONS.",
    1129: "The server blocks this host after failed connects: FLUSH HOSTS there.",
    1130: "The server lets no account in from this host.",
    2002: "Nobody answers: correct HOST and PORT, start the server, or open the firewall.",
    2003: "Nobody answers: correct HOST and PORT, start the server, or open the firewall.",
    2005: "The name in HOST is unknown.",
    2026: (
        "TLS failed: name the authority of the server's certificate in OPTIONS "
        "('ssl': {'ca': ...}), and in HOST the name that it is for. Or the server has no TLS."
    ),
    2059: "The client library has no plugin for the way in which this account logs in.",
    2061: "The account logs in by TLS alone: set 'ssl_mode' in OPTIONS.",
}


def no_connection(error: Exception, level: Level) -> Finding:
    """That a server could not be asked. Only errors of the database's and of settings are quoted,
    as who knows what is in the text of another, such as that of a vault.
    """
    cause = getattr(error, "refusal", None) or error
    number = cause.args[0] if cause.args else None
    remedy = _REMEDIES.get(number, "") if isinstance(number, int) else ""
    if isinstance(number, int) and len(error.args) == 2 and isinstance(error, DatabaseError):
        text = f"{error.args[1]} ({number})"
    elif isinstance(error, (DatabaseError, ImproperlyConfigured)):
        text = " ".join(str(error).split())
    else:
        text = f"{type(error).__name__} while connecting; --traceback shows it"
    return Finding(level, "connect", text, remedy or "Without a connection nothing is compared.")
