"""Work in a forked child."""

import os
import sys
import traceback
from collections.abc import Callable

from mysqlpool import auto_close_db, close_pool


def run_in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child and wait for it.

    Returns 0, or 1 when it raised (the child prints the traceback), or -N when signal N ended it.
    The child starts without the sessions of its parent, whose own stay as they are: nothing has to
    be closed before the fork. Call it while no other thread runs.
    """
    # What is still in these buffers would be written by both processes.
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _work_and_exit(work)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _work_and_exit(work: Callable[[], object]) -> None:
    status = 1
    try:
        with auto_close_db():
            work()
        # os._exit() runs no clean-up, so the server would wonder where its client went.
        close_pool()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # Whatever happens: the child must not return into its copy of the parent's stack.
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
