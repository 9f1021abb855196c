"""A physical connection that knows whether it is clean and alive.

It learns that by watching the statements that pass through it, which costs no round trip.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from time import monotonic, sleep
from types import FrameType
from typing import Any

import MySQLdb
from MySQLdb import _mysql
from MySQLdb.connections import Connection
from MySQLdb.constants import CLIENT, CR

from mysqlpool.errors import SessionStateError

from . import answers, sockets, tls
from .answers import Arrived
from .assignments import assigned
from .block import Block
from .cursors import CountedCursor, GuardedCursor, Tenure, guarded
from .driver_state import DriverState
from .failures import Failure, failure_of
from .lexical import without_comments
from .parameters import public
from .set_up import NO_SET_UP, Assignment, Recording, SetUp
from .statements import USER_VARIABLE, AsciiClassifier, Classifier, variables_read

# Their two-byte characters may end in a byte that is a backslash elsewhere (MySQL's manual,
# "Character Sets and Collations").
_AMBIGUOUS_CHARACTER_SETS = frozenset({"big5", "cp932", "gb18030", "gbk", "sjis"})

# A statement is under way while its thread is in a function of these: rows are read in cursors.
_AT_WORK = (__name__, "MySQLdb.connections", "MySQLdb.cursors")

# Who kills the own connection is told this on MySQL, and lost it by that.
_KILLED = 1317

# What the servers say of a statement that was not executed, as somebody killed it before.
_INTERRUPTED = "Query execution was interrupted"

# A statement of so many bytes goes out by itself: together with what is sent ahead it would be
# copied, and might be larger than the server's max_allowed_packet allows.
_LONG = 16_000

# With this one a server says that a transaction is read-only. Perhaps the application wanted that.
_READ_ONLY_TRANSACTION = 1792

_ORDINARY = Classifier()
_NO_BACKSLASH_ESCAPES = Classifier(backslash_escapes=False)
_ASCII = AsciiClassifier()


# enum_mysql_set_option of the servers' mysql_com.h
_MULTI_STATEMENTS_ON = 0

# With these the library finds credentials where we do not see them.
_OPTION_FILES = frozenset(["read_default_file", "read_default_group"])

# Seconds between two looks at an answer of which a part has arrived.
_BETWEEN_LOOKS = 0.001

# Seconds for a statement of ours that takes a session back to its baseline, or asks it something.
_UNDOING = 5.0

NO_ANSWER = "no answer in time"

# Seconds, for what is asked of a new connection, where the parameters have none.
_CONNECT_TIMEOUT = 10

Parameters = Callable[[], Mapping[str, Any]]


class Session(Connection):
    """A connection to the server that watches what its holders do to it.

    Connect it, send what belongs to every holder, and call ``settle()``: this state is its
    baseline. What is sent between ``begin_set_up()`` and ``end_set_up()`` is its holder's set-up.
    ``restore()`` takes it back to the baseline and what of a set-up it carries, or tells why it
    cannot.

    Like the driver's connection it is for one thread at a time. Its own attributes are slots, so
    that its ``__dict__`` has what the driver and its holders put there, and can be compared.
    """

    __slots__ = (
        "_autocommit",
        "_baseline",
        "_charset",
        "_classifier",
        "_driver",
        "_failed",
        "_fd",
        "_first",
        "_has_insert_id",
        "_is_mariadb",
        "_options",
        "_own_driver",
        "_poll",
        "_socket",
        "_suspect",
        "_tell",
        "_touched",
        "_tuning",
        "alias",
        "begin_mode",
        "begun",
        "block",
        "broken",
        "carried",
        "cursors",
        "dirty",
        "failure",
        "has_baseline",
        "identity",
        "multiplexed",
        "opened",
        "recording",
        "server",
        "settings",
        "settled",
        "single_use",
        "tenure",
        "turn",
    )

    dirty: str | None
    """Why its state may differ from a new connection's: a verb or construct, never a value."""

    broken: str | None
    """Why it must not be used any more: a disconnect, or an answer that nobody read."""

    failure: Failure | None
    """What class of error broke it; None where that was something else than an error."""

    opened: float
    """When it was connected, in monotonic seconds."""

    settled: bool
    """Whether it has a baseline."""

    has_baseline: bool
    """Whether Django's own statements are part of that."""

    multiplexed: bool
    """Whether leases of it end with the statement or the transaction."""

    single_use: bool
    """Whether ``restore()`` has it discarded after each holder, whatever that did."""

    alias: str
    """Of which database it is, for messages."""

    identity: Any
    """With which parameters it was opened, less the secret; and ``settings``, from which ones."""

    server: tuple[str, int] | str
    """Where it was opened: a host and a port, or the path of a Unix socket."""

    begun: bool
    """Whether a statement began a transaction that has not ended yet."""

    begin_mode: str
    """How a transaction begins that is asked for by switching autocommit off: as
    ``OPTIONS["pool"]["begin"]``.
    """

    block: Block | None
    """What is asked of the server in a transaction that begins with its first statement, while the
    application believes that autocommit is off.
    """

    carried: tuple[Assignment, ...]
    """What set-ups left in it: variables that have other values than the baseline's."""

    recording: Recording | None
    """The set-up that is under way."""

    turn: int
    """Grows when a lease ends. A cursor of another turn is dead."""

    tenure: weakref.ref[Tenure] | None
    """Who is told when cursors are closed; and ``cursors``, how many of this turn are open.

    The reference is weak: else the pool would keep a wrapper that nobody has any more.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The driver sends statements while it connects, which are no holder's.
        self.dirty = self.broken = self.recording = self.tenure = self.identity = None
        self.failure = self.block = None
        self.opened = self._failed = 0.0
        self.begin_mode = "autocommit"
        self.settings: Any = None
        self.alias = self.server = ""
        self.settled = self.has_baseline = self.multiplexed = self.single_use = self.begun = False
        self.carried = ()
        self.turn = self.cursors = 0
        self._first = True  # the holder has sent nothing yet
        self._has_insert_id = False  # what the library says is of this turn
        self._touched = False  # something was sent since a transaction ended
        self._suspect = False  # the server said that a transaction is read-only
        self._is_mariadb = False
        self._classifier = _ORDINARY
        self._baseline: list[bytes] = []  # what Django sent
        self._options = public(kwargs)
        self._tuning: tuple[bool, float | None] | None = None
        started = monotonic()
        super().__init__(*args, **kwargs)
        self.dirty, self._first, self._touched = None, True, False
        self._charset = self.character_set_name()
        self._driver = self._own_driver = DriverState.of(self)  # the baseline's, the holder's
        self._autocommit = self.get_autocommit()
        self._look_at_connection()
        try:
            self._insist_on_tls(kwargs, started)
        except BaseException:
            _mysql.connection.close(self)
            raise

    def settle(self) -> None:
        """Make the present state the baseline, to which ``restore()`` goes back. It is clean now.

        Call it outside of a transaction. Sends nothing.
        """
        self._note_baseline()
        self.dirty = None
        self._ended()
        self._first = True

    def _note_baseline(self) -> None:
        self.settled = True
        self._autocommit = self.get_autocommit()
        self._classifier = self._how_to_read()

    def _how_to_read(self) -> Classifier:
        if self.character_set_name() in _AMBIGUOUS_CHARACTER_SETS:
            return _ASCII
        # The library escapes as the server reads: the status in every answer tells the library
        # whether the SQL mode has NO_BACKSLASH_ESCAPES.
        return _ORDINARY if self.escape_string(b"\\") == rb"\\" else _NO_BACKSLASH_ESCAPES

    # Set-ups

    def begin_set_up(self, parameters: Parameters) -> Recording:
        """What is sent from now on is said by a holder's set-up.

        ``parameters`` returns those with which a new session for this holder would be connected. It
        is asked where what a former set-up left has to be undone.
        """
        recording = self.recording = Recording(self.carried, parameters)
        return recording

    @contextmanager
    def baseline(self) -> Iterator[None]:
        """In this block of a set-up Django's own statements are sent: the session's baseline."""
        recording = self.recording
        assert recording is not None
        recording.is_django, self._baseline = True, []
        try:
            yield
        finally:
            recording.is_django = False
        recording.early = len(recording.said)
        self.has_baseline = True
        if not self.settled:
            self._note_baseline()

    def knows(self, sql: bytes) -> bool:
        """Whether the session carries what a set-up is about to say. It counts as said then."""
        recording = self.recording
        if recording is None or not recording.repeats(sql):
            return False
        recording.note(recording.pending[0])
        return True

    def end_set_up(self) -> SetUp:
        """The set-up is complete: from now on the session carries it, and nothing else.

        Where a former one said more, that is undone. Raises ``MySQLdb.Error`` when that fails.
        """
        recording = self.recording
        assert recording is not None
        if recording.pending:
            self._renew(recording)
        self.recording = None
        if not self.settled:  # An engine left Django's statements out.
            self._note_baseline()
        if recording.said or self.carried:
            self._classifier = self._how_to_read()
        self.carried = tuple(recording.said)
        same = (vars(self), self.converter) == self._driver
        driver = None if same else DriverState.of(self)
        self._own_driver = driver or self._driver
        if self.has_baseline and not self.carried and driver is None:
            return NO_SET_UP
        return SetUp(self.carried, driver, self.has_baseline, recording.early)

    def bring(self, set_up: SetUp, parameters: Parameters) -> None:
        """Bring the session to a set-up that its holder said before, on this one or another."""
        if set_up.said != self.carried:
            recording = self.begin_set_up(parameters)
            for position, assignment in enumerate(set_up.said, 1):
                if not self.knows(assignment.sql):
                    self._assign(recording, assignment)
                    self._pass_results()
                if position == set_up.early:
                    recording.early = position
                    self._say_again(*self._baseline)
            self.end_set_up()
        if set_up.driver is not None:
            set_up.driver.put_on(self)
            self._own_driver = set_up.driver

    def _is_said(self, recording: Recording, sql: bytes) -> bool:
        """Send it, where it is Django's or an assignment; False where it is like any statement."""
        if recording.is_django:
            self._send(sql)
            if self._classifier.effect(sql).dirty:
                # A comment, such as a trace's, is of the holder for whom it was sent first.
                self._baseline.append(without_comments(sql))
            return True
        names = assigned(sql)
        if names is None:
            self._stop_carrying()
            return False
        self._assign(recording, Assignment(sql, names))
        return True

    def _stop_carrying(self) -> None:
        """Undo what a former set-up left, before this one does what could not be repeated."""
        recording = self.recording
        if recording is not None and not recording.is_django and recording.pending:
            self._renew(recording)

    def _assign(self, recording: Recording, assignment: Assignment) -> None:
        if recording.needs_renewal(assignment):
            self._renew(recording)
        self._send(assignment.sql)
        recording.note(assignment)

    def _renew(self, recording: Recording) -> None:
        """Make the session as new, and say again the baseline and what the set-up said so far.

        It stays the same object, as the hooks that speak have it already. COM_CHANGE_USER does it
        where it does all of it; else it is connected anew.
        """
        parameters = recording.parameters()
        self.recording = None
        try:
            if not (self._may_change_user() and self._change_user(parameters)):
                self._connect_anew(parameters)
            said = [assignment.sql for assignment in recording.said]
            early, late = said[: recording.early], said[recording.early :]
            self._say_again(*early, *self._baseline, *late)
            recording.renewed()
        except BaseException as error:  # Nobody may have it half renewed, who caught this.
            self.broken = _reason(error) if isinstance(error, MySQLdb.Error) else "interrupted"
            raise
        finally:
            self.recording = recording
        self.dirty, self._first = None, True
        self._ended()

    def _may_change_user(self) -> bool:
        """Whether we know as whom, and the server does nothing at a connect that it would not do.

        COM_CHANGE_USER does not run ``init_connect``, as both servers were seen to do.
        """
        options = self._options.keys()
        if "user" not in options or options & _OPTION_FILES:
            return False
        return not self.ask(b"SELECT @@GLOBAL.init_connect")

    def _change_user(self, parameters: Mapping[str, Any]) -> bool:
        """Forget all that a session can have; False where the server, or a proxy, refuses it.

        It switches multiple statements off, and takes the server's collation
        (https://dev.mysql.com/doc/c-api/8.4/en/mysql-change-user.html).
        """
        options = self._options
        user = parameters.get("user", options["user"])
        password = parameters.get("password", parameters.get("passwd")) or ""
        database = options.get("database", options.get("db")) or ""
        try:
            _mysql.connection.change_user(self, user, password, database)
        except MySQLdb.Error:
            return False
        if self.client_flag & CLIENT.MULTI_STATEMENTS:
            _mysql.connection.set_server_option(self, _MULTI_STATEMENTS_ON)
        _mysql.connection.set_character_set(self, self._charset)
        self._say_again(*self._opening())
        if self.get_autocommit() != self._autocommit:
            _mysql.connection.autocommit(self, self._autocommit)
        return True

    def _connect_anew(self, parameters: Mapping[str, Any]) -> None:
        """Close, and connect as the same object; the driver's state in Python stays."""
        state = DriverState.of(self)
        _mysql.connection.close(self)
        self._options = public(parameters)
        started = monotonic()
        super().__init__(**parameters)
        self._look_at_connection()
        state.put_on(self)
        # Where this raises the lease is discarded. A hook that goes on after that has the session
        # renewed again, and so is refused again.
        self._insist_on_tls(parameters, started)

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
        encrypted = tls.answers_in_tls(self._fd, self._poll, seconds)
        _mysql.connection.read_query_result(self)
        if not encrypted:
            raise tls.refusal(named)

    def _look_at_connection(self) -> None:
        self._fd = self.fileno()
        self.opened = monotonic()
        self._is_mariadb = "MariaDB" in self.get_server_info()
        self._tell = sockets.way_to_tell(self._fd)
        self._socket = self._tell(self._fd)
        self._poll = sockets.watch(self._fd)
        if self._tuning is not None:
            sockets.tune(self._fd, *self._tuning)

    def tune(self, keepalive: bool, user_timeout: float | None) -> None:
        """Set the socket's options, now and whenever it is connected anew: see `sockets.tune`."""
        self._tuning = keepalive, user_timeout
        sockets.tune(self._fd, keepalive, user_timeout)

    def _say_again(self, *texts: bytes) -> None:
        for sql in texts:
            self._send(sql)
            self._pass_results()

    def _opening(self) -> Iterator[bytes]:
        """What the driver sends when it connects, in its order, beside the character set."""
        options = self._options
        if options.get("init_command"):
            yield str(options["init_command"]).encode()
        if options.get("collation"):
            yield f"SET NAMES {self._charset} COLLATE {options['collation']}".encode()
        if options.get("sql_mode"):
            yield f"SET SESSION sql_mode='{options['sql_mode']}'".encode()

    def _pass_results(self) -> None:
        """Read what the server answered to the end."""
        self.store_result()
        while self.next_result() == 0:
            self.store_result()

    # Cursors

    def cursor(self, cursorclass: Any = None) -> Any:
        """The driver's, which is dead when the lease ends: see `GuardedCursor`."""
        cursor: Any = (cursorclass or self.cursorclass)(self)
        tenure = None if self.tenure is None else self.tenure()
        guard = GuardedCursor if tenure is None else CountedCursor
        if tenure is not None:
            self.cursors += 1
            cursor._tenure = tenure
        cursor._turn = self.turn
        kind: Any = type(cursor)
        cursor.__class__ = guarded(kind, guard)  # The last: from now on its end counts down.
        return cursor

    def end_turn(self) -> None:
        """The lease ends: its cursors are dead from now on."""
        self.turn += 1
        self.cursors = 0
        self._has_insert_id = False
        self.tenure = None

    # What the library remembers of the last statement. A former holder's is not told.

    def affected_rows(self) -> int:
        return 0 if self._first else _mysql.connection.affected_rows(self)

    def insert_id(self) -> int:
        # The library keeps the last one until a statement without rows is answered.
        if not self._first and _mysql.connection.field_count(self) == 0:
            self._has_insert_id = True
        return _mysql.connection.insert_id(self) if self._has_insert_id else 0

    def warning_count(self) -> int:
        return 0 if self._first else _mysql.connection.warning_count(self)

    def info(self) -> str | None:
        return None if self._first else _mysql.connection.info(self)

    def field_count(self) -> int:
        return 0 if self._first else _mysql.connection.field_count(self)

    def errno(self) -> int:
        return 0 if self._first else _mysql.connection.errno(self)

    def error(self) -> str:
        return "" if self._first else _mysql.connection.error(self)

    def sqlstate(self) -> str:
        return "00000" if self._first else _mysql.connection.sqlstate(self)

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
        self.block = None  # What was not sent need not be.
        if not self.settled or self.recording is not None:
            return "not set up"
        if reason := self.broken or self.dirty:
            return reason
        if self.single_use:
            return "reset always"
        try:
            self._go_back()
            if self._suspect:
                self._clear_suspicion()
        except MySQLdb.Error as error:
            self._give_up(error)
        if self.broken is None and (vars(self), self.converter) != self._driver:
            self._driver.put_on(self)
        self._own_driver = self._driver
        return self.broken

    def is_at_rest(self) -> bool:
        """Whether the session is at its baseline, so that its lease may end between statements.

        Ask it only after statements that all succeeded; `restore` finds it out for any. If it is,
        the next statement counts as the first of a holder.
        """
        try:
            if self.dirty or self.broken or self.begun or self.block is not None:
                return False
            if not self._is_at_own_autocommit():
                return False
            if self.next_result() != -1:
                return False
        except MySQLdb.Error:
            # Rows are unread, or it was closed by hand. The release finds that out.
            return False
        if (vars(self), self.converter) != self._own_driver:
            return False
        if self._own_driver is not self._driver:
            self._driver.put_on(self)
            self._own_driver = self._driver
        self._touched, self._first = False, True
        return True

    def is_changed_in_python(self) -> bool:
        """Whether its holder changed the driver's state in Python after its set-up."""
        return (vars(self), self.converter) != self._own_driver

    def is_idle(self, frame: FrameType | None) -> bool:
        """Whether no statement is under way and no transaction open, as another thread sees it.

        ``frame`` is the innermost of the holder's thread. Nothing is noted for this while a
        statement runs, so it costs only whoever asks.
        """
        while frame is not None:
            if frame.f_globals.get("__name__") in _AT_WORK:
                owner = frame.f_locals.get("self")
                if owner is self or getattr(owner, "connection", None) is self:
                    return False
            frame = frame.f_back
        try:
            return not self.in_transaction and self.get_autocommit() == self._autocommit
        except MySQLdb.Error:  # It was closed by hand.
            return False

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
        if self.in_transaction and not self._send_briefly(b"rollback"):
            return
        differs = self.get_autocommit() != self._autocommit
        if differs and not self._send_briefly(b"set autocommit=%d" % self._autocommit):
            return
        self._ended()
        self._first = True

    def ask(self, sql: bytes) -> str:
        """The one value that a short query of ours answers, as text; whatever converters there are.

        Raises ``MySQLdb.Error`` where it fails, or has no answer in a limited time.
        """
        if not self._send_briefly(sql):
            raise MySQLdb.OperationalError(CR.SERVER_LOST, self.broken)
        [[value]] = self.store_result().fetch_row()
        return value.decode() if isinstance(value, bytes) else str(value)

    def _send_briefly(self, sql: bytes) -> bool:
        """Send a statement of ours, and read how it is answered. If that takes too long: False.

        Whoever releases has nothing to gain by a longer wait: the session is closed then, and the
        server goes on with a rollback by itself.
        """
        limit = min(_UNDOING, self._options.get("read_timeout") or _UNDOING)
        return self._is_answered(sql, monotonic() + limit)

    def readable(self) -> bool:
        """Whether the idle connection was closed by the server, or has bytes nobody asked for.

        Costs one system call and sends nothing. True means: discard it, unless `has_tls_record`.
        """
        return bool(self._poll.poll(0))

    def has_tls_record(self) -> bool:
        """Whether what can be read looks like TLS, such as a record with a session ticket.

        That does not mean that the session is dead: ``check()`` decides.
        """
        return answers.looks_like_tls(sockets.peek(self._fd, 2))

    def check(self, timeout: float) -> bool:
        """Whether the server answers within ``timeout`` seconds. Costs one round trip.

        After False the session is broken: the answer may still be on its way, or incomplete.
        """
        end = monotonic() + timeout
        before = len(sockets.peek(self._fd, answers.LONGEST)) if self.readable() else 0
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
        if not self._await_answer(before, end):
            return False
        _mysql.connection.read_query_result(self)
        return True

    def _await_answer(self, before: int, end: float) -> bool:
        """Whether an answer can be read without waiting, at ``end`` at the latest.

        The library would wait for the rest of it without an end. Of a connection that is over it
        reads what there is, which may tell why.
        """
        while events := self._poll.poll(max(0, ceil((end - monotonic()) * 1000))):
            found = sockets.peek(self._fd, answers.LONGEST)
            if not found or sockets.is_over(events):
                return True
            there = answers.arrived(found, before, compressed=self._is_compressed())
            if there is Arrived.WHOLE:
                return True
            if there is Arrived.NONSENSE:
                self.broken = "garbage"
                return False
            if self._tell(self._fd) != self._socket:  # It was reset, which select() does not tell.
                return True
            if monotonic() >= end:
                break
            sleep(_BETWEEN_LOOKS)
        self.broken = NO_ANSWER
        return False

    def _is_compressed(self) -> bool:
        asked = self._options.get("compress") or self.client_flag & CLIENT.COMPRESS
        return bool(asked and self.server_capabilities & CLIENT.COMPRESS)

    # What changes the state. COMMIT, ROLLBACK and SET autocommit do not pass through query(): the
    # driver sends them from C.

    def query(self, query: bytes | bytearray | str) -> None:
        """Send a statement as the driver does, and note what it does to the session.

        Raises `SessionStateError`, and sends nothing, when the first statement of a holder asks for
        what an earlier one left, such as ``LAST_INSERT_ID()``. That one was somebody else's.
        """
        sql = query.encode() if isinstance(query, str) else bytes(query)
        if self.recording is not None and self._is_said(self.recording, sql):
            return
        dirty, transaction, reads, rows = self._classifier.effect(sql)
        if reads:
            dirty = self._look_back(sql, dirty, reads)
        self._first = False
        self._touched = True
        block = None
        if self.block is not None:
            block = self._block_for(sql, False if dirty and rows else rows)
        if dirty:
            self._stain(dirty)
        if transaction:
            self.begun = True
        if block is None:
            self._send(sql, dirty)
        else:
            self._send_in(block, sql)
        if transaction is False:
            self._ended()

    def _send(self, sql: bytes, dirty: str | None = None) -> None:
        try:
            _mysql.connection.query(self, sql)
        except MySQLdb.Error as error:
            if dirty == "KILL" and error.args[0] == _KILLED and self.broken is None:
                self._break(error, Failure.DEAD)
            self.note_failure(error)
            raise

    # Transactions that begin with their first statement: see `mysqlpool.session.block`.

    def keeps(self, sql: str) -> bool:
        """Whether a statement about a savepoint can wait until the next statement, or for ever."""
        return self.block is not None and self.block.keeps(sql)

    def savepoint(self, sql: str) -> None:
        """Make a savepoint, which waits for the next statement where it can."""
        if not self.keeps(sql):
            self.query(sql)
            self._pass_results()

    def _may_begin_late(self) -> bool:
        """Whether what Django's engine does by switching autocommit off can wait.

        Where the session was changed, it may have been what a transaction begins with.
        """
        return (
            self.begin_mode != "autocommit"
            and self.settled
            and self._autocommit
            and self.recording is None
            and not (self.dirty or self.broken or self.begun)
            and self._is_at_own_autocommit()
            and not any("completion_type" in one.names for one in self.carried)
        )

    def _block_for(self, sql: bytes, rows: bool | None) -> Block | None:
        """The block to which a statement belongs that is sent now; None where it has been left.

        What asks how the last statement went goes out at once, as it has to follow that.
        """
        block = self.block
        if block is None:
            return None
        in_doubt = block.doubted()
        if rows is None and not block.ahead():
            return None
        if in_doubt or not (rows or block.returns(sql)):
            self._leave_block()
            return None
        return block

    def _leave_block(self) -> None:
        """Go on as Django's engine does, with autocommit off, until the block ends.

        To switch it off neither begins a transaction nor ends one. So it is right also where the
        server has ended the transaction.
        """
        block = self.block
        if block is None:
            return
        block.in_doubt = True  # Until it is left: whatever interrupts that, it will be tried again.
        self._send(b"SET autocommit=0")
        self.block = None
        for sql in block.unsent:
            self._send(sql.encode())

    def _send_in(self, block: Block, sql: bytes) -> None:
        """Send a statement of a transaction, and ahead of it what it needs.

        It is unanswered until its cursor, which reads the result, or an error tells otherwise.
        """
        self.begun, block.unanswered = True, True
        ahead = block.ahead()
        if ahead and self._fuses() and len(sql) < _LONG:
            self._send_together(block, ahead, sql)
            return
        for text in ahead:
            self._send(text)
            block.sent()
        self._send(sql)

    def _fuses(self) -> bool:
        return self.begin_mode == "fused" and bool(self.client_flag & CLIENT.MULTI_STATEMENTS)

    def _send_together(self, block: Block, ahead: Sequence[bytes], sql: bytes) -> None:
        """In one packet. The server stops at the first error, and answers each that it executed."""
        self._send(b";".join([*ahead, sql]))
        for _ in ahead:
            block.sent()
            try:
                over = self.next_result() == -1
            except MySQLdb.Error as error:
                self.note_failure(error)
                raise
            if over:  # It was killed between two of them, which the servers do not tell.
                raise MySQLdb.OperationalError(_KILLED, _INTERRUPTED)

    def has_transaction(self) -> bool:
        """Whether COMMIT and ROLLBACK are sent; they are not where nothing has begun."""
        block = self.block
        return block is None or block.begun or block.doubted()

    def _end_block(self, block: Block, end: Callable[[], None]) -> None:
        """End its transaction, if there is any, and begin the next one as late."""
        if self.has_transaction():
            block.in_doubt = (
                True  # Who is interrupted, or has an error, cannot tell whether it ended.
            )
            end()
        self._ended()
        block.restart()

    def _is_at_own_autocommit(self) -> bool:
        """Whether the server's autocommit is the baseline's."""
        return bool(_mysql.connection.get_autocommit(self) == self._autocommit)

    def get_autocommit(self) -> bool:
        """The driver's: off also where a transaction waits for its first statement."""
        return self.block is None and bool(_mysql.connection.get_autocommit(self))

    def _look_back(self, sql: bytes, dirty: str | None, reads: str) -> str | None:
        """Refuse what asks for another holder's statement, and tell whether it leaves a trace.

        To read what the holder's own set-up assigned is neither. To read another user variable is
        taken for a trace: who reads it relies on the session.
        """
        if reads != USER_VARIABLE:
            if self._first:
                raise SessionStateError(reads)
            return dirty
        own = self.carried if self.recording is None else self.recording.said
        former = variables_read(sql).difference(*[assignment.names for assignment in own])
        if former and self._first and self.multiplexed:
            raise SessionStateError(reads)
        return USER_VARIABLE if former else dirty

    def commit(self) -> None:
        if self.block is None:
            self._commit()
        else:
            self._end_block(self.block, self._commit)

    def _commit(self) -> None:
        try:
            _mysql.connection.commit(self)
        except MySQLdb.Error as error:
            self._note_failed_commit(error)
            raise
        self._ended()

    def rollback(self) -> None:
        if self.block is None:
            self._rollback()
        else:
            self._end_block(self.block, self._rollback)

    def _rollback(self) -> None:
        try:
            _mysql.connection.rollback(self)
        except MySQLdb.Error as error:
            self.note_failure(error)
            raise
        self._ended()

    def autocommit(self, on: bool) -> None:
        """Switch autocommit. Switching it on commits an open transaction, as the server does.

        To switch it off sends nothing, where a transaction may begin with its first statement.
        """
        if self.block is not None:
            if on:
                self.commit()
                self.block = None
                self._switch_autocommit(on)  # It is off where something interrupted _leave_block().
        elif not on and self._may_begin_late():
            self.block = Block()
        else:
            self._switch_autocommit(on)

    def _switch_autocommit(self, on: bool) -> None:
        commits = bool(on) and not self.get_autocommit()
        if bool(on) != self.get_autocommit():
            self._stop_carrying()
        try:
            super().autocommit(on)
        except MySQLdb.Error as error:
            (self._note_failed_commit if commits and self._touched else self.note_failure)(error)
            raise
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
        """It is about to be changed by what is no statement."""
        self._leave_block()
        self._stain(reason)

    def _stain(self, reason: str) -> None:
        self._stop_carrying()
        self.dirty = self.dirty or reason

    def _ended(self) -> None:
        self.begun = self._touched = False

    def note_failure(self, error: BaseException) -> None:
        """Note what an error tells about this session. The first that breaks it counts."""
        if not isinstance(error, MySQLdb.Error):
            return
        if self.block is not None:
            self.block.note(error)
        if self.broken is not None:
            return
        failure = failure_of(error, mariadb=self._is_mariadb)
        if failure is None:
            return
        if error.args[0] == _READ_ONLY_TRANSACTION:
            self._suspect = True
        elif failure.is_unfit:
            self._break(error, failure)

    def _give_up(self, error: MySQLdb.Error) -> None:
        """Note an error after which the session is of no use, whatever it tells."""
        self.note_failure(error)
        self.broken = self.broken or _reason(error)

    def _break(self, error: BaseException, failure: Failure) -> None:
        self.broken, self.failure, self._failed = _reason(error), failure, monotonic()

    def shares_failure(self, other: "Session") -> bool:
        """Whether another session would fail as this one did: an older one on the same server."""
        return other.server == self.server and other.opened <= self._failed

    def _note_failed_commit(self, error: MySQLdb.Error) -> None:
        self.note_failure(error)
        if self.failure is Failure.DEAD:
            self.broken, self.failure = f"commit unknown: {self.broken}", Failure.COMMIT_UNKNOWN

    def _clear_suspicion(self) -> None:
        """Find out whether the session is read-only by its server's will. Costs one round trip.

        What the application itself asked for ended with its transaction, or is seen as dirty, or
        is part of its set-up.
        """
        self._suspect = False
        if self.broken:
            return
        variable = b"tx_read_only" if self._is_mariadb else b"transaction_read_only"
        if any("transaction_read_only" in assignment.names for assignment in self.carried):
            return
        if self.ask(b"SELECT @@" + variable) in ("1", "ON"):
            self._break(MySQLdb.OperationalError(_READ_ONLY_TRANSACTION), Failure.READ_ONLY)


def _reason(error: BaseException) -> str:
    """The number of an error. Its text may quote a statement."""
    return f"error {error.args[0]}" if error.args else type(error).__name__
