"""Finding and reading files. Knows nothing of the database."""

import hashlib
import os
import stat
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass

CHUNK = 256 * 1024


class UnreadableError(Exception):
    """A file or folder that cannot be read, and why."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"{shown(path)}: {error.strerror or error}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file's content: bytes, newline bytes, and a digest in hexadecimal."""

    size: int
    lines: int
    sha256: str


def shown(path: str) -> str:
    r"""Return the path as text that any database and terminal takes, and no other path shares.

    A byte that is not UTF-8 is shown as ``\xff``, so a backslash must be shown as two.
    """
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to index, without the folders in it that have one of the names ``exclude``."""

    path: str
    exclude: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return shown(self.path)

    def walk(self, on_error: Callable[[OSError], None] | None = None) -> Iterator[str]:
        """Yield the path of all below the folder that is no folder.

        A link to a folder is not followed, since it may lead back up; a link to a file is.
        ``on_error`` is told of each folder that cannot be listed.
        """
        for directory, folders, names in os.walk(self.path, onerror=on_error):
            folders[:] = (name for name in folders if name not in self.exclude)
            for name in names:
                yield os.path.join(directory, name)


# Debian keeps site-packages elsewhere; other Pythons have other people's packages below it.
STANDARD_LIBRARY = Folder(
    os.path.realpath(sysconfig.get_path("stdlib")), frozenset({"site-packages"})
)


def read_facts(path: str, stopped: Callable[[], bool]) -> Facts:
    """Read a regular file to its end, without ever waiting for a writer.

    Raises UnreadableError for what is no regular file, has vanished or is forbidden, and
    CancelledError soon after ``stopped()`` has become true.
    """
    try:
        return _read(path, stopped)
    except OSError as error:
        raise UnreadableError(path, error) from error


def _read(path: str, stopped: Callable[[], bool]) -> Facts:
    # Looked at before, because merely opening a device can have an effect, and again when it is
    # open, because it may have been replaced meanwhile.
    _require_regular(os.stat(path))
    digest, size, lines = hashlib.sha256(), 0, 0
    with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
        _require_regular(os.fstat(file.fileno()))
        # os.read() raises where file.read() returns None: at once, if there are no data yet.
        while chunk := os.read(file.fileno(), CHUNK):
            if stopped():
                raise CancelledError
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    return Facts(size, lines, digest.hexdigest())


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
