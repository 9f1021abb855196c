"""How the server of a connection reads a text at present: its SQL mode and character set tell."""

from __future__ import annotations

from functools import cache

from MySQLdb import _mysql

from .statements import AsciiClassifier, Classifier

__all__ = ["ORDINARY", "classifier_of"]

# Their two-byte characters may end in a byte that is a backslash elsewhere (MySQL's manual,
# "Character Sets and Collations").
_AMBIGUOUS_CHARACTER_SETS = frozenset({"big5", "cp932", "gb18030", "gbk", "sjis"})

ORDINARY = Classifier()

# Of the rarer kinds, each is made when the first connection needs it.
_ascii = cache(AsciiClassifier)
_without_backslash_escapes = cache(lambda: Classifier(backslash_escapes=False))


def classifier_of(connection: _mysql.connection) -> Classifier:
    """What reads statements as that server does. Sends nothing."""
    if connection.character_set_name() in _AMBIGUOUS_CHARACTER_SETS:
        return _ascii()
    # The library escapes as the server reads: the status in every answer tells the library
    # whether the SQL mode has NO_BACKSLASH_ESCAPES.
    return ORDINARY if connection.escape_string(b"\\") == rb"\\" else _without_backslash_escapes()
