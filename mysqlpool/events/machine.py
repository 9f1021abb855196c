"""The machine: what the number of a process is worth to whoever reads the event log elsewhere.

Processes of several machines, or of containers that have numbers of their own, may write to the
same file.
"""

from __future__ import annotations

import os
import socket

__all__ = ["host", "pid_space"]


def host() -> str:
    """The name of this machine, or container."""
    return socket.gethostname()


def pid_space() -> str | None:
    """What all processes have in common that see each other by the same numbers.

    That is the kernel that runs, and the namespace in it. None where the system does not tell, as
    only Linux does: pid_namespaces(7), and random(4) for the number of a boot.
    """
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read(8)}-{namespace}"
    except OSError:
        return None
