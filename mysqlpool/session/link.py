"""A connection of the driver that knows whether it is alive, and by what it ended.

It learns that from the errors of its statements, and by looking at its socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import MySQLdb
from MySQLdb import _mysql
from MySQLdb.connections import Connection
from MySQLdb.constants import CLIENT, CR

from . import tls
from .driver_state import DriverState
from .failures import Failure, failure_of
from .opening import Opening
from .parameters import public
from .wire import Wire

__all__ = ["READ_ONLY_TRANSACTION", "Link", "reason", "text_of"]

# Who kills the own connection is told this on MySQL, and lost it by that.
_KILLED = 1317

# With this one a server says that a transaction is read-only. Perhaps the application wanted that.
READ_ONLY_TRANSACTION = 1792

# Seconds for a statement of ours that takes a session back to its baseline, or asks it something.
_UNDOING = 5.0

# That of a connection with nothing to do. One that was killed by KILL QUERY then is called so until
# its next command, and has no text of a statement, which it has while one is at work.
# https://mariadb.com/kb/en/information-schema-processlist-table/
_ASLEEP = (
    b"SELECT COUNT(*) FROM information_schema.processlist"
    b" WHERE id = %d AND command IN ('Sleep', 'Killed') AND info IS NULL AND host %b"
)

# Seconds, for what is asked of a new connection, where the parameters have none.
_CONNECT_TIMEOUT = 10


class Link(Connection):
    """A connection that is alive, or tells why it is not.

    Its attributes are slots, so that its ``__dict__`` has what the driver and others put there.
    """

    __slots__ = (
        "_failed",
        "_is_mariadb",
        "_opening",
        "_suspect",
        "_tuning",
        "_wire",
        "broken",
        "failure",
        "number",
        "opened",
        "server",
    )

    broken: str | None
    """Why it must not be used any more: a disconnect, or an answer that nobody read."""

    failure: Failure | None
    """What class of error broke it; None where that was something else than an error."""

    number: int
    """The server's for this connection, as KILL names it. For other threads, which the driver lets
    ask nothing while this one is at work.
    """

    opened: float
    """When it was connected, in monotonic seconds."""

    server: tuple[str, int] | str
    """Where it was opened: a host and a port, or the path of a Unix socket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.broken = self.failure = None
        self.opened = self._failed = 0.0
        self.server = ""
        self._is_mariadb = False
        self._suspect = False  # the server said that a transaction is read-only
        self._tuning: tuple[bool, float | None] | None = None
        started = monotonic()
        super().__init__(*args, **kwargs)
        self._opening = Opening(public(kwargs), self.character_set_name())
        self._look_at_connection()
        try:
            self._insist_on_tls(kwargs, started)
        except BaseException:
            _mysql.connection.close(self)
            raise

    def _connect_anew(self, parameters: Mapping[str, Any]) -> None:
        """Close, and connect as the same object; the driver's state in Python stays."""
        state = DriverState.of(self)
        _mysql.connection.close(self)
        self._opening = self._opening.by(parameters)
        started = monotonic()
        super().__init__(**parameters)
        self._look_at_connection()
        state.put_on(self)
        # Where this raises the lease is discarded. A hook that goes on after that has the session
        # renewed again, and so is refused again.
        self._insist_on_tls(parameters, started)

    def _look_at_connection(self) -> None:
        self._wire = Wire(self.fileno())
        self.number = self.thread_id()
        self.opened = monotonic()
        self._is_mariadb = "MariaDB" in self.get_server_info()
        if self._tuning is not None:
            self._wire.tune(*self._tuning)

    def _insist_on_tls(self, parameters: Mapping[str, Any], started: float) -> None:
        """Raise where the parameters ask for TLS, and the connection has none.

        That costs a round trip, for which there is what is left of ``connect_timeout``, or a
        second; and otherwise nothing. The server is not asked which cipher it uses, because behind
        a proxy the answer is about the proxy's own connection to the server
        (https://github.com/sysown/proxysql/issues/5083).
        """
        named = tls.wants_tls(parameters)
        if named is None:
            return
        _mysql.connection.send_query(self, b"DO 0")
        allowed = parameters.get("connect_timeout") or _CONNECT_TIMEOUT
        seconds = max(1.0, started + allowed - monotonic())
        encrypted = tls.answers_in_tls(self._wire.number, self._wire.watch, seconds)
        _mysql.connection.read_query_result(self)
        if not encrypted:
            raise tls.refusal(named)

    def tune(self, keepalive: bool, user_timeout: float | None) -> None:
        """Set the socket's options, now and whenever it is connected anew: see `sockets.tune`."""
        self._tuning = keepalive, user_timeout
        self._wire.tune(keepalive, user_timeout)

    # Looking at it

    def readable(self) -> bool:
        """Whether the idle connection was closed by the server, or has bytes nobody asked for.

        Costs one system call and sends nothing. True means: discard it, unless `has_tls_record`.
        """
        return bool(self._wire.look())

    def has_tls_record(self) -> bool:
        """Whether what can be read looks like TLS, such as a record with a session ticket.

        That does not mean that the session is dead: ``check()`` decides.
        """
        return self._wire.has_tls_record()

    def check(self, timeout: float) -> bool:
        """Whether the server answers within ``timeout`` seconds. Costs one round trip.

        After False the session is broken: the answer may still be on its way, or incomplete.
        """
        end = monotonic() + timeout
        before = self._wire.unread()
        try:
            return self._is_answered(b"DO 0", end, before)
        except MySQLdb.Error as error:
            self._give_up(error)
        return False

    def _is_answered(self, sql: bytes, end: float, before: int = 0) -> bool:
        """Send a statement, and read its answer if that comes in time; else the session is broken.

        ``before`` bytes were there that nobody has read.
        """
        _mysql.connection.send_query(self, sql)
        why = self._wire.await_answer(before, end, compressed=self._is_compressed())
        if why is not None:
            self.broken = why
            return False
        _mysql.connection.read_query_result(self)
        return True

    def _is_compressed(self) -> bool:
        asked = self._opening.options.get("compress") or self.client_flag & CLIENT.COMPRESS
        return bool(asked and self.server_capabilities & CLIENT.COMPRESS)

    # Statements of ours

    def ask(self, sql: bytes) -> str:
        """The one value that a short query of ours answers, as text; whatever converters there are.

        Raises ``MySQLdb.Error`` where it fails, or has no answer in a limited time.
        """
        if not self._send_briefly(sql):
            raise MySQLdb.OperationalError(CR.SERVER_LOST, self.broken)
        [[value]] = self.store_result().fetch_row()
        return text_of(value)

    def sees_asleep(self, other: Link, port: int) -> bool:
        """Whether the server says that another connection to it waits for a command.

        The number alone could be another server's, behind a proxy. So the server has to see
        ``port`` at the other end, or for 0 a Unix socket, of which both servers say ``localhost``.
        Each account sees its own connections, without a privilege. Raises ``MySQLdb.Error`` as
        `ask` does.
        """
        host = f"LIKE '%:{port}'" if port else "= 'localhost'"
        return self.ask(_ASLEEP % (other.number, host.encode())) != "0"

    def _send_briefly(self, sql: bytes) -> bool:
        """Send a statement of ours, and read how it is answered. If that takes too long: False.

        Whoever releases has nothing to gain by a longer wait: the session is closed then, and the
        server goes on with a rollback by itself.
        """
        limit = min(_UNDOING, self._opening.options.get("read_timeout") or _UNDOING)
        return self._is_answered(sql, monotonic() + limit)

    def _say_again(self, *texts: bytes) -> None:
        for sql in texts:
            self._send(sql)
            self._pass_results()

    def _say_together(self, *texts: bytes) -> Any:
        """Send texts of one statement each, in one packet where that is allowed.

        Returns the one value that the last of them asks for, if it does.
        """
        if self.client_flag & CLIENT.MULTI_STATEMENTS:
            texts = (b"; ".join(texts),)
        self._say_again(*texts[:-1])
        self._send(texts[-1])
        return self._pass_results()

    def _pass_results(self) -> Any:
        """Read what the server answered to the end. Returns the first value of the last result."""
        result = self.store_result()
        while self.next_result() == 0:
            result = self.store_result()
        rows = () if result is None else result.fetch_row()
        return rows[0][0] if rows else None

    def _send(self, sql: bytes, dirty: str | None = None) -> None:
        try:
            _mysql.connection.query(self, sql)
        except MySQLdb.Error as error:
            if dirty == "KILL" and error.args[0] == _KILLED and self.broken is None:
                self._break(error, Failure.DEAD)
            self.note_failure(error)
            raise

    # Errors

    def note_failure(self, error: BaseException) -> None:
        """Note what an error tells about this connection. The first that breaks it counts."""
        if self.broken is not None or not isinstance(error, MySQLdb.Error):
            return
        failure = failure_of(error, mariadb=self._is_mariadb)
        if failure is None:
            return
        if error.args[0] == READ_ONLY_TRANSACTION:
            self._suspect = True
        elif failure.is_unfit:
            self._break(error, failure)

    def _give_up(self, error: MySQLdb.Error) -> None:
        """Note an error after which the session is of no use, whatever it tells."""
        self.note_failure(error)
        self.broken = self.broken or reason(error)

    def _break(self, error: BaseException, failure: Failure) -> None:
        self.broken, self.failure, self._failed = reason(error), failure, monotonic()

    def _note_failed_commit(self, error: MySQLdb.Error) -> None:
        self.note_failure(error)
        if self.failure is Failure.DEAD:
            self.broken, self.failure = f"commit unknown: {self.broken}", Failure.COMMIT_UNKNOWN

    def shares_failure(self, other: Link) -> bool:
        """Whether another session would fail as this one did: an older one on the same server."""
        return other.server == self.server and other.opened <= self._failed


def reason(error: BaseException) -> str:
    """The number of an error. Its text may quote a statement."""
    return f"error {error.args[0]}" if error.args else type(error).__name__


def text_of(value: object) -> str:
    """A value that the server answered, whatever converters there are."""
    return value.decode() if isinstance(value, bytes) else str(value)
