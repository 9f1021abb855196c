"""``python -m tests.other_system ARGUMENTS``: pytest on a system that lacks what Windows lacks.

The names are hidden before anything else is imported that could ask for them, and what ``os`` has
for files refuses the number of a socket. The server is the one that the environment names.
"""

import errno
import functools
import os
import select
import stat
import sys
from collections.abc import Callable
from typing import Any

HIDDEN = {
    select: ("poll", "epoll", "POLLIN"),
    os: ("register_at_fork", "fork", "forkpty"),
}
HIDDEN_OF_SOCKET = ("MSG_DONTWAIT", "MSG_NOSIGNAL")
FOR_FILES_ONLY = ("fstat", "dup", "dup2", "read", "write", "close")

_fstat = os.fstat


def is_hidden() -> bool:
    """Whether this process is such a system."""
    return not hasattr(select, "poll")


def hide() -> None:
    asked_already = {"mysqlpool", "selectors", "socket", "subprocess"} & sys.modules.keys()
    assert not asked_already, f"too late: {asked_already} know what there is"
    for module, names in HIDDEN.items():
        for name in names:
            delattr(module, name)
    for name in FOR_FILES_ONLY:
        setattr(os, name, _for_files_only(getattr(os, name)))
    # It looks for these names when it is imported, so it comes last.
    import socket

    for name in HIDDEN_OF_SOCKET:
        delattr(socket, name)


def _for_files_only(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if any(_is_socket(argument) for argument in args[:2]):
            raise OSError(errno.EBADF, f"os.{function.__name__} does not know sockets here")
        return function(*args, **kwargs)

    return refusing


def _is_socket(argument: Any) -> bool:
    try:
        return isinstance(argument, int) and stat.S_ISSOCK(_fstat(argument).st_mode)
    except OSError:
        return False


if __name__ == "__main__":
    hide()
    import pytest

    sys.exit(pytest.main(sys.argv[1:]))
