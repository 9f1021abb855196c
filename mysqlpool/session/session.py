"""A physical connection that knows whether it is clean and alive.

It learns that by watching the statements that pass through it, which costs no round trip.
"""

from math import ceil
from typing import Any

import MySQLdb
from MySQLdb import _mysql
from MySQLdb.connections import Connection
from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb

from mysqlpool.errors import SessionStateError

from . import sockets
from .announcements import Announcements
from .statements import USER_VARIABLE, AsciiClassifier, Classifier, reads_variable

# Their two-byte characters may end in a byte that is a backslash elsewhere (MySQL's manual,
# "Character Sets and Collations").
_AMBIGUOUS_CHARACTER_SETS = frozenset({"big5", "cp932", "gb18030", "gbk", "sjis"})

# 4031 tells of a closed connection on MySQL, and of something else on MariaDB.
_NO_DISCONNECT_ON_MARIADB = 4031

_dialect = MySQLDialect_mysqldb(dbapi=MySQLdb)


_ORDINARY = Classifier()
_NO_BACKSLASH_ESCAPES = Classifier(backslash_escapes=False)
_ASCII = AsciiClassifier()


class Session(Connection):
    """A connection to the server that watches what its holders do to it.

    Connect it, send what belongs to every holder, and call ``settle()``: this state is its
    baseline. ``restore()`` takes it back there, or tells why it cannot.

    Like the driver's connection it is for one thread at a time.
    """

    dirty: str | None = None
    """Why its state may differ from a new connection's: a verb or construct, never a value."""

    broken: str | None = None
    """Why it must not be used any more: a disconnect, or an answer that nobody read."""

    settled = False
    """Whether it has a baseline."""

    multiplexed = False
    """Whether leases of it end with the statement or the transaction."""

    single_use = False
    """Whether ``restore()`` has it discarded after each holder, whatever that did."""

    announcements: Announcements
    """What receivers of ``connection_created`` sent; empty at first."""

    _first = True  # the holder has sent nothing yet
    begun = False
    """Whether a statement began a transaction that has not ended yet."""

    _touched = False  # something was sent since a transaction ended
    _classifier = _ORDINARY

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.announcements = Announcements()
        self._autocommit = self.get_autocommit()
        self._fd = self.fileno()
        self._tell = sockets.way_to_tell(self._fd)
        self._socket = self._tell(self._fd)
        self._poll = sockets.watch(self._fd)

    def settle(self) -> None:
        """Make the present state the baseline, to which ``restore()`` goes back. It is clean now.

        Call it outside of a transaction. Sends nothing.
        """
        self.settled = True
        self.dirty = None
        self._ended()
        self._first = True
        self._autocommit = self.get_autocommit()
        self._classifier = self._how_to_read()

    def _how_to_read(self) -> Classifier:
        if self.character_set_name() in _AMBIGUOUS_CHARACTER_SETS:
            return _ASCII
        # The library escapes as the server reads: the status in every answer tells the library
        # whether the SQL mode has NO_BACKSLASH_ESCAPES.
        return _ORDINARY if self.escape_string(b"\\") == rb"\\" else _NO_BACKSLASH_ESCAPES

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction may be open.

        False is certain for a clean session. True may be an error on the safe side: the server
        ends a transaction unasked at a deadlock or a DDL statement.
        """
        return self.begun or (self._touched and not self.get_autocommit())

    def restore(self) -> str | None:
        """Bring the session back to the baseline in as few round trips as there can be.

        Returns None when it is fit for the next holder, else the reason to discard it, without
        a value or password in it. A clean session outside of a transaction costs no round trip;
        a transaction costs one ROLLBACK, and autocommit, where it was changed, one SET. Never
        raises for a server or a connection that is gone: that is a reason.
        """
        if not self.settled:
            return "not set up"
        if reason := self.broken or self.dirty:
            return reason
        if self.single_use:
            return "reset always"
        try:
            self._go_back()
        except MySQLdb.Error as error:
            self.broken = _reason(error)
        return self.broken

    def is_at_rest(self) -> bool:
        """Whether the session is at its baseline, so that its lease may end between statements.

        Ask it only after statements that all succeeded; `restore` finds it out for any. If it is,
        the next statement counts as the first of a holder.
        """
        try:
            if self.dirty or self.broken or self.begun or self.get_autocommit() != self._autocommit:
                return False
            if self.next_result() != -1:
                return False
        except MySQLdb.Error:
            # Rows are unread, or it was closed by hand. The release finds that out.
            return False
        self._touched, self._first = False, True
        return True

    def _go_back(self) -> None:
        # After a disconnect while rows were read, the client library has closed the socket and does
        # not know of the error any more. The socket's number may be another thread's file by now.
        if self._tell(self._fd) != self._socket:
            self.broken = "disconnected"
            return
        if self._first and self.get_autocommit() == self._autocommit:
            return  # Nothing was sent.
        # Where rows are unread this raises 2014. Where all are read it sends nothing.
        if self.next_result() != -1:
            self.broken = "unread results"
            return
        if self.in_transaction:
            self.rollback()
        if self.get_autocommit() != self._autocommit:
            self.autocommit(self._autocommit)
        self._ended()
        self._first = True

    def readable(self) -> bool:
        """Whether the idle connection was closed by the server, or has bytes nobody asked for.

        Costs one system call and sends nothing. True means: discard it, unless `has_tls_record`.
        """
        return bool(self._poll.poll(0))

    def has_tls_record(self) -> bool:
        """Whether what can be read is a TLS record, such as one with a session ticket.

        Such a record does not mean that the session is dead: ``check()`` decides. It begins with a
        type from 20 to 23, and then 3 (RFC 8446, 5.1). A packet without TLS begins with its length.
        With 3 in this place it would have over 768 bytes, which is more than any error that a
        server sends unasked.
        """
        start = sockets.peek(self._fd, 2)
        return len(start) == 2 and 20 <= start[0] <= 23 and start[1] == 3

    def check(self, timeout: float) -> bool:
        """Whether the server answers within ``timeout`` seconds. Costs one round trip.

        After False the session is broken: the answer may still be on its way.
        """
        try:
            _mysql.connection.send_query(self, b"DO 0")
            if self._poll.poll(ceil(timeout * 1000)):
                _mysql.connection.read_query_result(self)
                return True
            self.broken = f"no answer within {timeout:g} s"
        except MySQLdb.Error as error:
            self.broken = _reason(error)
        return False

    # What changes the state. COMMIT, ROLLBACK and SET autocommit do not pass through query(): the
    # driver sends them from C.

    def query(self, query: bytes | bytearray | str) -> None:
        """Send a statement as the driver does, and note what it does to the session.

        Raises `SessionStateError`, and sends nothing, when the first statement of a holder asks for
        what an earlier one left, such as ``LAST_INSERT_ID()``. That one was somebody else's.
        """
        sql = query.encode() if isinstance(query, str) else bytes(query)
        dirty, transaction, reads = self._classifier.effect(sql)
        if self._first:
            self._refuse_former(sql, dirty, reads)
        self._first = False
        self._touched = True
        if dirty:
            self._soil(dirty)
        if transaction:
            self.begun = True
        try:
            _mysql.connection.query(self, sql)
        except MySQLdb.Error as error:
            self._note_failure(error)
            raise
        if transaction is False:
            self._ended()

    def _refuse_former(self, sql: bytes, dirty: str | None, reads: str | None) -> None:
        if reads:
            raise SessionStateError(reads)
        if self.multiplexed and dirty == USER_VARIABLE and reads_variable(sql):
            raise SessionStateError(USER_VARIABLE)

    def commit(self) -> None:
        _mysql.connection.commit(self)
        self._ended()

    def rollback(self) -> None:
        _mysql.connection.rollback(self)
        self._ended()

    def autocommit(self, on: bool) -> None:
        """Switch autocommit. Switching it on commits an open transaction, as the server does."""
        commits = bool(on) and not self.get_autocommit()
        super().autocommit(on)
        if commits:
            self._ended()

    def select_db(self, database: str) -> None:
        self._soil("USE")
        _mysql.connection.select_db(self, database)

    def change_user(self, *args: Any, **kwargs: Any) -> None:
        self._soil("change_user")
        _mysql.connection.change_user(self, *args, **kwargs)

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        self._soil("SET NAMES")
        super().set_character_set(charset, collation)

    def set_server_option(self, option: int) -> int:
        self._soil("set_server_option")
        result: int = _mysql.connection.set_server_option(self, option)
        return result

    def send_query(self, *args: Any) -> None:
        """The driver's. A statement sent in this way is not looked at, so the session is dirty."""
        self._soil("send_query")
        _mysql.connection.send_query(self, *args)

    def ping(self, *args: Any) -> None:
        """The driver's. Its deprecated ``reconnect`` gives a new session without the baseline."""
        if args:
            self._soil("ping with reconnect")
        _mysql.connection.ping(self, *args)

    def _soil(self, reason: str) -> None:
        self.dirty = self.dirty or reason

    def _ended(self) -> None:
        self.begun = self._touched = False

    def _note_failure(self, error: MySQLdb.Error) -> None:
        if self.broken is None and _is_disconnect(error, self):
            self.broken = _reason(error)


def _is_disconnect(error: Any, session: Session) -> bool:
    if error.args[:1] == (_NO_DISCONNECT_ON_MARIADB,) and "MariaDB" in session.get_server_info():
        return False
    return _dialect.is_disconnect(error, None, None)


def _reason(error: MySQLdb.Error) -> str:
    """The number of an error. Its text may quote a statement."""
    return f"error {error.args[0]}" if error.args else type(error).__name__
