"""The event log of the test project is put aside, and every one that a test opens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mysqlpool.events import file as logfile
from mysqlpool.events.log import set_event_log


@pytest.fixture(autouse=True)
def no_event_log() -> Iterator[None]:
    """Take away the event log of the test project, and every one that a test opens."""
    previous = set_event_log(None)
    yield
    logfile.configure(None)
    set_event_log(previous)
