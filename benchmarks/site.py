"""A small site for one contestant, by WSGI and ASGI: each request is one query.

``BENCHMARKS_CONTESTANT`` names the contestant by its key, and ``DATABASE_HOST`` and its like the
server. The middleware is what the contestant's users set. Nothing else is in the way.
"""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.server import Server

__all__ = ["application", "asgi_application", "contestant"]

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={},
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a site that only benchmarks reach",
    USE_TZ=True,
)

# Not at the top: Django's settings come first.
from .contestants import alone  # noqa: E402

contestant = alone(os.environ["BENCHMARKS_CONTESTANT"], Server.from_environ(os.environ))
settings.DATABASES = contestant.databases()
settings.MIDDLEWARE = [*contestant.middleware]
django.setup()


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(contestant.query()))


urlpatterns = [path("", answer)]
application = get_wsgi_application()
asgi_application = get_asgi_application()
