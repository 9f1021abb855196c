"""A statement without the values in it, for whoever shows statements to people."""

from __future__ import annotations

import re

__all__ = ["COMMENT", "FLAGS", "QUOTED", "STRING", "without_values"]

MAX_REDACTED = 4096

COMMENT = r"/\*.*?(?:\*/|\Z) | --(?=\s|\Z)[^\n]* | \#[^\n]*"
QUOTED = r"`[^`]*`"
STRING = r"'[^']*(?:'|\Z) | \"[^\"]*(?:\"|\Z)"
FLAGS = re.IGNORECASE | re.DOTALL | re.VERBOSE

# An identifier is matched so that its digits are not taken for a number.
_TO_REDACT = re.compile(
    rf"(?P<comment>{COMMENT})"
    rf"|(?P<literal>{STRING} | \d[\w.]* | \b(?:TRUE|FALSE)\b)"
    rf"|{QUOTED} | [^\W\d][\w$]*",
    FLAGS,
)


def without_values(sql: str) -> str | None:
    """The statement without comments and with ``?`` for each literal, cut to 4096 characters.

    None if it has a backslash: then the SQL mode decides where a string ends.
    """
    if "\\" in sql:
        return None
    return _TO_REDACT.sub(_without_value, sql[:MAX_REDACTED]).strip()


def _without_value(match: re.Match[str]) -> str:
    if match["comment"] is not None:
        return " "
    return match[0] if match["literal"] is None else "?"
