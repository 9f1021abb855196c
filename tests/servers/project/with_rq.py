"""The jobs as RQ's, by django-rq."""

import django_rq

from mysqlpool import auto_close_db

from . import settings
from .jobs import run

__all__ = ["send"]


@auto_close_db
def work(kind: str, n: int) -> None:
    run(kind, n)


def bare(kind: str, n: int) -> None:
    run(kind, n)


def send(kind: str, n: int) -> None:
    django_rq.enqueue(bare if settings.BARE else work, kind, n)
