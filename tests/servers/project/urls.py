"""An address for each kind of request."""

from __future__ import annotations

from django.urls import path

from . import views
from .work import BASIC

urlpatterns = [
    *(path(kind, views.synchronous, {"kind": kind}) for kind in BASIC),
    *(path(kind, views.asynchronous, {"kind": kind}) for kind in ("aread", "awrite")),
    path("stream", views.stream),
    path("astream", views.asynchronous_stream),
    path("big", views.big),
]
