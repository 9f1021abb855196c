"""FairQueuePool: the SQLAlchemy pool that is first come first served, bounded and self-healing.

It puts the parts together: `slots` has the state and the lock rule, `acquire` gets a lease,
`ending` ends it, and `upkeep` looks after all that nobody is at work on.

An exception at any point, also one that a signal handler raises in the main thread, gives the slot
back. A record refers weakly to whoever has its slot. Once that is gone, the slot is taken back.
What SQLAlchemy's own proxy has is brought back by SQLAlchemy's finalizer. A signal handler that
raises in the midst of that costs the slot.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from logging import DEBUG, Logger
from typing import Any

from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection

from mysqlpool.errors import Holder

from . import clock
from .acquire import Acquisition, Terms
from .ending import Ending
from .lease import Lease
from .record import Record
from .report import IsIdle, describe_holders
from .slots import Limits, Slots
from .threads import KnownThread, Threads
from .upkeep import Upkeep

__all__ = ["FairQueuePool", "cannot_connect", "classify_connect_error"]

# ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
# https://mariadb.com/kb/en/mariadb-error-code-reference/
FULL = frozenset({1040, 1203, 1226})
# The resources that the text of 1226 can name: max_user_connections, max_connections_per_hour and
# their like. The account's name comes before, and might look like one.
RESOURCE = re.compile(r"\bmax_[a-z_]+\b")

# Nobody accepts connections there, or not yet. The client library's numbers: CR_CONNECTION_ERROR,
# CR_CONN_HOST_ERROR, CR_UNKNOWN_HOST, CR_SERVER_GONE_ERROR, CR_SERVER_HANDSHAKE_ERR,
# CR_SERVER_LOST, CR_MALFORMED_PACKET (a proxy's refusal), and CR_SERVER_LOST_EXTENDED
# (https://dev.mysql.com/doc/mysql-errors/8.4/en/client-error-reference.html).
# The server's while it ends: ER_SERVER_SHUTDOWN, ER_FORCING_CLOSE, MariaDB's ER_CONNECTION_KILLED,
# and MySQL's ER_SERVER_OFFLINE_MODE.
ABSENT = frozenset({2002, 2003, 2005, 2006, 2012, 2013, 2027, 2055, 1053, 1080, 1927, 3032})

# recycle is spread over its last 5 %, so that sessions opened together do not all end together.
JITTER = 0.05


def classify_connect_error(error: BaseException) -> str | None:
    """``"full"`` when the server or the account has all the sessions it may have, else None.

    1226 also tells of a limit by the hour, which no waiting ends within a timeout. Which resource
    it means is in its text, in every language the last word of this kind.
    """
    if _number_of(error) not in FULL:
        return None
    resources = RESOURCE.findall(str(error.args[-1]))
    return "full" if resources[-1:] in ([], ["max_user_connections"]) else None


def cannot_connect(error: BaseException) -> bool:
    """Whether a failed connect says that no server accepts connections there now.

    The same connect may succeed later, or elsewhere. What a server says of an account, a database
    or a certificate is none of this.
    """
    return _number_of(error) in ABSENT


def _number_of(error: BaseException) -> int:
    """The server's or the library's number; 0 for an error of anybody else, with any arguments."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


