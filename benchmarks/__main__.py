"""Run one of the benchmarks: ``python -m benchmarks NAME [ARGUMENT...]``."""

from __future__ import annotations

import argparse
import importlib
import sys

# Each is a module here, whose main(argv) returns the exit code.
BENCHMARKS = ("busy", "contention", "cycle", "latency", "slow_calls", "statements")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="NAME --help lists them")
    options = parser.parse_args()
    module = importlib.import_module(f"benchmarks.{options.name}")
    code: int = module.main(options.arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
