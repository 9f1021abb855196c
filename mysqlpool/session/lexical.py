"""The smallest parts of an SQL text: what separates its words, and where a word ends.

Sources: the chapters "Lexical Structure" and "Language Structure" of the manuals of MariaDB 10.11
and MySQL 8.4.
"""

import re


def compiled(pattern: str) -> re.Pattern[bytes]:
    """A verbose pattern for the bytes of a statement, in which the letter case does not count."""
    return re.compile(pattern.encode(), re.VERBOSE | re.IGNORECASE | re.DOTALL)


# A version comment, /*! */ or /*M! */, is code and deliberately not among these, unless there is
# nothing in it. A "--" begins a comment only before a blank or a control character. A hint of
# MySQL's that sets the timestamp is not among these either: afterwards the server takes back a
# moment, and the clock stands still.
_CODE = r"M?! | \+ (?: (?! \*/ | TIMESTAMP ) . )*+ TIMESTAMP"
# Of six digits MySQL takes the last one for code, behind MariaDB's own sign none.
_NO_CODE = r"(?: ! (?: [0-9]{5} )?+ | M! (?: [0-9]{5,6} )?+ ) [\x00-\x20]*+ \*/"
COMMENT = rf"""(?: \#[^\n]*+ | --(?=[\x00-\x20]|\Z)[^\n]*+
  | /\*(?!{_CODE})(?:[^*]++|\*(?!/))*+\*/ | /\*{_NO_CODE} )"""
BLANK = rf"(?: [\x00-\x20]++ | {COMMENT} )"
GAP = rf"{BLANK}++"
OPTIONAL = rf"{BLANK}*+"
_COMMENT = compiled(COMMENT)
# What stands between double quotes, where it ends at the same place in every SQL mode.
QUOTED = r"""(?: [^"\\]++ | \\ [^"] )*+"""
END = r"(?![\w$\x80-\xff])"  # of a word; an identifier without quotes may hold all of these


def without_comments(sql: bytes) -> bytes:
    """A text without its comments. One with quotes stays, as they may hold what looks like one."""
    if any(quote in sql for quote in (b"'", b'"', b"`")):
        return sql
    return _COMMENT.sub(b" ", sql).strip()