class FairQueuePool(Pool):
    """A drop-in for ``sqlalchemy.pool.QueuePool`` whose waiters are served in order.

    ``pool_size`` sessions are kept, and ``max_overflow`` more may be open at once; 0 and -1 mean
    no limit, as in QueuePool. A request ends with `PoolTimeout` after ``timeout`` seconds (None:
    never) of waiting, checking and connecting. All times are monotonic.

    ``recycle`` is a session's longest life, less up to 5 %; -1 and None mean no end. A session that
    was idle for ``max_idle`` seconds is closed, down to ``min_idle`` sessions. With ``max_waiting``
    other waiters a request fails at once with `TooManyWaiters`; 0 means no bound. A lease held for
    ``leak_after`` seconds is logged, once. All this rides on leases and returns, and where there
    are none, one daemon thread for all pools of the process sees to it. It is there only while
    something may become due, and neither forks nor holds up the exit.

    ``check(session, idle_seconds)`` is asked before a session is handed out, whether it was idle or
    somebody else's a moment ago; False discards it. ``renew(session, idle_seconds)`` is asked
    instead of a session that was given back to be renewed, and of one that would be closed to make
    room, as it was opened for another identity. It is to make it as new for the one that is
    `wanted`; False discards it, as everything does without ``renew``. ``classify(error)`` is asked
    of a failed connect: ``"full"`` means that a later attempt may succeed, and one is made while
    the timeout lasts. Every other error goes to the requester at once. With ``wait_for_server``
    another is also made where `cannot_connect` says that no server is ready.
    ``is_idle(session, frame)`` is asked when a request fails, of each lease and the frame its
    thread is in: whether that session is idle, which the error then says.

    The limit is this object's: it holds across `dispose`. A pool made by
    `recreate`, as ``Engine.dispose()`` makes one, has a limit of its own.
    """

    # The name of the logger, below the one that SQLAlchemy documents for pools.
    _sqla_logger_namespace = "sqlalchemy.pool.FairQueuePool"

    # It blocks threads: SQLAlchemy refuses it for an asyncio engine, as it refuses QueuePool.
    _is_asyncio = False

    # None is keyword-only: create_engine() would not find it (sqlalchemy.util.get_cls_kwargs).
    def __init__(
        self,
        creator: Callable[..., Any],
        pool_size: int = 10,
        max_overflow: int = 0,
        timeout: float | None = 30.0,
        use_lifo: bool = True,
        max_idle: float | None = 600.0,
        min_idle: int = 0,
        max_waiting: int = 0,
        leak_after: float | None = None,
        wait_for_server: bool = False,
        check: Callable[[Any, float], bool] | None = None,
        classify: Callable[[BaseException], str | None] = classify_connect_error,
        is_idle: IsIdle | None = None,
        renew: Callable[[Any, float], bool] | None = None,
        recycle: float | None = -1,
        **kw: Any,
    ) -> None:
        self._options: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "timeout": timeout,
            "use_lifo": use_lifo,
            "max_idle": max_idle,
            "min_idle": min_idle,
            "max_waiting": max_waiting,
            "leak_after": leak_after,
            "wait_for_server": wait_for_server,
            "check": check,
            "classify": classify,
            "is_idle": is_idle,
            "renew": renew,
            "recycle": recycle,
        }
        unlimited = pool_size == 0 or max_overflow == -1
        limits = Limits(
            keep=pool_size or math.inf,
            total=math.inf if unlimited else pool_size + max_overflow,
            waiting=max_waiting or math.inf,
            max_idle=math.inf if max_idle is None else max_idle,
            min_idle=min_idle,
            leak_after=math.inf if leak_after is None else leak_after,
        )
        self._max_overflow = -1 if unlimited else max_overflow
        self._lifetime = math.inf if recycle is None or recycle < 0 else recycle
        alias = kw.get("logging_name") or f"{id(self):x}"
        self.slots = Slots(limits, use_lifo, lambda: Record(self._ending))
        upkeep = Upkeep(self.slots, alias)
        threads = Threads(self.slots.alarm)
        self._ending = Ending(self, self.slots, threads, upkeep, alias)
        self._terms = Terms(
            alias=alias,
            slots=self.slots,
            threads=threads,
            ending=self._ending,
            upkeep=upkeep,
            timeout=math.inf if timeout is None else timeout,
            check=check,
            waits_for=partial(_is_passing, classify, wait_for_server),
            is_idle=is_idle,
            renew=renew,
        )
        # SQLAlchemy's own recycling goes by the wall clock.
        super().__init__(creator, recycle=-1, **kw)
        self._levels = _levels_of(self.logger)
        # Made now, as two threads that connect first at once may both make them, and one of them
        # would fail (seen with SQLAlchemy 2.0.0).
        dispatch: Any = self.dispatch
        for listeners in (dispatch.first_connect, dispatch.connect):
            listeners.for_modify(dispatch)

    def __repr__(self) -> str:
        slots = self.slots
        return (
            f"<FairQueuePool {self._terms.alias!r}: {len(slots.out)} of {slots.limits.total} in "
            f"use, {len(slots.idle)} idle, {len(slots.waiters)} waiting>"
        )

    # Leasing

    def lease(self, prefer: Any = None, identity: Any = None, scoped: bool = True) -> Lease:
        """Lease a session for this thread, without SQLAlchemy's proxy around it.

        It is ``prefer`` if that one is idle and nobody waits: a session that a thread had before.
        It was opened by a request with an equal ``identity``. Where there is none of that identity,
        one is opened; if the limit does not allow that, an idle one of another is renewed or closed
        for it. What an identity means is for the creator to say, which finds it in `wanted`.
        A request that is not ``scoped``, as nobody is known to end its lease, is counted as such.

        Raises `PoolTimeout`, `TooManyWaiters`, or what the creator, the check or a listener raised.
        Where somebody listens to ``checkout``, or ``pre_ping`` is on, the lease goes by way of
        SQLAlchemy's `connect`: such a listener is given its proxy, and may make it try again.
        """
        if self._pre_ping or self.dispatch.checkout:
            if not scoped:
                self.slots.count("unscoped")
            return self._lease_by_proxy(identity)
        lease = Lease(self._ending)
        lease.session = (
            Acquisition(self._terms, lease, prefer, identity, scoped).run().dbapi_connection
        )
        try:
            lease.echo = self._levels[DEBUG]
        except KeyError:
            lease.echo = self._should_log_debug()
        if lease.echo:
            self.logger.debug("Connection %r checked out from pool", lease.session)
        return lease

    def _lease_by_proxy(self, identity: Any) -> Lease:
        thread = self.this_thread()
        before, thread.identity = thread.identity, identity
        try:
            proxy: Any = self.connect()
        finally:
            thread.identity = before
        lease = Lease(self._ending)
        lease.proxy, lease.session = proxy, proxy.dbapi_connection
        self.slots.entrust(proxy._connection_record, lease)
        return lease

    def _do_get(self) -> ConnectionPoolEntry:
        # SQLAlchemy is about to make a handle of its own. Until then ours is kept for it.
        acquisition = Acquisition(self._terms, Lease(self._ending))
        acquisition.thread.proxied = acquisition.lease
        return acquisition.run()

    def this_thread(self) -> KnownThread:
        """This thread, as the pool knows it; the pool is told when it ends."""
        return self._terms.threads.present()

    def wanted(self) -> Any:
        """The identity that this thread's present request asks for; for creator and ``renew``."""
        return self._terms.threads.present().identity

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """In this block this thread's requests end after so many seconds, if ``timeout`` is longer.

        That is for who has less time than all others, such as a health check.
        """
        thread = self.this_thread()
        shorter = replace(self._terms, timeout=min(seconds, self._terms.timeout))
        before, thread.terms = thread.terms, shorter
        try:
            yield
        finally:
            thread.terms = before

    def needed_while(self, is_needed: Callable[[], bool]) -> None:
        """Have idle sessions closed, those of ``min_idle`` too, once ``is_needed()`` is false.

        It is asked whenever somebody looks after the pool, from any thread.
        """
        self._terms.upkeep.is_needed = is_needed

    def retire(self, is_gone: Callable[[Any], bool]) -> None:
        """Close the sessions of which ``is_gone(session)`` is true: idle ones at the next upkeep,
        leased ones when they come back.
        """
        self.slots.retire(is_gone)

    def remaining(self) -> float | None:
        """Seconds left to this thread's present request for a lease, at least 0.

        For the creator, the check and ``renew``, so that none takes longer. None outside of such a
        request, and when the pool has no timeout. A session that took longer to connect is handed
        out all the same, because closing it would help nobody.
        """
        deadline = self._terms.threads.present().deadline
        if deadline is None or deadline == math.inf:
            return None
        return max(0.0, deadline - clock.monotonic())

    # What SQLAlchemy calls

    def _should_wrap_creator(self, creator: Any) -> Any:
        return partial(self._open, super()._should_wrap_creator(creator))

    def _open(self, make: Callable[[Record], Any], record: Record) -> Any:
        """Open a session. SQLAlchemy calls it for a record; all of this pool's begin here."""
        record.renew(self.slots.generation, math.inf, self.wanted())
        begun = clock.monotonic()
        try:
            session = make(record)
        except BaseException as error:
            refused = self._terms.waits_for(error)
            self.slots.not_connected(clock.monotonic(), refused=refused)
            raise
        now = clock.monotonic()
        record.expires = now + self._lifetime * random.uniform(1 - JITTER, 1)
        self.slots.connected(now, now - begun)
        self._ending.opened(record, now)
        return session

    def _do_return_conn(self, record: Record) -> None:  # type: ignore[override]
        if record.dbapi_connection is None:  # Invalidated, or detached and not the pool's any more.
            record.condemn("invalidated")
        self._ending.put(record, record.serial)

    def _invalidate(
        self,
        connection: PoolProxiedConnection,
        exception: BaseException | None = None,
        _checkin: bool = True,
    ) -> None:
        """Have all sessions replaced that were opened in this one's generation: SQLAlchemy's call.

        SQLAlchemy's own compares wall-clock times.
        """
        record = getattr(connection, "_connection_record", None)
        if record is None or record.generation == self.slots.generation:
            self.slots.renew(disposed=False)
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)

    def dispose(self) -> None:
        """Close idle sessions now, and leased ones when they come back; the pool stays usable.

        All of them count until they are closed, so the limit holds meanwhile.
        """
        self.slots.renew(disposed=True)
        self._ending.tidy(clock.monotonic())
        self.logger.info("Pool disposed. %s", self.status())

    # What QueuePool has

    def recreate(self) -> FairQueuePool:
        """Return a new, empty pool with the same arguments and listeners."""
        self.logger.info("Pool recreating")
        return self.__class__(
            self._creator,
            **self._options,
            pre_ping=self._pre_ping,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def size(self) -> int:
        size: int = self._options["pool_size"]
        return size

    def timeout(self) -> float | None:
        timeout: float | None = self._options["timeout"]
        return timeout

    def checkedin(self) -> int:
        return len(self.slots.idle)

    def checkedout(self) -> int:
        return len(self.slots.out)

    def overflow(self) -> int:
        return self.checkedin() + self.checkedout() - self.size() if self.size() else 0

    def status(self) -> str:
        return (
            f"Pool size: {self.size()}  Connections in pool: {self.checkedin()} "
            f"Current Overflow: {self.overflow()} Current Checked out "
            f"connections: {self.checkedout()}"
        )

    def holders(self) -> tuple[Holder, ...]:
        """Who has a lease now, the longest first; found out only as somebody asks."""
        held, waiting, _, _ = self.slots.situation(clock.monotonic())
        return describe_holders(held, waiting, self._terms.is_idle)

    def waiting_seconds(self) -> float:
        """For how long there have been waiters without a break; 0.0 where nobody waits."""
        return self.slots.waiting_seconds(clock.monotonic())

    def figures(self) -> dict[str, Any]:
        """The fields of `mysqlpool.stats.PoolStats`, of one moment."""
        own = {"pool_size": self.size(), "max_overflow": self._max_overflow}
        return {**own, **self.slots.figures()}


def _is_passing(
    classify: Callable[[BaseException], str | None], wait_for_server: bool, error: BaseException
) -> bool:
    """Whether a failed connect is to be tried again while the request's timeout lasts."""
    return classify(error) == "full" or (wait_for_server and cannot_connect(error))


def _levels_of(logger: Any) -> dict[int, bool]:
    """Whether a logger is enabled for a level, where somebody has asked since a level changed.

    ``Logger.isEnabledFor`` answers from this dict, too. To call it at each lease would cost 2 % of
    that.
    """
    if isinstance(logger, Logger):
        levels: dict[int, bool] = getattr(logger, "_cache", {})
        return levels
    return {DEBUG: logger.isEnabledFor(DEBUG)}  # SQLAlchemy's for ``echo``: its level is fixed.
