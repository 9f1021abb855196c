"""The jobs as tasks of huey."""

from huey.contrib.djhuey import db_task, task

from . import settings
from .jobs import run

__all__ = ["send"]


@db_task()
def work(kind: str, n: int) -> None:
    run(kind, n)


@task()
def bare(kind: str, n: int) -> None:
    run(kind, n)


def send(kind: str, n: int) -> None:
    (bare if settings.BARE else work)(kind, n)
