"""``python -m tests.faults [PYTEST'S ARGUMENTS]``: all faults on both servers, and their table.

``docs/faults.rst`` is written where all passed; its path is the repository's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.helpers import ROOT
from tests.server import FLAVOURS

from .table import rst


def main(arguments: Sequence[str]) -> int:
    """Run both; 0 when both passed."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for flavour in FLAVOURS:
            file = Path(directory, flavour)
            command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), "--faults"]
            command += ["--server", flavour, "--fault-rows", str(file), *arguments]
            code = subprocess.run(
                command, check=False, env={**os.environ, "MYSQLPOOL_SERVER": flavour}, cwd=ROOT
            ).returncode
            if code != 0:
                return code
            rows += json.loads(file.read_text(encoding="utf-8"))
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "faults.rst").write_text(rst(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
