"""A process of its own with a pool of 10, which does a burst of tasks for each line that it reads.

It is told the account's settings as JSON by its argument, prints how many tasks of a burst were
served, and ends with its input. Between two bursts it is quiet.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import as_completed

import django
from django.conf import settings

TASKS, SECONDS = 30, 0.02


def main() -> None:
    account = json.loads(sys.argv[1])
    pool = {"pool_size": 10, "timeout": 60, "max_idle": 1, "lease": "task"}
    database = {"ENGINE": "mysqlpool.backends.mysqlpool", "OPTIONS": {"pool": pool}, **account}
    settings.configure(DATABASES={"default": database})
    django.setup()
    for line in sys.stdin:
        sys.stdout.write(f"{burst(int(line))}\n")
        sys.stdout.flush()


def burst(tasks: int) -> int:
    from mysqlpool import PooledThreadPoolExecutor

    with PooledThreadPoolExecutor(max_workers=10) as executor:
        futures = [executor.submit(task) for _ in range(tasks)]
        return sum(future.result() for future in as_completed(futures))


def task() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(%s)", [SECONDS])
        time.sleep(SECONDS)
        cursor.execute("SELECT 1")
        return int(cursor.fetchall() == ((1,),))


if __name__ == "__main__":
    main()
