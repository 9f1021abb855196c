"""``manage.py mysqlpool status``: the pools of all processes, and what the servers say of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from mysqlpool.conf.event_log import EventLogSettings, event_log_settings
from mysqlpool.events.machine import host

from .census import Census, Inquirer, address, told
from .choice import Choice, chosen
from .interrupts import Interrupt
from .processes import Process, Standing, processes, window
from .screen import Line, Screen, Table
from .words import count, duration, percent, plural, positive_seconds

__all__ = ["HELP", "add_arguments", "handle"]

HELP = "Show the pools of all processes, from the event log, and the sessions that servers have."

NO_LOG = (
    "MYSQLPOOL_LOG is not set, so this sees the server's side only: how many sessions there are, "
    "and not what is going on in the pools. Set it to a file that all processes may write."
)


def add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--database", action="append", metavar="ALIAS", help="this alias alone; may be repeated")
    add(
        "--watch",
        nargs="?",
        type=positive_seconds,
        const=2.0,
        metavar="SECONDS",
        help="show it again and again until Ctrl-C: every 2 seconds, or as often as is said",
    )
    add("--json", action="store_true", help="print JSON; with --watch one line each time")


def handle(command: BaseCommand, **options: Any) -> None:
    """Show what there is to see.

    Raises ``CommandError`` for what could not be read or asked, after all else was shown. With
    ``--watch`` that is shown among the rest, and tried again the next time.
    """
    every, as_json = options.get("watch"), bool(options.get("json"))
    wanted = options.get("database")
    look = Look(chosen(wanted), all_processes=not wanted)
    errors: Sequence[str] = ()
    with Screen(command, options) as screen, contextlib.closing(look):
        if every is not None:
            watch(screen, look, every, as_json)
            return
        status = look.now()
        errors = status.errors
        screen.document(status.as_dict()) if as_json else screen.show(list(page_of(status)))
    if errors:
        raise CommandError("\n".join(errors))


def watch(screen: Screen, look: Look, every: float, as_json: bool) -> None:
    """Show it every so many seconds, until Ctrl-C."""
    with Interrupt() as interrupt:
        while not interrupt.came:
            status = look.now()
            if as_json:
                screen.document(status.as_dict(), lines=True)
            else:
                screen.redraw(list(page_of(status)))
            interrupt.comes_within(every)


@dataclass(frozen=True, slots=True)
class Server:
    """One server, with the aliases that lead to it by the same account, and what it told.

    ``error`` tells why it told nothing.
    """

    aliases: tuple[str, ...]
    address: str
    census: Census | None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        found = {} if self.census is None else asdict(self.census)
        return {"aliases": self.aliases, "address": self.address, "error": self.error, **found}


@dataclass(frozen=True, slots=True)
class Status:
    """What one look has seen.

    ``log`` is None where the project has no event log. ``log_error`` tells why it was not read.
    """

    time: datetime
    log: EventLogSettings | None
    log_error: str | None
    processes: Sequence[Process]
    servers: Sequence[Server]
    choice: Choice

    @property
    def errors(self) -> list[str]:
        of_servers = [f"{one.address}: {one.error}" for one in self.servers if one.error]
        return [self.log_error, *of_servers] if self.log_error else of_servers

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "time": self.time.isoformat(),
            "log": None if self.log is None else asdict(self.log),
            "log_error": self.log_error,
            "processes": [one.as_dict() for one in self.processes],
            "servers": [one.as_dict() for one in self.servers],
            "left_out": dict(self.choice.others),
        }


class Look:
    """Reads the event log, and asks each server over one session for as long as that works."""

    def __init__(self, choice: Choice, *, all_processes: bool) -> None:
        self.choice = choice
        self.log = event_log_settings()
        # Other projects, and aliases that are no more, may write to the same log.
        self._told = None if all_processes else choice.aliases
        by_account: dict[object, list[str]] = {}
        for alias in choice.aliases:
            by_account.setdefault(_account(alias), []).append(alias)
        self._inquirers = {tuple(names): Inquirer(names[0]) for names in by_account.values()}

    def close(self) -> None:
        for inquirer in self._inquirers.values():
            inquirer.close()

    def now(self) -> Status:
        now, found, error = datetime.now(UTC), list[Process](), None
        try:
            if self.log is not None:
                found = processes(self.log, now, self._told)
        except OSError as failed:
            error = f"{self.log.filename if self.log else ''}: {failed.strerror}"
        servers = [_asked(names, inquirer) for names, inquirer in self._inquirers.items()]
        return Status(now, self.log, error, found, servers, self.choice)


def _account(alias: str) -> object:
    """What two aliases agree in that are asked of together."""
    settings = connections[alias].settings_dict
    options = {k: v for k, v in (settings.get("OPTIONS") or {}).items() if k != "pool"}
    return repr([settings["HOST"], str(settings["PORT"]), settings["USER"], options])


def _asked(aliases: tuple[str, ...], inquirer: Inquirer) -> Server:
    where = address(inquirer.settings)
    try:
        return Server(aliases, where, inquirer.ask())
    except Exception as error:  # Also of whatever makes a token for the password.
        return Server(aliases, where, None, told(error, inquirer.settings))


# What is shown


def page_of(status: Status) -> Iterator[Line | Table]:
    yield Line(status.time.astimezone().isoformat(" ", "seconds"), "dim")
    yield from _of_processes(status)
    for server in status.servers:
        yield from _of_server(server)
    if status.choice.note:
        yield Line(status.choice.note)


def _of_processes(status: Status) -> Iterator[Line | Table]:
    log = status.log
    if log is None:
        yield Line(NO_LOG, "yellow")
    elif status.log_error:
        yield Line(status.log_error, "red")
    elif not log.stats_interval:
        yield Line(
            f"Processes write no statistics into {log.filename}: MYSQLPOOL_LOG's 'stats_interval' "
            "or 'level' says so. This sees the server's side only.",
            "yellow",
        )
    elif not status.processes:
        yield Line(
            f"No process with a session wrote its statistics into {log.filename} within the last "
            f"{duration(window(log))}.",
            "yellow",
        )
    else:
        yield _table_of_processes(status.processes, log)
        yield Line(_totals(status.processes))


HEADINGS = (
    *("program", "alias", "pid", "age", "in use", "share", "idle", "waiting"),
    *("leases", "timeouts", "wait p95", "lease p95"),
)


def _table_of_processes(found: Sequence[Process], log: EventLogSettings) -> Table:
    dimmed = frozenset(n for n, one in enumerate(found) if not one.is_running)
    title = f"Pools, as {log.filename} tells"
    return Table(title, HEADINGS, [_row(one) for one in found], names=2, dimmed=dimmed)


def _row(one: Process) -> list[str]:
    get = one.figures.get
    limit = get("limit")
    return [
        one.program + _remark(one),
        one.alias,
        str(one.pid),
        duration(one.age),
        f"{get('in_use', 0):,} of {limit:,}" if limit else count(get("in_use", 0)),
        percent(get("utilisation", 0.0)) if limit else "-",
        *(count(get(name, 0)) for name in ("idle", "waiting", "leases", "timeouts")),
        *(_p95(get(name)) for name in ("wait", "lease")),
    ]


def _remark(one: Process) -> str:
    if one.standing is Standing.RUNNING:
        return ""
    if one.standing is Standing.ELSEWHERE and one.host not in ("", host()):
        return f" (on {one.host})"
    return f" ({one.standing})"


def _p95(histogram: Any) -> str:
    measured = isinstance(histogram, dict) and histogram.get("count")
    return duration(histogram["p95"] if measured else None)


def _totals(found: Sequence[Process]) -> str:
    """How much of all is in use: a sentence for each alias."""
    running = [one for one in found if one.is_running]
    if not running:
        return "None of these processes runs any more."
    aliases = sorted({one.alias for one in running})
    return "\n".join(_total(a, [one.figures for one in running if one.alias == a]) for a in aliases)


def _total(alias: str, figures: Sequence[Mapping[str, Any]]) -> str:
    in_use, limit, waiting = (
        sum(one.get(name, 0) for one in figures) for name in ("in_use", "limit", "waiting")
    )
    of = f" of {limit:,}" if limit else ""
    processes = plural(len(figures), "process", "processes")
    waiters = plural(waiting, "waiter")
    return f"{alias}: {processes}, {in_use:,}{of} sessions in use, {waiters}."


def _of_server(server: Server) -> Iterator[Line | Table]:
    names = ", ".join(server.aliases)
    title = f"Server {server.address} ({names})"
    if server.census is None:
        yield Line("")
        yield Line(f"{title} cannot be asked: {server.error}", "red")
        return
    census = server.census
    rows = [
        [one.user, one.host, count(one.sessions), count(one.busy), _longest(one.longest)]
        for one in census.groups
    ]
    headings = ("user", "host", "sessions", "busy", "longest")
    if rows:
        yield Table(f"{title}: {census.product}", headings, rows, names=2)
    else:
        yield Line("")
        yield Line(f"{title}: {census.product}", "bold")
    yield Line(_sentence(census))
    if census.sees_all is not True:
        yield Line(_restricted(census), "yellow")


def _longest(seconds: int) -> str:
    return duration(seconds) if seconds else "-"


def _sentence(census: Census) -> str:
    own = f" {census.account} may have {census.user_limit:,}." if census.user_limit else ""
    return (
        f"{census.connected:,} of {census.limit:,} sessions ({percent(census.share)}), besides "
        f"this command's own; at most there were {census.peak:,}.{own}"
    )


def _restricted(census: Census) -> str:
    if census.sees_all is False:
        return (
            f"{census.account} lacks the right PROCESS, so only sessions of its own account are "
            "listed by user and host."
        )
    return f"It is not known whether {census.account} sees the sessions of other accounts."
