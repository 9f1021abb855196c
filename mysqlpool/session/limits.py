"""A limit of time for calls of the client library that have none.

COM_CHANGE_USER is sent and answered in one call, which waits as long as the network lets it.
"""

from __future__ import annotations

import _thread
import contextlib
import socket
import threading
from types import TracebackType

from .sockets import duplicate

__all__ = ["Limit"]


class Limit:
    """In this block the connection with this socket ends when so many seconds have passed.

    Then the library's call fails as for a connection that was lost, and the block raises
    `TimeoutError`, also where it came to its end all the same: the connection is of no use. Raises
    `OSError` for a socket that is gone, and `RuntimeError` where no thread can be started. That
    costs a thread for the time of the block.

    Whoever gets ``_claim`` decides, and closes the duplicate: either the block is over in time, or
    the connection is shut down. It is the duplicate that is shut down, because the number of the
    driver's socket may be another's by then.
    """

    def __init__(self, number: int, seconds: float) -> None:
        self._seconds = min(seconds, threading.TIMEOUT_MAX)
        self._socket = duplicate(number)
        self._over = threading.Lock()
        self._over.acquire()
        self._claim = threading.Lock()

    def __enter__(self) -> None:
        try:
            # threading.Thread would wait until it runs.
            _thread.start_new_thread(self._wait, ())
        except BaseException:
            self._socket.close()
            raise

    def _wait(self) -> None:
        if self._over.acquire(timeout=self._seconds):
            return
        if self._claim.acquire(blocking=False):
            with self._socket, contextlib.suppress(OSError):  # It may have been lost already.
                self._socket.shutdown(socket.SHUT_RDWR)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        in_time = self._claim.acquire(blocking=False)
        self._over.release()
        if in_time:
            self._socket.close()
        elif error is None or isinstance(error, Exception):
            raise TimeoutError from error
