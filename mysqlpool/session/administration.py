"""Statements that the server does for all of its sessions, and that leave nothing in this one.

Accounts and their rights, what is flushed without a lock, global variables, and programs that are
stored. Each was seen to leave the variables, locks, roles, user variables and the database of the
session that sent it as they were, on both servers: tests/server/session/test_administration.py.

Sources: the chapters "Account Management Statements", "FLUSH Statement", "Data Definition
Statements" and "Compound Statements" of the manual of MySQL 8.4, and the same of MariaDB's.
"""

import re
from functools import cache

from .assignments import GLOBALS
from .lexical import COMMENT, END, GAP, OPTIONAL, QUOTED, compiled

__all__ = ["administration"]

_COMMA = rf"{OPTIONAL} , {OPTIONAL}"
_STOPS = rf"{OPTIONAL} (?= ; | \Z )"
_OR_REPLACE = rf"(?: OR {GAP} REPLACE {GAP} )?+"

_PART = r"(?: [\w$]++ | `[^`]++` )"
_OBJECT = rf"{_PART} (?: {OPTIONAL} \. {OPTIONAL} {_PART} )?+"

# FLUSH TABLES WITH READ LOCK, or FOR EXPORT, takes locks.
_FLUSHED = rf"""(?: (?: (?: BINARY | ENGINE | ERROR | GENERAL | SLOW | RELAY ) {GAP} )?+ LOGS
  | (?: (?: SESSION | GLOBAL ) {GAP} )?+ STATUS | QUERY {GAP} CACHE | SSL
  | PRIVILEGES | HOSTS | USER_RESOURCES | OPTIMIZER_COSTS | USER_STATISTICS ) {END}"""
_FLUSH = rf"""FLUSH {GAP} (?: (?: LOCAL | NO_WRITE_TO_BINLOG ) {GAP} )?+ (?:
    {_FLUSHED} (?: {_COMMA} {_FLUSHED} )*+
  | TABLES?+ {END} (?: {GAP} {_OBJECT} (?: {_COMMA} {_OBJECT} )*+ )?+ )"""

_TEXT = r"'[^'\\]*+'"
_ACCOUNT_PART = rf"(?: {_PART} | {_TEXT} | \"[^\"\\]++\" )"
_ACCOUNT = rf"""(?: CURRENT_USER (?: {OPTIONAL} \( {OPTIONAL} \) )?+
  | {_ACCOUNT_PART} (?: @ {_ACCOUNT_PART} )?+ )"""
_AUTHORITY = rf"""(?: GRANT | REVOKE | (?: ALTER | DROP | RENAME ) {GAP} USER | DROP {GAP} ROLE
  | CREATE {GAP} {_OR_REPLACE} (?: USER | ROLE ) ) {END}"""
# MariaDB may assign other variables after a comma.
_PASSWORD = rf"""SET {GAP} PASSWORD {GAP} FOR {GAP} {_ACCOUNT} {OPTIONAL} = {OPTIONAL}
  (?: {_TEXT} | PASSWORD {OPTIONAL} \( {OPTIONAL} {_TEXT} {OPTIONAL} \) )"""

_NAME = rf"(?: IF {GAP} NOT {GAP} EXISTS {GAP} )?+ {_OBJECT}"
# An event's schedule is an expression that is evaluated when the event is made.
_AFTER = rf"{OPTIONAL} \+ {OPTIONAL} INTERVAL {GAP} [0-9]++ {GAP} [A-Z_]++"
_MOMENT = rf"""(?: {_TEXT} | CURRENT_TIMESTAMP (?: {OPTIONAL} \( {OPTIONAL} \) )?+
  | NOW {OPTIONAL} \( {OPTIONAL} \) ) (?: {_AFTER} )*+"""
_SCHEDULE = rf"""ON {GAP} SCHEDULE {GAP} (?: AT {GAP} {_MOMENT} | EVERY {GAP} [0-9]++ {GAP} [A-Z_]++
  (?: {GAP} STARTS {GAP} {_MOMENT} )?+ (?: {GAP} ENDS {GAP} {_MOMENT} )?+ )
  (?= {GAP} (?: DO | ON | ENABLE | DISABLE | COMMENT ) )"""

