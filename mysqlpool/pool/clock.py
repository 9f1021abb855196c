"""The one name by which the time is asked for, so that a test can have its own.

Ask ``clock.monotonic()``: seconds that no change of the wall clock touches.
"""

from time import monotonic

__all__ = ["monotonic"]
