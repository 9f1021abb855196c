"""Writing to the index, through the ORM. Both commands use it."""

import hashlib
import os
from collections.abc import Callable, Collection

from .models import File
from .reading import Facts, read_facts, shown

FACTS = ("size", "lines", "sha256", "indexed_at")
BATCH = 1000


def key(path: str) -> str:
    """Return the primary key of a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def index_file(path: str, stopped: Callable[[], bool]) -> None:
    """Read a file and store what was found. No session is held while it is read.

    Raises what read_facts() raises, and django.db.Error.
    """
    store(path, read_facts(path, stopped))


def store(path: str, facts: Facts) -> None:
    """Insert the file's row, or update it: one statement, which cannot collide with another's."""
    file = File(
        path_sha256=key(path),
        path=shown(path),
        size=facts.size,
        lines=facts.lines,
        sha256=facts.sha256,
    )
    File.objects.bulk_create([file], update_conflicts=True, update_fields=FACTS)


def remove_missing(folder: str, keys: Collection[str]) -> int:
    """Delete the rows of files below ``folder`` that have none of these keys; return how many."""
    below = File.objects.filter(path__startswith=os.path.join(shown(folder), ""))
    gone = [pk for pk in below.values_list("pk", flat=True).iterator() if pk not in keys]
    for start in range(0, len(gone), BATCH):
        File.objects.filter(pk__in=gone[start : start + BATCH]).delete()
    return len(gone)
