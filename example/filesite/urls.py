"""One page."""

from django.urls import path

from files.views import largest

urlpatterns = [path("", largest, name="largest")]
