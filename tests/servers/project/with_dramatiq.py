"""The jobs as actors of dramatiq, and a middleware of its kind that releases after each."""

from typing import Any

import django
import dramatiq
from dramatiq.brokers.redis import RedisBroker

from mysqlpool import release_connections

from . import settings

__all__ = ["send"]

django.setup()

from .jobs import run


class ReleaseConnections(dramatiq.Middleware):
    def after_process_message(self, broker: Any, message: Any, **kwargs: Any) -> None:
        release_connections()


broker = RedisBroker(url=settings.REDIS)
if not settings.BARE:
    broker.add_middleware(ReleaseConnections())
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=0)
def work(kind: str, n: int) -> None:
    run(kind, n)


def send(kind: str, n: int) -> None:
    work.send(kind, n)
