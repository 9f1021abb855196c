"""One processor for both sides of a benchmark that never has two things to do at once."""

from __future__ import annotations

import os

__all__ = ["stay_on_one_processor"]


def stay_on_one_processor() -> None:
    """Keep this process, and what it starts from now on, on one processor, where the system can.

    Else each session's thread of the server may run on the client's processor or on another one,
    for minutes: a round trip takes 25 microseconds in the first case and 70 in the other, and which
    contender is lucky is a matter of chance.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
