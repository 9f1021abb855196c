"""A main thread that leaves its script with a lease, while another thread needs one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers import HANG

SCRIPT = """
import atexit, os, sys, threading, time
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()
from django.db import OperationalError, connection
from mysqlpool import auto_close_db

settings = connection.settings_dict
pool = {"pool_size": 1, "timeout": 20, "lease": sys.argv[1]}
settings.update(OPTIONS={**settings["OPTIONS"], "pool": pool}, NAME=None)


def ask(sql="SELECT CONNECTION_ID()"):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@atexit.register
def last():
    try:
        print("atexit", ask() == mine)
    except OperationalError as error:
        print("atexit", error.args[0])
        connection.close()
        print("anew", ask() != mine)


@auto_close_db
def work():
    threading.main_thread().join()
    started = time.monotonic()
    print("thread", ask() != mine, time.monotonic() - started < 10, flush=True)


ask("SET @mine = 1")
mine = ask()
if sys.argv[2] == "thread":
    threading.Thread(target=work).start()
"""


def output(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=True,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_the_thread_gets_a_session_and_atexit_an_error_until_it_closes(lease: str) -> None:
    assert output(lease, "thread") == ["thread True True", "atexit 2006", "anew True"]


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_atexit_goes_on_with_the_session_where_nobody_needs_it(lease: str) -> None:
    assert output(lease, "nobody") == ["atexit True"]