# What a program does is not done yet. The first semicolon may end it, and so what follows is taken
# for statements.
_DEFINER = rf"(?: DEFINER {OPTIONAL} = {OPTIONAL} {_ACCOUNT} {GAP} )?+"
_PROGRAM = rf"""(?:
    CREATE {GAP} {_OR_REPLACE} {_DEFINER} (?:
        (?: TRIGGER | (?: AGGREGATE {GAP} )?+ FUNCTION | PROCEDURE | SERVER )
      | EVENT {GAP} {_NAME} {GAP} {_SCHEDULE} )
  | ALTER {GAP} (?: PROCEDURE | FUNCTION | SERVER )
  | DROP {GAP} SERVER
) {END}"""

# A program with a block, as far as the BEGIN that is certainly the block's and no other name.
_WITHIN = r"""[^()'"`\#/\-;\\[]*+"""
_ARGUMENTS = rf"\( {_WITHIN} (?: \( {_WITHIN} \) {_WITHIN} )*+ \)"
_TYPE = rf"[A-Z]\w*+ (?: {OPTIONAL} \( [0-9,\x20]*+ \) )?+ (?: {GAP} UNSIGNED {END} )?+"
_MANNER = rf"""(?: {OPTIONAL} (?: (?: NOT {GAP} )?+ DETERMINISTIC | (?: CONTAINS | NO ) {GAP} SQL
  | (?: READS | MODIFIES ) {GAP} SQL {GAP} DATA | LANGUAGE {GAP} SQL | COMMENT {GAP} {_TEXT}
  | SQL {GAP} SECURITY {GAP} (?: DEFINER | INVOKER ) ) (?! [\w$] ) )*+"""
_BEGINS = rf"""CREATE {GAP} {_OR_REPLACE} {_DEFINER} (?:
    TRIGGER {GAP} {_NAME} {GAP} (?: BEFORE | AFTER ) {GAP} (?: INSERT | UPDATE | DELETE ) {GAP}
        ON {GAP} {_OBJECT} {GAP} FOR {GAP} EACH {GAP} ROW
  | PROCEDURE {GAP} {_NAME} {OPTIONAL} {_ARGUMENTS} {_MANNER}
  | FUNCTION {GAP} {_NAME} {OPTIONAL} {_ARGUMENTS} {OPTIONAL} RETURNS {GAP} {_TYPE} {_MANNER}
) {OPTIONAL} BEGIN {END}"""
# The first END that is not of one of these ends the block, or something within. Then the rest of
# the block is taken for statements, too.
_INNER_END = rf"END {GAP} (?: IF | CASE | LOOP | REPEAT | WHILE ) {END}"


def _rest(words: str, string: str) -> str:
    """What follows, as far as each quote, comment and semicolon in it is certain."""
    return rf"""(?: {words} | {string} | `[^`]*+` | "{QUOTED}" | {COMMENT}
      | -(?!-[\x00-\x20\x7f-\xff]) | /(?!\*) )*+"""


@cache
def administration(string: str) -> re.Pattern[bytes]:
    """What matches one such statement from its verb to its end.

    ``string`` matches a literal between single quotes. The first call takes more than a tenth of a
    second, in which the pattern is compiled.
    """
    # An account's name and host have an at-sign between them; before a user variable is a blank.
    account = r"""(?<= [\w$'"`] ) @ (?= [\w$'"`] )"""
    authority = _rest(rf"""[^@:'"`\#\-/;\\[]++ | {account}""", string)
    body = _rest(r"""[^'"`\#\-/;\\[]++""", string)
    word = r"[\w$\x80-\xff]++"
    block = _rest(
        rf"""[^\w$\x80-\xff'"`\#\-/\\[]++ | {_INNER_END} | (?! END {END} ) {word}""", string
    )
    return compiled(rf"""(?:
        {_FLUSH} | {GLOBALS} | {_PASSWORD} | {_AUTHORITY} {authority}
      | {_BEGINS} {block} END (?: {GAP} {_PART} )?+
      | (?! {_BEGINS} ) {_PROGRAM} {body}
    ) {_STOPS}""")
