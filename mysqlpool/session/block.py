"""A transaction that begins with its first statement, and the savepoints that wait for one.

Until then nothing of it has been sent. `Block` knows what has to go out before the next statement,
and which savepoints need never go out: those in which nothing happened.

The server's autocommit stays on meanwhile. So where the server ends the transaction by itself, what
follows would be committed statement by statement, and not be a new transaction as with autocommit
off. After an error that is not known to leave the transaction open the block is *in doubt*, and so
it is after a statement whose end nobody has told: its error may have been any.
"""

from __future__ import annotations

import re

__all__ = ["START", "Block"]

START = b"START TRANSACTION"

# As Django writes them (see DatabaseOperations.savepoint_*_sql()), perhaps with a trace in a
# comment. Others are like any statement.
_COMMENTS = r"\s*(?:/\*(?![!+M])[^*]*\*/\s*)*"
_SAVEPOINT = re.compile(
    rf"{_COMMENTS}(?P<verb>SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT)"
    rf" `(?P<name>\w{{1,64}})`{_COMMENTS}",
    re.ASCII,
)

# Errors that undo their statement, and leave the transaction open: the server finds them above its
# storage engine, or as it changes rows ("InnoDB Error Handling" in MySQL's manual: "A duplicate-key
# error rolls back the SQL statement", and most others "roll back the corresponding SQL statement").
# tests/server/session/test_block.py asks both servers for each.
HARMLESS = frozenset(
    {
        1048,  # ER_BAD_NULL_ERROR
        1052,  # ER_NON_UNIQ_ERROR
        1054,  # ER_BAD_FIELD_ERROR
        1062,  # ER_DUP_ENTRY
        1064,  # ER_PARSE_ERROR
        1136,  # ER_WRONG_VALUE_COUNT_ON_ROW
        1146,  # ER_NO_SUCH_TABLE
        1242,  # ER_SUBQUERY_NO_1_ROW
        1264,  # ER_WARN_DATA_OUT_OF_RANGE
        1292,  # ER_TRUNCATED_WRONG_VALUE
        1364,  # ER_NO_DEFAULT_FOR_FIELD
        1366,  # ER_TRUNCATED_WRONG_VALUE_FOR_FIELD
        1406,  # ER_DATA_TOO_LONG
        1451,  # ER_ROW_IS_REFERENCED_2
        1452,  # ER_NO_REFERENCED_ROW_2
        1690,  # ER_DATA_OUT_OF_RANGE
        3819,  # ER_CHECK_CONSTRAINT_VIOLATED, MySQL's
        4025,  # ER_CONSTRAINT_FAILED, MariaDB's
    }
)


class Block:
    """What was asked of the server in a transaction that may not have begun yet."""

    __slots__ = ("begun", "in_doubt", "savepoints", "unanswered", "unsent")

    begun: bool
    """Whether ``START TRANSACTION`` has been answered, so that there is something to end."""

    in_doubt: bool
    """Whether the server may have ended the transaction by itself."""

    unanswered: bool
    """Whether a statement was sent, and nobody has told yet how it ended.

    It stays so where a signal handler raised meanwhile, and where a cursor is not one of ours.
    """

    savepoints: list[str]
    """Those that exist in the application's eyes, the outermost first."""

    unsent: list[str]
    """What was said about savepoints, in its order, and has to be sent before a statement."""

    def __init__(self) -> None:
        self.savepoints, self.unsent = [], []
        self.begun = self.in_doubt = self.unanswered = False

    def doubted(self) -> bool:
        """Whether it is in doubt, also as nobody has told how the last statement ended."""
        if self.unanswered:
            self.in_doubt, self.unanswered = True, False
        return self.in_doubt

    def ahead(self) -> list[bytes]:
        """What has to be sent before a statement of this transaction."""
        start = [] if self.begun else [START]
        return [*start, *(sql.encode() for sql in self.unsent)]

    def sent(self) -> None:
        """The first of `ahead` has been done."""
        if self.begun:
            del self.unsent[0]
        else:
            self.begun = True

    def keeps(self, sql: str) -> bool:
        """Whether a statement about a savepoint can wait. It counts as executed then."""
        match = None if self.doubted() else _SAVEPOINT.fullmatch(sql)
        if match is None:
            return False
        name, verb = match["name"].lower(), match["verb"]
        if verb == "SAVEPOINT":
            return self._keep_savepoint(name, sql)
        if name not in self.savepoints:
            return False  # The server has the words for that.
        if verb == "RELEASE SAVEPOINT":
            self._keep_release(name, sql)
            return True
        return self._keep_rollback(name)

    def returns(self, sql: bytes) -> bool:
        """Whether a statement goes back to a savepoint that the server has made.

        It undoes the later ones, so what waits of them need not be sent.
        """
        match = _SAVEPOINT.fullmatch(sql.decode("ascii", "replace"))
        if match is None or match["verb"] != "ROLLBACK TO SAVEPOINT":
            return False
        name = match["name"].lower()
        if name not in self.savepoints or self._waiting(name) is not None:
            return False
        del self.savepoints[self.savepoints.index(name) + 1 :]
        self.unsent = []
        return True

    def _keep_savepoint(self, name: str, sql: str) -> bool:
        if name in self.savepoints:
            return False  # It would replace the other one.
        self.savepoints.append(name)
        self.unsent.append(sql)
        return True

    def _keep_release(self, name: str, sql: str) -> None:
        """With a savepoint go those that were made in it, and what is unsent of them."""
        waiting = self._waiting(name)
        if waiting is None:
            self.unsent = [sql]
        else:
            del self.unsent[waiting:]
        del self.savepoints[self.savepoints.index(name) :]

    def _keep_rollback(self, name: str) -> bool:
        """Where a savepoint was not sent, nothing has happened in it."""
        waiting = self._waiting(name)
        if waiting is None:
            return False
        del self.savepoints[self.savepoints.index(name) + 1 :]
        del self.unsent[waiting + 1 :]
        return True

    def _waiting(self, name: str) -> int | None:
        """Where in `unsent` the savepoint is made; None where the server has made it."""
        for position, sql in enumerate(self.unsent):
            match = _SAVEPOINT.fullmatch(sql)
            if match is not None and (match["verb"], match["name"].lower()) == ("SAVEPOINT", name):
                return position
        return None

    def note(self, error: BaseException) -> None:
        """An error came. One without a number was raised before anything was sent."""
        number = error.args[0] if error.args else None
        if isinstance(number, int):
            self.unanswered = False
            self.in_doubt = self.in_doubt or number not in HARMLESS

    def restart(self) -> None:
        """A COMMIT or a ROLLBACK ended the transaction. The next one begins in the same way."""
        self.__init__()  # type: ignore[misc]
