"""How to look at a socket that the driver owns, of which only the number is known.

Systems differ here, and besides only in whether they have forks. Windows has no ``poll``, and there
a socket's number is none of a file: what ``os`` has for files (``fstat``, ``dup``, ``read``) fails
for it, or finds a file that has the same number. So it is asked what works, and never what the
system is called. ``select.select`` works everywhere, and so does a duplicate by ``socket.dup``.
"""

import os
import select
import socket
from collections.abc import Callable
from stat import S_ISSOCK
from typing import Any, Protocol

_READABLE: int = getattr(select, "POLLIN", 0)  # there wherever poll() is

Identity = tuple[Any, ...] | None
Telling = Callable[[int], Identity]
"""Tells what has a number from whatever else has it at another time; None for no socket."""


class Watch(Protocol):
    """One socket, and whether it can be read."""

    def poll(self, milliseconds: float, /) -> list[Any]:
        """Wait until it can be read, or was closed; empty when it was neither in this time."""


class SelectWatch:
    """What a ``select.poll()`` of one socket does, by ``select.select``."""

    def __init__(self, number: int) -> None:
        self._numbers = [number]
        # Raises ValueError for a number that this system's select() does not take, which on Unix
        # is one from 1024 on: better while the session is opened than in the middle of a lease.
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
    poll.register(number, _READABLE)
    watched: Watch = poll
    return watched


def way_to_tell(number: int) -> Telling:
    """Choose how to find out later whether this open socket still has its number.

    Where the system tells a socket's inode, that is certain, and costs one system call. Elsewhere
    the addresses of both ends have to do, for the price of a duplicate. They tell apart two
    connections that are open at the same time, as no two have the same; but not a connection from a
    later one to the same server that was given the same port on this side and the same number.
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
        with _duplicate(number) as looking:
            return looking.family, looking.getsockname(), looking.getpeername()
    except OSError:
        return None


def peek(number: int, size: int) -> bytes:
    """Up to ``size`` bytes that can be read now, which stay there; none of a lost connection."""
    try:
        with _duplicate(number) as looking:
            # MSG_DONTWAIT is not to be had everywhere.
            if watch(looking.fileno()).poll(0):
                return looking.recv(size, socket.MSG_PEEK)
    except OSError:  # Reset, or closed on this side.
        pass
    return b""


def _duplicate(number: int) -> socket.socket:
    """A socket object of its own number.

    One of the driver's number would close the driver's socket when it is collected, which a signal
    handler that raises could bring about.
    """
    duplicate = socket.dup(number)
    try:
        made = socket.socket(fileno=duplicate)
    except OSError:  # It is no socket.
        socket.close(duplicate)
        raise
    if socket.getdefaulttimeout() is not None:
        # Python has made the driver's socket non-blocking with it, which is a matter of both.
        made.setblocking(True)
    return made
