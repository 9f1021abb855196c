"""The process that cleans up after a private server whose owner died without doing so.

Run as ``python guard.py OWNER_PID DIRECTORY`` by PrivateServer, as the leader of its own
process group, which the server's processes join. It polls its parent's id, because that is the one
sign of death that needs no help from the dying (SIGKILL) and no pipe (a forked child of the owner
would keep a pipe open), works on every Unix, and does not depend on the thread that started the
server, as Linux's PR_SET_PDEATHSIG does.
"""

import os
import shutil
import signal
import sys
import time

POLL_SECONDS = 0.2
REMOVAL_SECONDS = 10.0


def remove(directory: str) -> None:
    """Remove the directory; again when a process that is being killed still wrote a file to it."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while os.path.exists(directory):
        shutil.rmtree(directory, ignore_errors=time.monotonic() < deadline)
        time.sleep(POLL_SECONDS / 10)


def main(owner: int, directory: str) -> None:
    """Wait until the owner is gone, then kill this process group and remove the directory."""
    # The kernel sends SIGHUP to a process group whose owner died while a member is under SIGSTOP.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == owner:
        time.sleep(POLL_SECONDS)
    group = os.getpgrp()
    if os.fork():
        signal.pause()  # the child's killpg ends this process with the rest of the group
    os.setsid()  # leave the group, to outlive it
    os.killpg(group, signal.SIGKILL)  # SIGKILL because a server under SIGSTOP heeds nothing else
    remove(directory)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
