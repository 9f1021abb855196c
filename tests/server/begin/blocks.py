"""The kinds of block that an application has, and what each costs by how a transaction begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path

from tests.rows.models import Row

__all__ = ["BLOCKS", "Kind", "prepare"]

THERE = 1  # the number of a row that is always there
_numbers = count(1000)


@dataclass(frozen=True)
class Kind:
    """A kind of block, which costs the same each time but the first.

    ``django``: statements where autocommit is switched off and on, as Django's engine does it; each
    is a round trip. ``late``: statements where the transaction begins with its first one.
    ``fused``: round trips, where what begins it travels in that one's packet.
    """

    run: Callable[[str], object]
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


def prepare(alias: str) -> None:
    """Make the row that is always there, and the connection."""
    _rows(alias).update_or_create(number=THERE, defaults={"text": "there"})


def _rows(alias: str) -> Any:
    return Row.objects.using(alias)


def _atomic(alias: str, savepoint: bool = True) -> Any:
    return transaction.atomic(using=alias, savepoint=savepoint)


def _read(alias: str) -> None:
    assert _rows(alias).get(number=THERE).pk


def _write(alias: str) -> None:
    _rows(alias).create(text="new", number=next(_numbers))


class _Failed(Exception):
    """The application's own."""


def _empty(alias: str) -> None:
    with _atomic(alias):
        pass


def _one_read(alias: str) -> None:
    with _atomic(alias):
        _read(alias)


def _one_write(alias: str) -> None:
    with _atomic(alias):
        _write(alias)


def _nested(alias: str) -> None:
    with _atomic(alias):
        _read(alias)
        with _atomic(alias):
            _write(alias)


def _update_or_create(alias: str) -> None:
    _, created = _rows(alias).update_or_create(number=THERE, defaults={"text": "there"})
    assert not created


def _update_or_create_new(alias: str) -> None:
    _, created = _rows(alias).update_or_create(number=next(_numbers), defaults={"text": "new"})
    assert created


def _get_or_create(alias: str) -> None:
    _, created = _rows(alias).get_or_create(number=THERE, defaults={"text": "there"})
    assert not created


def _get_or_create_new(alias: str) -> None:
    _, created = _rows(alias).get_or_create(number=next(_numbers), defaults={"text": "new"})
    assert created


def _lock_and_save(alias: str) -> None:
    with _atomic(alias):
        _rows(alias).select_for_update().get(number=THERE).save()


def _nested_empty(alias: str) -> None:
    with _atomic(alias), _atomic(alias):
        pass


def _nested_without_savepoint(alias: str) -> None:
    with _atomic(alias), _atomic(alias, savepoint=False):
        _write(alias)


def _failing_at_once(alias: str) -> None:
    with suppress(_Failed), _atomic(alias):
        raise _Failed


def _failing_after_a_write(alias: str) -> None:
    with suppress(_Failed), _atomic(alias):
        _write(alias)
        raise _Failed


def _failing_within(alias: str) -> None:
    with _atomic(alias):
        _write(alias)
        with suppress(_Failed), _atomic(alias):
            _write(alias)
            raise _Failed


def _failing_within_at_once(alias: str) -> None:
    with _atomic(alias):
        _write(alias)
        with suppress(_Failed), _atomic(alias):
            raise _Failed


def _two_within(alias: str) -> None:
    with _atomic(alias):
        for _ in range(2):
            with _atomic(alias):
                _write(alias)


def _bulk_create(alias: str) -> None:
    with _atomic(alias):  # Django 6.1 makes none around a single statement.
        _rows(alias).bulk_create([Row(text="new", number=next(_numbers)) for _ in range(3)])


def _by_hand(alias: str) -> None:
    transaction.set_autocommit(False, using=alias)
    for _ in range(2):
        _write(alias)
        transaction.commit(using=alias)
    transaction.set_autocommit(True, using=alias)


def _on_commit(alias: str) -> None:
    with _atomic(alias):
        _write(alias)
        transaction.on_commit(partial(_read, alias), using=alias)


def _view_that_reads(request: HttpRequest, alias: str) -> HttpResponse:
    _read(alias)
    return HttpResponse()


def _view_that_does_not(request: HttpRequest, alias: str) -> HttpResponse:
    return HttpResponse()


def _request(view: Callable[[HttpRequest, str], HttpResponse], alias: str) -> None:
    """A request under ATOMIC_REQUESTS, through the handler."""
    request = RequestFactory().get("/")
    request.urlconf = (path("", view, {"alias": alias}),)  # type: ignore[assignment]  # Will do, too.
    settings = connections[alias].settings_dict
    before, settings["ATOMIC_REQUESTS"] = settings["ATOMIC_REQUESTS"], True
    try:
        assert WSGIHandler().get_response(request).status_code == 200
    finally:
        settings["ATOMIC_REQUESTS"] = before


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
        "a request that reads": Kind(partial(_request, _view_that_reads), 4, 3, 2),
        "a request that does not": Kind(partial(_request, _view_that_does_not), 3, 0, 0),
    }
)
