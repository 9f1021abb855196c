"""The status page and the health check: ``path("mysqlpool/", include("mysqlpool.urls"))``.

Importing this begins to note, every two seconds, how busy this process's pools are. It raises
``ImproperlyConfigured`` for settings of the page that break a rule.
"""

from __future__ import annotations

from django.urls import path

from .conf.visitors import parse_visitors
from .contrib.status import history, views

app_name = "mysqlpool"
urlpatterns = [
    path("", views.status, name="status"),
    path("health/", views.health, name="health"),
    path("style.css", views.style, name="style"),
]

parse_visitors("STATUS")
parse_visitors("HEALTH")
history.begin()
