"""Under which conditions something was measured: machine, versions, date, and what else ran."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mysqlpool
from tests.server import Server

__all__ = ["conditions", "load"]

PACKAGES = (
    "mysqlpool",
    "Django",
    "SQLAlchemy",
    "mysqlclient",
    "django-db-connection-pool",
    "gunicorn",
    "uvicorn",
)


def conditions(server: Server) -> dict[str, Any]:
    """What a reader of the results wants to know besides. Names nothing of this machine's owner."""
    import MySQLdb

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": processor(),
            "processors": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load": load(),
        },
        "versions": {
            "Python": platform.python_version(),
            "interpreter lock": getattr(sys, "_is_gil_enabled", lambda: True)(),
            **{name: installed(name) for name in PACKAGES},
            "client library": MySQLdb.get_client_info(),
            "server": f"{server.flavour_name()} {server.version()}",
        },
    }


def load() -> list[float]:
    """The load averages of the last 1, 5 and 15 minutes, whoever caused them."""
    return [round(value, 2) for value in os.getloadavg()]


def processor() -> str:
    """Its model's name, as far as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"


def installed(package: str) -> str:
    if package == "mysqlpool":  # What is run is the clone, whatever is installed.
        return f"{mysqlpool.__version__} {commit()}".rstrip()
    return version(package)


def commit() -> str:
    """Which one of the repository this is; nothing where there is no git or no clone."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
