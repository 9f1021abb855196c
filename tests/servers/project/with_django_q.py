"""The jobs as django-q2's, with its broker in the database."""

from django_q.tasks import async_task

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
    async_task(bare if settings.BARE else work, kind, n)
