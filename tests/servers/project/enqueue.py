"""``python -m tests.servers.project.enqueue NAME COUNT``: hand that many jobs to a queue."""

import sys
from importlib import import_module

import django


def main(name: str, count: int) -> None:
    django.setup()
    from .work import BASIC

    kinds = list(BASIC)
    send = import_module(f"tests.servers.project.with_{name}").send
    for n in range(count):
        send(kinds[n % len(kinds)], n)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
