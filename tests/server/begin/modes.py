"""How a transaction may begin (``OPTIONS["pool"]["begin"]``), and when a lease ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MODES: Sequence[str | None] = ["fused", "separate", "autocommit"]
LEASES = ("task", "transaction")


def pool(mode: str | None, lease: str) -> dict[str, Any]:
    """``OPTIONS["pool"]`` of an alias that one thread uses."""
    begin = {} if mode is None else {"begin": mode}
    return {"pool_size": 1, "timeout": 5, "lease": lease, **begin}
