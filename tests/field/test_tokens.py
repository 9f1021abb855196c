"""Passwords that are fetched for each connect, and renewed on the server meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.views.debug import ExceptionReporter

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from tests.helpers import HANG, error_of, identified, run_threads
from tests.observer import Observer

from .engines import STOCK, Field, Under, ask, on_ours

USER = "field_user"
_numbers = itertools.count(1)


class Vault:
    """Where the tokens come from."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.lock = threading.Lock()
        self.token = ""
        self.fetches = 0

    def fetch(self) -> str:
        with self.lock:
            self.fetches += 1
            return self.token

    def renew(self) -> None:
        """A new token here and on the server, which refuses the old one from now on."""
        with self.lock:
            self.token = f"unspeakable-{next(_numbers)}"
            self.observer.query(f"ALTER USER {USER}@'127.0.0.1' {identified(self.token)}")

    def sessions(self) -> int:
        query = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s"
        ((count,),) = self.observer.query(query, USER)
        return int(count)


vault: Vault


def with_token(params: dict[str, Any]) -> dict[str, Any]:
    return {**params, "password": vault.fetch()}


class ByParameters:
    """The engine that one writes for IAM or Vault."""

    def get_connection_params(self) -> dict[str, Any]:
        return with_token(super().get_connection_params())  # type: ignore[misc]


@pytest.fixture
def account(field: Field, observer: Observer) -> Iterator[Vault]:
    global vault
    vault = Vault(observer)
    observer.query(f"CREATE USER {USER}@'127.0.0.1' {identified('unspeakable')}")
    observer.query(f"GRANT ALL ON *.* TO {USER}@'127.0.0.1'")
    vault.renew()
    yield vault
    release_connections()
    close_pool()
    observer.query(f"DROP USER {USER}@'127.0.0.1'")


def fetch_password() -> str:
    return vault.fetch()


WAYS = ["engine", "connect_args", "connect_args by path", "PASSWORD"]


def token_alias(field: Field, under: Under, way: str, size: int = 3) -> str:
    """An alias whose token comes in one of the ways."""
    settings: dict[str, Any] = {"USER": USER, "PASSWORD": ""}
    pool: dict[str, Any] = {"pool_size": size}
    parts: list[type] = []
    if way == "engine":
        parts.append(ByParameters)
    elif way == "PASSWORD":
        settings["PASSWORD"] = fetch_password
    elif way == "connect_args":
        pool["connect_args"] = with_token
    else:
        pool["connect_args"] = f"{__name__}.with_token"
    return field.alias(under, *parts, pool=pool, **settings)


on_all_ways = pytest.mark.parametrize(
    ("under", "way"),
    [
        (STOCK, "engine"),  # The only way that Django's engine has.
        *[(under, way) for under in on_ours.args[1] for way in WAYS],
    ],
    ids=str,
)
on_our_ways = pytest.mark.parametrize("way", WAYS)


@on_all_ways
def test_a_session_is_opened_with_the_token_of_that_moment(
    under: Under, way: str, field: Field, account: Vault
) -> None:
    """Three threads at once need more sessions than there are after the token was renewed."""
    alias = token_alias(field, under, way)
    assert ask(alias, "SELECT 1") == ((1,),)
    account.renew()
    meet = threading.Barrier(3, timeout=HANG)

    @auto_close_db
    def hold() -> None:
        with transaction.atomic(alias):
            assert ask(alias, "SELECT CURRENT_USER()") == ((f"{USER}@127.0.0.1",),)
            meet.wait()

    release_connections()
    run_threads(*[hold] * 3)
    if under.is_ours:
        assert stats()[alias].connects == 3
        # Also what Django asks of the server once an alias is asked with a token.
        assert account.fetches >= 3


@on_all_ways
def test_tasks_go_on_while_tokens_are_renewed_and_sessions_end(
    under: Under, way: str, field: Field, account: Vault
) -> None:
    """Each renewal ends all sessions, as a database that revokes a token does; no task fails."""
    alias = token_alias(field, under, way, size=2)
    for _ in range(5):
        run_threads(*[partial(do_tasks, alias)] * 4)
        release_connections()
        account.renew()
        close_pool()
        account.observer.until(lambda: account.sessions() == 0)
    if under.is_ours:
        assert stats()[alias].connects <= 2 * 5


