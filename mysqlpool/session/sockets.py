"""How to look at a socket that the driver owns, of which only the number is known.

Systems differ here, and otherwise only in whether they have forks. Windows has no ``poll``. There
a socket's number is not a file's either: what ``os`` has for files (``fstat``, ``dup``, ``read``)
fails for it, or finds a file that has the same number. So what works is found out by trying it, and
never by the system's name. ``select.select`` works everywhere, and so does a duplicate by
``socket.dup``.
"""

import contextlib
import os
import select
import socket
from collections.abc import Callable
from functools import partial
from stat import S_ISSOCK
from typing import Any, Protocol

# Seconds without a byte before the system asks whether the other end is there, and between two such
# questions. The system's own are two hours and more, which no firewall waits for.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL = 60, 10

_READABLE: int = getattr(select, "POLLIN", 0)  # there wherever poll() is
_ENDED: int = getattr(select, "POLLRDHUP", 0)  # Linux: the other side will send no more
_OVER: int = _ENDED | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)

Identity = tuple[Any, ...] | None
Telling = Callable[[int], Identity]
"""Gives the identity of what has this number now; None if that is no socket."""


class Watch(Protocol):
    """One socket, and whether it can be read."""

    def poll(self, milliseconds: float, /) -> list[Any]:
        """Wait until it can be read, or was closed; empty when it was neither in this time."""


class SelectWatch:
    """What a ``select.poll()`` of one socket does, by ``select.select``."""

    def __init__(self, number: int) -> None:
        self._numbers = [number]
        # This raises ValueError for a number that this system's select() does not take: on Unix,
        # 1024 and above. Better while the session is opened than in the middle of a lease.
        select.select(self._numbers, (), (), 0)

    def poll(self, milliseconds: float, /) -> list[Any]:
        try:
            return select.select(self._numbers, (), (), milliseconds / 1000)[0]
        except OSError:  # It was closed on this side. A poll() reports this as an event, too.
            return self._numbers


def watch(number: int) -> Watch:
    """Something to be kept with the socket, whose ``poll(0)`` costs one system call."""
    if not hasattr(select, "poll"):
        return SelectWatch(number)
    poll: Any = select.poll()
    poll.register(number, _READABLE | _ENDED)
    watched: Watch = poll
    return watched


def _poll_of_the_library() -> Callable[[int, int], Callable[[], object]] | None:
    """How to call the C library's poll() for one socket and its events, with the interpreter's lock
    held; None where that cannot be, such as in a Python that was built without ctypes.
    """
    try:
        import ctypes

        poll: Any = ctypes.PyDLL(None).poll
    except (ImportError, AttributeError, OSError, TypeError):  # TypeError is Windows's.
        return None
    poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)
    poll.restype = ctypes.c_int

    class Wanted(ctypes.Structure):
        """POSIX's struct pollfd, of <poll.h>."""

        _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))

    def of_one(number: int, events: int) -> Callable[[], object]:
        return partial(poll, ctypes.byref(Wanted(number, events, 0)), 1, 0)

    return of_one


_poll = _poll_of_the_library()


def look(number: int) -> Callable[[], object]:
    """Something to be kept with the socket, which tells when called what ``watch(number).poll(0)``
    tells: true where it can be read, or was closed.

    `select` lets go of the interpreter's lock around its system call. Where several threads are at
    work each look would have another one go first, which costs much more than this call, that
    waits for nothing.
    """
    if _poll is None or not hasattr(select, "poll"):
        return partial(watch(number).poll, 0)
    return _poll(number, _READABLE | _ENDED)  # -1, an error, is true as well.


def is_over(events: list[Any]) -> bool:
    """Whether a poll says that nothing more will arrive. ``select`` does not tell."""
    return any(isinstance(event, tuple) and event[1] & _OVER for event in events)


def way_to_tell(number: int) -> Telling:
    """Choose how to find out later whether this open socket still has its number.

    Where the system tells a socket's inode, that is certain, and costs one system call. Elsewhere
    the addresses of both ends have to do, which cost a duplicate. No two connections have the same
    ones while both are open. But a later connection to the same server is taken for this one, if it
    was given the same number, and the same port on this side.
    """
    return inode if inode(number) else addresses


def inode(number: int) -> Identity:
    """What the system calls the open socket; None for no socket."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    # Where fstat does not know sockets, this is a file that has the same number.
    return (status.st_dev, status.st_ino) if S_ISSOCK(status.st_mode) else None


def addresses(number: int) -> Identity:
    """The addresses of both ends of a connection; None for a lost one, and for no socket."""
    try:
        with duplicate(number) as looking:
            return looking.family, looking.getsockname(), looking.getpeername()
    except OSError:
        return None


def peek(number: int, size: int) -> bytes:
    """Up to ``size`` bytes that can be read now, which stay there; none of a lost connection."""
    try:
        with duplicate(number) as looking:
            # MSG_DONTWAIT is not to be had everywhere.
            if watch(looking.fileno()).poll(0):
                return looking.recv(size, socket.MSG_PEEK)
    except OSError:  # Reset, or closed on this side.
        pass
    return b""


def tune(number: int, keepalive: bool, user_timeout: float | None) -> None:
    """Have the system find out by itself that the other end of a TCP connection is gone.

    With ``keepalive`` it asks on a connection that is silent. ``user_timeout`` is for how many
    seconds what was sent may go without an acknowledgement, which Linux knows alone (tcp(7),
    TCP_USER_TIMEOUT). It is the system at the other end that answers both, and not the server: so
    neither ends a statement that takes long. A Unix socket has no need of them. Where a system
    lacks one, the connection does without.
    """
    options: list[tuple[int, int | None, int]] = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalive))
    ]
    if keepalive:
        options += [
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), KEEPALIVE_IDLE),
            (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), KEEPALIVE_INTERVAL),
        ]
    if user_timeout is not None:
        milliseconds = min(max(1, round(user_timeout * 1000)), 2**31 - 1)
        name = getattr(socket, "TCP_USER_TIMEOUT", None)
        options.append((socket.IPPROTO_TCP, name, milliseconds))
    # A connection that is lost already says so to whoever uses it first.
    with contextlib.suppress(OSError), duplicate(number) as tuned:
        if tuned.family not in (socket.AF_INET, socket.AF_INET6):
            return
        for level, option, value in options:
            if option is not None:
                with contextlib.suppress(OSError):
                    tuned.setsockopt(level, option, value)


def own_port(number: int) -> int | None:
    """This side's TCP port, 0 where the socket is none of TCP; None of a lost connection."""
    try:
        with duplicate(number) as looking:
            is_tcp = looking.family in (socket.AF_INET, socket.AF_INET6)
            return int(looking.getsockname()[1]) if is_tcp else 0
    except OSError:
        return None


def duplicate(number: int) -> socket.socket:
    """A socket object of its own number.

    A socket object closes its number when it is collected, which a signal handler that raises could
    bring about. With the driver's own number that would close the driver's socket.
    """
    copied = socket.dup(number)
    try:
        made = socket.socket(fileno=copied)
    except OSError:  # It is no socket.
        socket.close(copied)
        raise
    if socket.getdefaulttimeout() is not None:
        # Python made the duplicate non-blocking, and the driver's socket with it: they share that.
        made.setblocking(True)
    return made
