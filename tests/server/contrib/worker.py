"""``python -m tests.server.contrib.worker THREADS LEASES [fork]``: a process of several.

It tells Prometheus of its pools, by files. With ``fork`` a child that is forked afterwards does the
work, as gunicorn's with ``preload_app``. When the work is done, it writes its process id and its
``connects``, and waits for a line: after "work" it works again, and else it ends.
"""

from __future__ import annotations

import os
import sys

import django
from django.db import connection

from mysqlpool import auto_close_db, stats
from mysqlpool.contrib.prometheus import register
from tests.helpers import run_threads


@auto_close_db
def ask() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def work(threads: int, leases: int) -> None:
    def several() -> None:
        for _ in range(leases):
            ask()

    run_threads(*[several] * threads)


def main(threads: int, leases: int, fork: bool) -> None:
    register(interval=0.05)
    if fork and (child := os.fork()):
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    order = "work\n"
    while order == "work\n":
        work(threads, leases)
        sys.stdout.write(f"{os.getpid()} {stats()['default'].connects}\n")
        sys.stdout.flush()
        order = sys.stdin.readline()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    connection.settings_dict["NAME"] = None
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["fork"])
