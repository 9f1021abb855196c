"""``python -m tests.servers.project.enqueue NAME COUNT [KIND...]``: hand so many jobs to a queue.

The kinds come in turns; all kinds where none is named.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

import django


def main(name: str, count: int, kinds: Sequence[str]) -> None:
    django.setup()
    from .work import BASIC

    kinds = kinds or list(BASIC)
    send = import_module(f"tests.servers.project.with_{name}").send
    for n in range(count):
        send(kinds[n % len(kinds)], n)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
