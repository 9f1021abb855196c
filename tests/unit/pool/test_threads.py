"""Whose code a frame runs."""

from __future__ import annotations

import sys
from typing import Any

from mysqlpool.pool.threads import own_frame


def test_code_that_has_no_module_is_the_applications() -> None:
    found: dict[str, Any] = {}
    code = compile("found['frame'] = sys._getframe()", "a template's", "exec")
    exec(code, {"sys": sys, "found": found})
    assert own_frame(found["frame"]) is found["frame"]