@auto_close_db
def do_tasks(alias: str) -> None:
    for _ in range(5):
        assert ask(alias, "SELECT 1") == ((1,),)
        release_connections()


@on_our_ways
@on_ours
def test_a_thread_that_stays_connected_gets_a_fresh_token_for_its_next_session(
    under: Under, way: str, field: Field, account: Vault
) -> None:
    """The server ended its session while it was idle in the pool."""
    alias = token_alias(field, under, way)
    ask(alias, "SELECT 1")
    release_connections()
    account.renew()
    for session in account.observer.query(
        "SELECT id FROM information_schema.processlist WHERE user = %s", USER
    ):
        account.observer.kill(session[0])
    assert ask(alias, "SELECT 1") == ((1,),)
    assert stats()[alias].connects == 2


def speaks(text: str) -> bool:
    return "unspeakable" in text


@on_our_ways
@on_ours
def test_no_log_and_no_repr_tells_a_token(
    under: Under, way: str, field: Field, account: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    alias = token_alias(field, under, way)
    with caplog.at_level(logging.DEBUG):
        ask(alias, "SELECT 1")
        wrapper: Any = connections[alias]
        with wrapper.cursor() as cursor:
            things = [wrapper, wrapper.connection, cursor, cursor.cursor, stats(), wrapper.tenure]
            things += [vars(wrapper), vars(wrapper.tenure), vars(wrapper.connection)]
            things += [wrapper.get_connection_params()] if way != "engine" else []
            told = [repr(thing) for thing in things]
        account.renew()
        release_connections()
        close_pool()
        ask(alias, "SELECT 1")
        account.token = "unspeakable and wrong"
        release_connections()
        close_pool()
        assert isinstance(error_of(partial(ask, alias, "SELECT 1")), OperationalError)
    assert [text for text in told if speaks(text)] == []
    assert not speaks(caplog.text)


def frames_of_others(trace: TracebackType | None) -> Iterator[str]:
    """What locals are in the frames of a traceback that are not in this file."""
    told = traceback.TracebackException(
        Exception, Exception(), trace, capture_locals=True, compact=False
    )
    for frame in told.stack:
        if frame.filename != __file__:
            yield f"{frame.filename}:{frame.lineno} {frame.name} {frame.locals}"


@on_our_ways
@on_ours
def test_no_traceback_with_locals_and_no_debug_page_tells_a_token(
    under: Under, way: str, field: Field, account: Vault
) -> None:
    """Of a connect that the server refuses, in each frame that is not the owner's of the token."""
    alias = token_alias(field, under, way)
    account.token = "unspeakable and wrong"
    try:
        ask(alias, "SELECT 1")
    except OperationalError as error:
        kind, value, trace = sys.exc_info()
        chain: list[BaseException] = [error]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(cause)
        page = ExceptionReporter(None, kind, value, trace).get_traceback_data()
    else:
        pytest.fail("the server took a wrong token")
    frames = [frame for link in chain for frame in frames_of_others(link.__traceback__)]
    assert len(frames) > 8
    assert [frame for frame in frames if speaks(frame)] == []
    pages = [frame for frame in page["frames"] if frame["filename"] != __file__]
    assert len(pages) > 4
    assert [frame["vars"] for frame in pages if speaks(repr(frame.get("vars")))] == []
    assert not any(speaks(str(link)) for link in chain)


@on_our_ways
@on_ours
def test_an_error_of_the_vault_reaches_the_caller_and_costs_no_slot(
    under: Under, way: str, field: Field, account: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sealed(Exception):
        pass

    def refuse() -> str:
        raise Sealed

    alias = token_alias(field, under, way, size=1)
    with monkeypatch.context() as patch:
        patch.setattr(account, "fetch", refuse)
        for _ in range(3):
            with contextlib.suppress(OperationalError), pytest.raises(Sealed):
                ask(alias, "SELECT 1")
    assert ask(alias, "SELECT 1") == ((1,),)
    release_connections()
    assert stats()[alias].in_use == 0
