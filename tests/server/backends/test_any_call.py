"""An exception at any call of ours, as a signal handler raises it, costs neither slot nor session.

`test_signal_storm` has real signals at random moments. Here each moment has its turn. The garbage
collector rests meanwhile: an exception in a cycle of references would keep its frames, and a lease
in one of them, for as long as nobody waits for a lease and nothing much is allocated.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

import mysqlpool
from mysqlpool import auto_close_db, close_pool, release_connections, scopes, stats
from mysqlpool.scopes import Scope
from tests.helpers import run_threads, without_logging
from tests.rows.models import Row

from .moments import At, places

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.moments]

OURS = places(mysqlpool)


class Alarm(BaseException):
    """What the signal handler raises."""


def ring() -> None:
    raise Alarm


@pytest.fixture(params=["task", "transaction"])
def tenure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    settings = connections["default"].settings_dict
    options = {"pool": {"pool_size": 2, "timeout": 5, "lease": request.param}}
    monkeypatch.setitem(settings, "OPTIONS", options)
    hook, sys.unraisablehook = (
        sys.unraisablehook,
        lambda unraisable: None,
    )  # A finalizer is hit, too.
    gc.collect()
    gc.disable()
    with without_logging():
        yield request.param
    gc.enable()
    gc.collect()
    sys.unraisablehook = hook
    release_connections()
    close_pool()


def read() -> None:
    assert Row.objects.filter(pk=-1).count() == 0


def write() -> None:
    with transaction.atomic():
        Row.objects.filter(pk=-1).delete()
        with transaction.atomic():
            Row.objects.filter(pk=-2).delete()


def set_variable() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SET @number = 1")


@auto_close_db
def scoped() -> None:
    read()


def in_a_block() -> None:
    with auto_close_db():
        read()


WORK = {work.__name__: work for work in (read, write, set_variable, scoped, in_a_block)}


def interrupted(work: Callable[[], None], number: int) -> CodeType | None:
    """Work and release, with an alarm at that call. Where that was; None if it was not come to."""
    alarm = At(number, ring, OURS, spares_locked=False)
    try:
        sys.setprofile(alarm)
        work()
        release_connections()
    except Alarm:
        pass
    except DatabaseError:
        assert alarm.code  # A finalizer swallowed it, in the midst of an exchange.
    finally:
        sys.setprofile(None)
    return alarm.code


def clear_up() -> None:
    """Release whatever happened, as a worker's loop does."""
    wrapper = connections["default"]
    wrapper.close()
    if wrapper.in_atomic_block:  # Django's own book-keeping was hit, as on every engine.
        del connections["default"]
    release_connections()


@pytest.mark.parametrize("name", WORK)
def test_an_alarm_at_any_call_leaves_no_lease(tenure: str, name: str, observer: Any) -> None:
    work = WORK[name]

    def somebody_else() -> None:
        work()
        release_connections()

    somebody_else()
    number = 0
    while code := interrupted(work, number):
        if scopes._thread.open:
            # Before the first line of __exit__() nobody can help.
            assert code is Scope.__exit__.__code__, f"a scope is left by an alarm in {code}"
            scopes._thread.open.clear()
        clear_up()
        run_threads(somebody_else)  # It also tidies up.
        assert stats()["default"].in_use == 0, f"a lease is left by an alarm at call {number}"
        number += 1
    assert 50 < number < 2000
    close_pool()
    database = connections["default"].settings_dict["NAME"]
    observer.until(lambda: not observer.sessions(database))
