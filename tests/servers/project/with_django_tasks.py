"""The jobs as Django's tasks, kept in the database."""

from django.utils.module_loading import import_string

from .jobs import run

__all__ = ["send"]

try:
    task = import_string("django.tasks.task")  # Django 6.0 and newer
except ImportError:
    task = import_string("django_tasks.task")


@task()
def work(kind: str, n: int) -> None:
    run(kind, n)


def send(kind: str, n: int) -> None:
    work.enqueue(kind, n)
