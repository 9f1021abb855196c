"""``python -m tests.field [--server NAME] [PYTEST'S ARGUMENTS]``: both halves, on one server.

The first half is django-mysql's own tests, see django_mysql_suite. The second one is pytest's: the
engines, tracers and middleware of others that the modules here are about.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.server import add_server_option, server_from_environment_or_private

from . import django_mysql_suite


def main(arguments: Sequence[str]) -> int:
    """Run both; 0 when both passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.field")
    add_server_option(parser)
    args, rest = parser.parse_known_args(arguments)
    with server_from_environment_or_private(args.server) as server:
        os.environ.update(server.environ())
        suite = django_mysql_suite.main([])
        folder = str(Path(__file__).parent)
        engines = subprocess.run([sys.executable, "-m", "pytest", folder, *rest], check=False)
    return suite or engines.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
