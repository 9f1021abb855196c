"""The jobs as tasks of Celery. Its fixup for Django closes connections around each task."""

import os

from celery import Celery

__all__ = ["app", "send"]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.servers.project.settings")

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def work(kind: str, n: int) -> None:
    from .jobs import run  # Models can be imported once Celery has set Django up.

    run(kind, n)


def send(kind: str, n: int) -> None:
    work.delay(kind, n)
