"""``python -m tests.server [--flavour NAME] COMMAND [ARG...]``: a command against a private server.

The command finds the server by DATABASE_HOST and its like. Where DATABASE_HOST is set already, it
gets that server and nothing is started; it must be of the flavour that is named.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from tests.server import FLAVOURS, ServerError, server_from_environment_or_private


@contextlib.contextmanager
def forwarded_signals(send: Callable[[int], None]) -> Iterator[None]:
    """Hand SIGTERM, SIGHUP and SIGINT on instead of dying of them.

    At a terminal Ctrl-C reaches the command by itself; a second SIGINT would abort its clean-up.
    """
    at_terminal = sys.stdin is not None and sys.stdin.isatty()

    def forward(number: int, frame: FrameType | None) -> None:
        if not (at_terminal and number == signal.SIGINT):
            send(number)

    before = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(command: Sequence[str], flavour: str | None) -> int:
    """Run the command against the server; its exit code, or 128 + N when signal N ended it."""
    with server_from_environment_or_private(flavour) as server:
        process: subprocess.Popen[bytes] | None = None
        early: list[int] = []

        def send(number: int) -> None:
            if process is None:
                early.append(number)
            else:
                process.send_signal(number)

        # Before the command begins, whose first word may make somebody send us a signal.
        with forwarded_signals(send):
            process = subprocess.Popen(command, env={**os.environ, **server.environ()})
            for number in early:
                process.send_signal(number)
            code = _wait(process)
    return code if code >= 0 else 128 - code


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait in portions: Python runs the handler of a signal that came just before a long wait began
    only when that is over.
    """
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(1)


def main(arguments: Sequence[str]) -> int:
    """The command line: 2 without a command, 1 with a plain message when there is no server."""
    parser = argparse.ArgumentParser(prog="python -m tests.server")
    parser.add_argument("--flavour", choices=FLAVOURS, help="default: MYSQLPOOL_SERVER or mariadb")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND [ARG...]")
    parsed = parser.parse_args(arguments)
    if not parsed.command:
        parser.print_usage(sys.stderr)
        return 2
    try:
        return run(parsed.command, parsed.flavour)
    except (ServerError, OSError) as error:
        print(f"tests.server: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
