"""Another session asks the server about a silent one, and comes back as it is."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import MySQLdb
import pytest

from mysqlpool.aliases.alias_pool import AliasPool
from mysqlpool.aliases.fair import FairAliasPool


class Lease:
    """Of a session that answers, or raises."""

    def __init__(self, answer: bool | Exception, broken: str | None = None) -> None:
        self.session = SimpleNamespace(server="here", broken=broken, sees_asleep=self._sees)
        self.answer, self.ended = answer, list[str]()

    def _sees(self, other: Any, port: int) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def give_back(self) -> None:
        self.ended.append("given back")

    def discard(self, reason: str) -> None:
        self.ended.append(reason)


@pytest.mark.parametrize(
    ("lease", "answer", "end"),
    [
        (Lease(True), True, "given back"),
        (Lease(False), False, "given back"),
        (Lease(MySQLdb.OperationalError(2013, "Lost"), "error 2013"), False, "error 2013"),
        (Lease(MySQLdb.OperationalError(1227, "denied")), False, "vigil"),
    ],
)
def test_who_asks_is_given_back_unless_it_failed(lease: Any, answer: bool, end: str) -> None:
    silent: Any = SimpleNamespace(server="here")
    assert FairAliasPool._says_asleep(lease, silent, 3306) is answer
    assert lease.ended == [end]


def test_a_session_is_asked_about_as_by_whom_it_was_opened() -> None:
    accesses = [None, SimpleNamespace(identity="other"), SimpleNamespace(identity="own")]
    users = [SimpleNamespace(present_access=lambda a=a: a) for a in accesses]
    pool: Any = SimpleNamespace(_lock=threading.RLock(), _users=users)
    session: Any = SimpleNamespace(identity="own")
    found: Any = AliasPool._access_to(pool, session)
    assert found is accesses[2]
    users.pop()
    assert AliasPool._access_to(pool, session) is None
