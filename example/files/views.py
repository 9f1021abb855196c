"""The page that lists the largest files."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .models import File

SHOWN = 100


@require_safe
def largest(request: HttpRequest) -> HttpResponse:
    """Show the largest files and the number of all."""
    # By primary key among equals: then the index on size has the order already.
    files = File.objects.order_by("-size", "-pk")[:SHOWN]
    return render(request, "files/largest.html", {"files": files, "total": File.objects.count()})
