"""Whether what has arrived on a socket is a whole answer, so that reading it will not wait.

The client library reads without an end, unless ``read_timeout`` is set. What is here looks at bytes
that stay where they are.
"""

from __future__ import annotations

import enum

__all__ = ["LONGEST", "Arrived", "arrived", "looks_like_tls"]

# Bytes to look at. The answer to a statement without rows has far fewer.
LONGEST = 1 << 16

# A record begins with a type from 20 to 23, the version, which begins with 3, and its length in two
# bytes (RFC 8446, 5.1). A packet without TLS begins with its length, the lowest byte first. With 3
# in the second place it would have over 768 bytes, which is more than any error that a server sends
# unasked.
_TLS_TYPES = range(20, 24)
_TLS_HEADER = 5

# Length in three bytes, number. Compressed ones: length, number, length when it is not compressed.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
_HEADER, _COMPRESSED_HEADER = 4, 7


class Arrived(enum.Enum):
    """How much of an answer there is."""

    WHOLE = enum.auto()
    PART = enum.auto()
    NONSENSE = enum.auto()


def looks_like_tls(start: bytes) -> bool:
    """Whether bytes begin like a TLS record."""
    return len(start) >= 2 and start[0] in _TLS_TYPES and start[1] == 3


def arrived(found: bytes, before: int, *, compressed: bool) -> Arrived:
    """How much there is of an answer, where ``before`` bytes were there before it was asked for.

    Of TLS only the records can be told, which may hold a session ticket: so one has to end later
    than those that were there before.
    """
    if looks_like_tls(found):
        return _arrived_by_tls(found, before)
    header = _COMPRESSED_HEADER if compressed else _HEADER
    whole = header + int.from_bytes(found[:3], "little")
    return Arrived.WHOLE if len(found) >= header and len(found) >= whole else Arrived.PART


def _arrived_by_tls(found: bytes, before: int) -> Arrived:
    end = 0
    while len(found) - end >= _TLS_HEADER:
        if not looks_like_tls(found[end:]):
            return Arrived.NONSENSE
        following = end + _TLS_HEADER + int.from_bytes(found[end + 3 : end + 5], "big")
        if following > len(found):
            break
        end = following
    return Arrived.WHOLE if end > before else Arrived.PART
