"""How much of an answer has arrived, told from the bytes alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlpool.session.answers import Arrived, arrived, looks_like_tls

OK = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"
COMPRESSED_OK = b"\x0b\x00\x00\x00\x00\x00\x00" + OK
TICKET = b"\x17\x03\x03\x00\x04abcd"
RECORD = b"\x17\x03\x03\x00\x06secret"


def how_much(found: bytes, before: int = 0, *, compressed: bool = False) -> Arrived:
    return arrived(found, before, compressed=compressed)


@pytest.mark.parametrize(
    ("whole", "compressed"), [(OK, False), (COMPRESSED_OK, True), (RECORD, False)]
)
def test_an_answer_is_whole_with_its_last_byte(whole: bytes, compressed: bool) -> None:
    for length in range(len(whole)):
        assert how_much(whole[:length], compressed=compressed) is Arrived.PART
    assert how_much(whole, compressed=compressed) is Arrived.WHOLE
    assert how_much(whole + b"more", compressed=compressed) is Arrived.WHOLE


def test_what_was_there_before_the_question_is_no_answer_to_it() -> None:
    assert how_much(TICKET, before=len(TICKET)) is Arrived.PART
    for length in range(len(RECORD)):
        assert how_much(TICKET + RECORD[:length], before=len(TICKET)) is Arrived.PART
    assert how_much(TICKET + RECORD, before=len(TICKET)) is Arrived.WHOLE


def test_a_part_of_a_ticket_may_have_been_there() -> None:
    assert how_much(TICKET, before=3) is Arrived.WHOLE  # Nobody can tell it from an answer.
    assert how_much(TICKET + RECORD[:2], before=len(TICKET)) is Arrived.PART


def test_what_looks_like_tls_and_goes_on_without_it_is_nonsense() -> None:
    assert how_much(TICKET + OK, before=len(TICKET)) is Arrived.NONSENSE


@given(st.binary(max_size=40), st.integers(0, 40), st.booleans())
def test_no_bytes_are_too_strange(found: bytes, before: int, compressed: bool) -> None:
    there = how_much(found, before, compressed=compressed)
    assert there in Arrived
    if there is Arrived.NONSENSE:
        assert looks_like_tls(found)
