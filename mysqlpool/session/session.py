"""A physical connection that knows whether it is clean, besides whether it is alive.

It learns that by watching the statements that pass through it, which costs no round trip.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import MySQLdb
from MySQLdb import _mysql
from MySQLdb.constants import CLIENT

from mysqlpool.errors import SessionStateError

from . import link
from .assignments import assigned
from .block import Block
from .cursors import CountedCursor, GuardedCursor, Tenure, guarded
from .driver_state import DriverState
from .failures import Failure
from .lexical import without_comments
from .link import READ_ONLY_TRANSACTION, Link, reason, text_of
from .reading import ORDINARY, classifier_of
from .renewal import Renewals, at_a_connect, clears, is_djangos, is_known
from .set_up import NO_SET_UP, Assignment, Parameters, Recording, SetUp
from .statements import USER_VARIABLE, variables_read
from .traces import NAMED_LOCK, SWITCHES, Change, Switch, Traces, Unlock, change_of
from .vigil import Vigil, Vigils
from .wire import NO_ANSWER

# A statement is under way while its thread is in a function of these: rows are read in cursors.
_AT_WORK = (__name__, link.__name__, "MySQLdb.connections", "MySQLdb.cursors")

# What the servers say of a statement that was not executed, as somebody killed it before.
_KILLED, _INTERRUPTED = 1317, "Query execution was interrupted"

_P = ParamSpec("_P")
_T = TypeVar("_T")

# A statement of so many bytes goes out by itself: together with what is sent ahead it would be
# copied, and might be larger than the server's max_allowed_packet allows.
_LONG = 16_000


def _working(use: Callable[_P, _T]) -> Callable[_P, _T]:
    """In this method of a session the thread is at work, as somebody may call it by hand."""

    @wraps(use)
    def working(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        session: Any = args[0]
        before, session.at_work = session.at_work, True
        try:
            return use(*args, **kwargs)
        finally:
            session.at_work = before

    return working


class Session(Link):
    """A link to the server that watches what its holders do to it.

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
        "_classifier",
        "_driver",
        "_has_insert_id",
        "_isolation_level",
        "_own_driver",
        "_released",
        "_touched",
        "_traces",
        "alias",
        "at_work",
        "begin_mode",
        "begun",
        "block",
        "carried",
        "cursors",
        "dirty",
        "has_baseline",
        "identity",
        "multiplexed",
        "recording",
        "renewals",
        "rolled_back",
        "settings",
        "settled",
        "single_use",
        "tenure",
        "turn",
        "unused",
        "vigils",
        "witness",
    )

    dirty: str | None
    """Why its state may differ from a new connection's: a verb or construct, never a value."""

    settled: bool
    """Whether it has a baseline."""

    has_baseline: bool
    """Whether Django's own statements are part of that."""

    multiplexed: bool
    """Whether leases of it end with the statement or the transaction."""

    single_use: bool
    """Whether ``restore()`` has it discarded after each holder, whatever that did."""

    renewals: Renewals | None
    """On which servers its pool has sessions renewed; None where this one never is."""

    rolled_back: bool
    """Whether ``restore()`` found a transaction the last time, and rolled it back."""

    alias: str
    """Of which database it is, for messages."""

    at_work: bool
    """Whether its thread is amid a statement. Whoever ends the lease then, a signal handler or a
    finalizer of that thread, has the session discarded: what is under way goes on after that.
    """

    identity: Any
    """With which parameters it was opened, less the secret; and ``settings``, from which ones."""

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

    witness: Any
    """Who is told while it is a `mysqlpool.session.witnessed.WitnessedSession`."""

    unused: bool
    """Whether its holder has sent nothing yet, or nothing since it was last at rest."""

    vigils: Vigils | None
    """Who looks whether an answer that is awaited will come; None where nobody can."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The driver sends statements while it connects, which are no holder's.
        self.dirty = self.recording = self.tenure = self.identity = self.block = None
        self.begin_mode = "autocommit"
        self.settings: Any = None
        self.renewals = self.vigils = self.witness = None
        self._isolation_level: str | None = None
        self.alias = ""
        self.settled = self.has_baseline = self.multiplexed = self.single_use = self.begun = False
        self.rolled_back = self.at_work = False
        self.carried = ()
        self.turn = self.cursors = 0
        self.unused = True
        self._has_insert_id = False  # what the library says is of this turn
        self._touched = False  # something was sent since a transaction ended
        self._released = False  # the last statement released a lock, if its row has no error
        self._traces = Traces()
        self._classifier = ORDINARY
        self._baseline: list[bytes] = []  # what Django sent
        super().__init__(*args, **kwargs)
        self._is_as_new()
        self._driver = self._own_driver = DriverState.of(self)  # the baseline's, the holder's
        self._autocommit = self.get_autocommit()

    def settle(self) -> None:
        """Make the present state the baseline, to which ``restore()`` goes back. It is clean now.

        Call it outside of a transaction. Sends nothing.
        """
        self._note_baseline()
        self._is_as_new()

    def _note_baseline(self) -> None:
        self.settled = True
        self._autocommit = self.get_autocommit()
        self._classifier = classifier_of(self)

    def _is_as_new(self) -> None:
        self._traces, self.dirty = Traces(), None
        self.unused = True
        self._ended()

    def _ended(self) -> None:
        self.begun = self._touched = False

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction may be open.

        False is certain for a clean session. True may be an error on the safe side: the server
        ends a transaction unasked at a deadlock or a DDL statement.
        """
        return self.begun or (self._touched and not self.get_autocommit())

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
        return self.recording is not None and self.recording.knows(sql)

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
            self._classifier = classifier_of(self)
        self.carried = tuple(recording.said)
        self._traces.forget_baseline()
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
        carried = recording.carried
        self._send(assignment.sql)
        recording.note(assignment)
        if recording.carried is not carried:
            # The session was renewed amid this, and has only what was noted by then.
            self.broken = "amid a statement"
            raise MySQLdb.InterfaceError(
                0, "the session was used by a signal handler or a finalizer amid its set-up"
            )

    # Renewal in a set-up

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
            self._say_again(*recording.texts(self._baseline))
            recording.renewed()
        except BaseException as error:  # Nobody may have it half renewed, who caught this.
            self.broken = reason(error) if isinstance(error, MySQLdb.Error) else "interrupted"
            raise
        finally:
            self.recording = recording
        self._is_as_new()

    def _may_change_user(self) -> bool:
        """Whether we know as whom, and the server would do nothing else at a connect.

        A server that calls itself as new as MySQL's may not know what it is asked for.
        """
        if not self._opening.knows_account():
            return False
        try:
            return not self.ask(at_a_connect(self.get_server_info()))
        except MySQLdb.Error:
            return False

    def _change_user(self, parameters: Mapping[str, Any]) -> bool:
        """Forget all that a session can have; False where the server, or a proxy, refuses it."""
        try:
            self._opening.change_user(self, parameters)
        except MySQLdb.Error:
            return False
        self._say_again(*self._opening.first_words())
        self._say_together(*self._first_sets())
        return True

    # Renewal, between two holders

    def renew_by(self, renewals: Renewals, isolation_level: str | None) -> None:
        """Have it renewed instead of discarded, where that is known to be complete.

        ``isolation_level`` is the one that Django asks for.
        """
        if self._opening.knows_account() and is_known(self.get_server_info()):
            self.renewals, self._isolation_level = renewals, isolation_level

    @property
    def can_be_renewed(self) -> bool:
        """Whether `renew` is known to make it as new, on its server and at present.

        What somebody said with a cursor while Django spoke is this holder's, though it was taken
        down with Django's own.
        """
        renewals = self.renewals
        return (
            renewals is not None
            and renewals.allowed(self.server)
            and is_djangos(self._baseline, self._isolation_level)
        )

    @property
    def is_renewable(self) -> bool:
        """Whether it may be put back although it is dirty, until `renew` is called.

        All that made it dirty is undone by COM_CHANGE_USER, and nobody waits for what it holds.
        """
        return (
            self._traces.is_clearable
            and not self._traces.has_locks
            and not (self.single_use or self._suspect)
            and self.can_be_renewed
        )

    def renew(self, parameters: Mapping[str, Any], limit: AbstractContextManager[None]) -> bool:
        """Make the session as new, for whoever would connect with these parameters.

        They may name another account and database than those of before, and nothing else that is
        different. Costs three round trips: to change the user, to allow several statements, and to
        say the baseline. They are made within ``limit``, which raises TimeoutError where they take
        too long. After False the session is broken.
        """
        try:
            with limit:
                self._opening.change_user(self, parameters)
                self._say_again(*self._opening.first_words())
                own = *self._first_sets(), *self._baseline
                answer = self._say_together(*own, at_a_connect(self.get_server_info()))
                self.broken = text_of(answer) or None
        except TimeoutError:
            self.broken = NO_ANSWER
        except MySQLdb.Error as error:
            self._give_up(error)
        except OSError:
            self.broken = "disconnected"
        except BaseException:
            self.broken = "interrupted"
            raise
        if self.broken is not None:
            return False
        self._opening = self._opening.by(parameters)
        self._belong_to(parameters)
        self.carried = ()
        self._classifier = classifier_of(self)
        self._is_as_new()
        return True

    def _belong_to(self, parameters: Mapping[str, Any]) -> None:
        """Tell in the driver's attributes whose it is, as after a connect."""
        database = parameters.get("database", parameters.get("db", ""))
        whose = {"user": parameters.get("user"), "database": database, "db": database}
        if not whose.items() <= vars(self).items():
            vars(self).update(whose)
            self._driver = self._own_driver = DriverState.of(self)

    def _first_sets(self) -> Iterator[bytes]:
        """What the driver says to a new connection, as far as it is to be said again."""
        yield from self._opening.words()
        if self.get_autocommit() != self._autocommit:
            yield b"SET autocommit=%d" % self._autocommit

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
        return 0 if self.unused else _mysql.connection.affected_rows(self)

    def insert_id(self) -> int:
        # The library keeps the last one until a statement without rows is answered.
        if not self.unused and _mysql.connection.field_count(self) == 0:
            self._has_insert_id = True
        return _mysql.connection.insert_id(self) if self._has_insert_id else 0

    def warning_count(self) -> int:
        return 0 if self.unused else _mysql.connection.warning_count(self)

    def info(self) -> str | None:
        return None if self.unused else _mysql.connection.info(self)

    def field_count(self) -> int:
        return 0 if self.unused else _mysql.connection.field_count(self)

    def errno(self) -> int:
        return 0 if self.unused else _mysql.connection.errno(self)

    def error(self) -> str:
        return "" if self.unused else _mysql.connection.error(self)

    def sqlstate(self) -> str:
        return "00000" if self.unused else _mysql.connection.sqlstate(self)

    # The end of a lease

    def restore(self) -> str | None:
        """Bring the session back to the baseline in as few round trips as there can be.

        Returns None when it is fit for the next holder, else the reason to discard it, without
        a value or password in it. A session that stays ``dirty`` by this has to be renewed before
        the next holder has it: see `is_renewable`. A clean session outside of a transaction costs
        no round trip; a transaction costs one ROLLBACK, and autocommit, where it was changed, one
        SET. Never raises for a server or a connection that is gone: that is a reason.
        """
        self.block = None  # What was not sent need not be.
        self.rolled_back = False
        if not self.settled or self.recording is not None:
            return "not set up"
        if self.broken or (self.dirty and not self.is_renewable):
            return self.broken or self.dirty
        if self.single_use:
            return "reset always"
        if self.at_work:
            return "amid a statement"
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

    def is_at_rest(self, *, read_on: bool = False) -> bool:
        """Whether the session is at its baseline, so that its lease may end between statements.

        With ``read_on`` a cursor has read all answers to their end just now. To ask for another one
        would let other threads go first.

        Ask it only after statements that all succeeded; `restore` finds it out for any. If it is,
        the next statement counts as the first of a holder. Where it raises the session has to be
        discarded: the driver's state may be half of it. Where it is not ``unused`` afterwards a
        signal handler or a finalizer has used it meanwhile, and it has to be restored.
        """
        if self.block is not None:
            return False
        try:
            if not self._is_at_own_autocommit():
                return False
            if not read_on and self.next_result() != -1:
                return False
        except MySQLdb.Error:
            # Rows are unread, or it was closed by hand. The release finds that out.
            return False
        if (vars(self), self.converter) != self._own_driver:
            return False
        # From here on no call goes by unseen: what a signal handler sends makes it used again.
        if self.dirty or self.broken or self.begun:
            return False
        self._touched, self.unused = False, True
        if self._own_driver is not self._driver:
            self._driver.put_on(self)
            self._own_driver = self._driver
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
        if not self._wire.is_there():
            self.broken = "disconnected"
            return
        # Here is no block, so `get_autocommit` would tell the same.
        if self.unused and _mysql.connection.get_autocommit(self) == self._autocommit:
            return  # Nothing was sent.
        # Where rows are unread this raises 2014. Where all are read it sends nothing.
        if self.next_result() != -1:
            self.broken = "unread results"
            return
        if self.in_transaction:
            if not self._send_briefly(b"rollback"):
                return
            self.rolled_back = True
        differs = not self.dirty and _mysql.connection.get_autocommit(self) != self._autocommit
        if differs and not self._send_briefly(b"set autocommit=%d" % self._autocommit):
            return
        self._ended()
        self.unused = True

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
            self._break(MySQLdb.OperationalError(READ_ONLY_TRANSACTION), Failure.READ_ONLY)

    # Statements

    def query(self, query: bytes | bytearray | str) -> None:
        """Send a statement as the driver does, and note what it does to the session.

        Raises `SessionStateError`, and sends nothing, when the first statement of a holder asks for
        what an earlier one left, such as ``LAST_INSERT_ID()``. That one was somebody else's.
        """
        before, self.at_work = self.at_work, True  # No call: a signal handler may release.
        try:
            self._query(query.encode() if isinstance(query, str) else bytes(query))
        finally:
            self.at_work = before

    def _query(self, sql: bytes) -> None:
        if self.recording is not None and self._is_said(self.recording, sql):
            return
        if self.dirty:  # Perhaps by the SQL mode.
            self._classifier = classifier_of(self)
        dirty, transaction, reads, rows = self._classifier.effect(sql)
        if reads:
            dirty = self._look_back(sql, dirty, reads)
        change = self._change(sql, dirty) if dirty or self.dirty else None
        self.unused = self._released = False
        self._touched = True
        block = None
        if self.block is not None:
            block = self._block_for(sql, False if dirty and rows else rows)
        if change is not None:
            self.dirty = self._traces.about_to(change)
        elif dirty:
            clearable = self._traces.is_clearable and clears(sql, self._classifier)
            self._stain(dirty, clearable=clearable)
        if transaction:
            self.begun = True
        if block is None:
            self._send(sql, dirty)
        else:
            self._send_in(block, sql)
        if change is not None:
            self.dirty = self._traces.done(change)
            self._released = isinstance(change, Unlock)
        if transaction is False:
            self._ended()

    def _change(self, sql: bytes, dirty: str | None) -> Change | None:
        """What this statement changes that another one takes back; None where it is like any.

        Where a holder begins with a switch, the values of all of them are asked for, once a set-up:
        the server, an ``init_command`` or the set-up may have made them what they are. Later that
        might disturb the holder, whose next question may be ``FOUND_ROWS()``.
        """
        if self.recording is not None:
            return None
        change = change_of(sql, dirty)
        if isinstance(change, Switch) and not self._traces.knows_baseline:
            if not self.unused:
                return None
            try:
                self._traces.learn(self.ask(SWITCHES))
            except MySQLdb.Error as error:
                self.note_failure(error)
                raise
        return change

    def _look_back(self, sql: bytes, dirty: str | None, reads: str) -> str | None:
        """Refuse what asks for another holder's statement, and tell whether it leaves a trace.

        To read what an ``init_command`` or the holder's own set-up assigned is neither. To read
        another user variable is taken for a trace: who reads it relies on the session.
        """
        if reads != USER_VARIABLE:
            if self.unused:
                raise SessionStateError(reads)
            return dirty
        own = self.carried if self.recording is None else self.recording.said
        former = variables_read(sql).difference(*[assignment.names for assignment in own])
        if former:
            former -= self._opening.assigned()
        if former and self.unused and self.multiplexed:
            raise SessionStateError(reads)
        return USER_VARIABLE if former else dirty

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
            if not self._has_next_answer():  # It was killed between two of them.
                raise MySQLdb.OperationalError(_KILLED, _INTERRUPTED)

    def _has_next_answer(self) -> bool:
        """Go on to the next answer of a packet.

        False where the packet was killed before the next statement of it, which the servers do not
        tell. They may have promised more even so, and then the connection is ended for it.
        """
        vigil, vigils = Vigil(self, self._wire.number), self.vigils
        try:
            if vigils is not None:
                vigils.begin(vigil)
            return bool(self.next_result() != -1)
        except MySQLdb.Error as error:
            self.note_failure(error)
            if vigil.lost:
                return False
            raise
        finally:
            vigil.is_over = True  # The first: a signal handler may raise at any call of a function.
            if vigils is not None:
                vigils.end(vigil)

    def has_transaction(self) -> bool:
        """Whether COMMIT and ROLLBACK are sent; they are not where nothing has begun."""
        block = self.block
        return block is None or block.begun or block.doubted()

    def _end_block(self, block: Block, end: Callable[[], None]) -> None:
        """End its transaction, if there is any, and begin the next one as late."""
        if self.has_transaction():
            # Who is interrupted, or has an error, cannot tell whether it ended.
            block.in_doubt = True
            end()
        self._ended()
        block.restart()

    # COMMIT, ROLLBACK and SET autocommit do not pass through query(): the driver sends them from C.

    @_working
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

    @_working
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

    @_working
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

    def get_autocommit(self) -> bool:
        """The driver's: off also where a transaction waits for its first statement."""
        return self.block is None and bool(_mysql.connection.get_autocommit(self))

    def _is_at_own_autocommit(self) -> bool:
        """Whether the server's autocommit is the baseline's."""
        return bool(_mysql.connection.get_autocommit(self) == self._autocommit)

    # What else changes the state

    @_working
    def select_db(self, database: str) -> None:
        self._soil("USE", clearable=True)
        _mysql.connection.select_db(self, database)

    @_working
    def change_user(self, *args: Any, **kwargs: Any) -> None:
        self._soil("change_user")
        _mysql.connection.change_user(self, *args, **kwargs)

    @_working
    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        self._soil("SET NAMES", clearable=True)
        super().set_character_set(charset, collation)

    @_working
    def set_server_option(self, option: int) -> int:
        self._soil("set_server_option", clearable=True)
        result: int = _mysql.connection.set_server_option(self, option)
        return result

    @_working
    def send_query(self, *args: Any) -> None:
        """The driver's. A statement sent in this way is not looked at, so the session is dirty."""
        self._soil("send_query")
        _mysql.connection.send_query(self, *args)

    @_working
    def ping(self, *args: Any) -> None:
        """The driver's. Its deprecated ``reconnect`` gives a new session without the baseline."""
        if args:
            self._soil("ping with reconnect")
        _mysql.connection.ping(self, *args)

    def _soil(self, reason: str, *, clearable: bool = False) -> None:
        """It is about to be changed by what is no statement."""
        self._leave_block()
        self._stain(reason, clearable=clearable)

    def _stain(self, reason: str, *, clearable: bool = False) -> None:
        self._stop_carrying()
        self.dirty = self._traces.leave(reason, clearable=clearable)

    # Errors

    def note_failure(self, error: BaseException) -> None:
        """Note what an error tells about this session. The first that breaks it counts."""
        if isinstance(error, MySQLdb.Error):
            if self.block is not None:
                self.block.note(error)
            if self.broken is None:
                self.note_unread_row()
        super().note_failure(error)

    def note_unread_row(self) -> None:
        """An error came where the last statement's row was due. Perhaps it released no lock."""
        if self._released:
            self._stain(NAMED_LOCK)
