"""The kinds of block that an application has, and what each costs by how a transaction begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path

from tests.rows.models import Row

__all__ = ["ALIAS", "BLOCKS", "Kind", "prepare"]

ALIAS = "begin"
THERE = 1  # the number of a row that is always there
_numbers = count(1000)


@dataclass(frozen=True)
class Kind:
    """A kind of block, which costs the same each time but the first.

    ``django``: statements where autocommit is switched off and on, as Django's engine does it; each
    is a round trip. ``late``: statements where the transaction begins with its first one.
    ``fused``: round trips, where what begins it travels in that one's packet.
    """

    run: Callable[[], object]
    django: int
    late: int
    fused: int

    def cost(self, mode: str | None) -> tuple[int, int]:
        """Round trips and statements."""
        if mode == "fused":
            return self.fused, self.late
        if mode == "separate":
            return self.late, self.late
        return self.django, self.django


def prepare() -> None:
    """Make the row that is always there, and the connection."""
    _rows().update_or_create(number=THERE, defaults={"text": "there"})


def _rows() -> Any:
    return Row.objects.using(ALIAS)


def _atomic(savepoint: bool = True) -> Any:
    return transaction.atomic(using=ALIAS, savepoint=savepoint)


def _read() -> None:
    assert _rows().get(number=THERE).pk


def _write() -> None:
    _rows().create(text="new", number=next(_numbers))


class _Failed(Exception):
    """The application's own."""


def _empty() -> None:
    with _atomic():
        pass


def _one_read() -> None:
    with _atomic():
        _read()


def _one_write() -> None:
    with _atomic():
        _write()


def _nested() -> None:
    with _atomic():
        _read()
        with _atomic():
            _write()


def _update_or_create() -> None:
    _, created = _rows().update_or_create(number=THERE, defaults={"text": "there"})
    assert not created


def _update_or_create_new() -> None:
    _, created = _rows().update_or_create(number=next(_numbers), defaults={"text": "new"})
    assert created


def _get_or_create() -> None:
    _, created = _rows().get_or_create(number=THERE, defaults={"text": "there"})
    assert not created


def _get_or_create_new() -> None:
    _, created = _rows().get_or_create(number=next(_numbers), defaults={"text": "new"})
    assert created


def _lock_and_save() -> None:
    with _atomic():
        _rows().select_for_update().get(number=THERE).save()


def _nested_empty() -> None:
    with _atomic(), _atomic():
        pass


def _nested_without_savepoint() -> None:
    with _atomic(), _atomic(savepoint=False):
        _write()


def _failing_at_once() -> None:
    with suppress(_Failed), _atomic():
        raise _Failed


def _failing_after_a_write() -> None:
    with suppress(_Failed), _atomic():
        _write()
        raise _Failed


def _failing_within() -> None:
    with _atomic():
        _write()
        with suppress(_Failed), _atomic():
            _write()
            raise _Failed


def _failing_within_at_once() -> None:
    with _atomic():
        _write()
        with suppress(_Failed), _atomic():
            raise _Failed


def _two_within() -> None:
    with _atomic():
        for _ in range(2):
            with _atomic():
                _write()


def _bulk_create() -> None:
    _rows().bulk_create([Row(text="new", number=next(_numbers)) for _ in range(3)])


def _by_hand() -> None:
    transaction.set_autocommit(False, using=ALIAS)
    for _ in range(2):
        _write()
        transaction.commit(using=ALIAS)
    transaction.set_autocommit(True, using=ALIAS)


def _on_commit() -> None:
    with _atomic():
        _write()
        transaction.on_commit(_read, using=ALIAS)


def _view_that_reads(request: HttpRequest) -> HttpResponse:
    _read()
    return HttpResponse()


def _view_that_does_not(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _request(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[], None]:
    """A request under ATOMIC_REQUESTS, through the handler."""

    def run() -> None:
        request = RequestFactory().get("/")
        settings = connections[ALIAS].settings_dict
        before, settings["ATOMIC_REQUESTS"] = settings["ATOMIC_REQUESTS"], True
        try:
            request.urlconf = (path("", view),)  # type: ignore[assignment]  # Patterns will do, too.
            handler = WSGIHandler()
            assert handler.get_response(request).status_code == 200
        finally:
            settings["ATOMIC_REQUESTS"] = before

    return run


BLOCKS: Mapping[str, Kind] = MappingProxyType(
    {
        "get": Kind(_read, 1, 1, 1),
        "empty": Kind(_empty, 3, 0, 0),
        "one read": Kind(_one_read, 4, 3, 2),
        "one write": Kind(_one_write, 4, 3, 2),
        "a read, a nested write": Kind(_nested, 7, 5, 3),
        "two nested writes": Kind(_two_within, 9, 7, 3),
        "update_or_create": Kind(_update_or_create, 5, 4, 3),
        "update_or_create, new": Kind(_update_or_create_new, 7, 5, 3),
        "get_or_create": Kind(_get_or_create, 1, 1, 1),
        "get_or_create, new": Kind(_get_or_create_new, 5, 4, 3),
        "select_for_update and save": Kind(_lock_and_save, 5, 4, 3),
        "nested empty": Kind(_nested_empty, 5, 0, 0),
        "nested without a savepoint": Kind(_nested_without_savepoint, 4, 3, 2),
        "failing at once": Kind(_failing_at_once, 3, 0, 0),
        "failing after a write": Kind(_failing_after_a_write, 4, 3, 2),
        "failing within": Kind(_failing_within, 8, 6, 4),
        "failing within at once": Kind(_failing_within_at_once, 7, 3, 2),
        "bulk_create": Kind(_bulk_create, 4, 3, 2),
        "two by hand": Kind(_by_hand, 6, 6, 4),
        "on_commit": Kind(_on_commit, 5, 4, 3),
        "a request that reads": Kind(_request(_view_that_reads), 4, 3, 2),
        "a request that does not": Kind(_request(_view_that_does_not), 3, 0, 0),
    }
)
