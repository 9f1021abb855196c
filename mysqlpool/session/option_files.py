"""What option files say of TLS, where ``read_default_file`` or ``read_default_group`` names them.

The client library reads them itself while it connects, and does not tell what it found. The rules
are those of MariaDB's library (its ``ma_default.c``) and of the chapter "Using Option Files" of
MySQL's manual.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import library

__all__ = ["Option", "read"]

# With one of these MariaDB's library tries TLS, and Oracle's does so in any case.
_MATERIAL = frozenset({"ssl-ca", "ssl-capath", "ssl-cert", "ssl-key", "ssl-cipher"})
_ENFORCE = frozenset({"ssl", "ssl-enforce"})
_VERIFY = frozenset({"ssl-verify-server-cert", "ssl-verify-peer"})
_OFF = frozenset({"0", "off", "false", "no"})

_GROUP = re.compile(r"\[ (?P<name> [^\]]* ) \]", re.VERBOSE)
_INCLUDE = re.compile(r"! (?P<kind> include | includedir ) \s+ (?P<path> .* )", re.VERBOSE)
_DEPTH = 10  # of files that include each other


@dataclass(frozen=True)
class Option:
    """One option about TLS, the value without its quotes; and where it stands."""

    name: str
    value: str
    path: Path

    @property
    def named(self) -> str:
        return f"{self.name} in {self.path}"

    @property
    def asks_for_tls(self) -> bool:
        if self.name in _MATERIAL:
            return self.value != ""
        return self.name in _ENFORCE | _VERIFY and self.value.lower() not in _OFF

    @property
    def verifies(self) -> bool:
        """Whether MariaDB's library verifies the server for it, which takes a number."""
        return self.name in _VERIFY and self.value.isdecimal() and int(self.value) != 0


def read(parameters: Mapping[str, Any]) -> dict[str, Option]:
    """The options about TLS that the client library would read, the last of each name."""
    file, group = (parameters.get(name) for name in ("read_default_file", "read_default_group"))
    if file is None and group is None:
        return {}
    groups = {"client", group}
    if library.is_mariadbs():
        groups |= {"client-server", "client-mariadb"}
    paths = [Path(file)] if file else _default_files()
    return {option.name: option for path in paths for option in _options(path, groups, _DEPTH)}


def _default_files() -> list[Path]:
    """Where both libraries look on Unix, in their order."""
    home = os.environ.get("MARIADB_HOME") or os.environ.get("MYSQL_HOME")
    folders = ["/etc", "/etc/mysql", *([home] if home else [])]
    own = os.path.expanduser("~/.my.cnf")
    return [*(Path(folder, "my.cnf") for folder in folders), Path(own)]


def _options(path: Path, groups: set[Any], depth: int) -> Iterator[Option]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return  # What we cannot read, the library in this process cannot read either.
    inside = False
    for line in map(str.strip, lines):
        if match := _GROUP.match(line):
            inside = match["name"].strip() in groups
        elif match := _INCLUDE.fullmatch(line):
            for included in _included(match["kind"], Path(match["path"])) if depth else ():
                yield from _options(included, groups, depth - 1)
        elif inside and line[:1] not in ("", "#", ";", "!"):
            name, _, value = line.partition("=")
            yield from _about_tls(name, value, path)


def _included(kind: str, path: Path) -> list[Path]:
    return [path] if kind == "include" else sorted(path.glob("*.cnf"))


def _about_tls(name: str, value: str, path: Path) -> Iterator[Option]:
    name = name.strip().lower().replace("_", "-").removeprefix("loose-")
    name = re.sub("^tls-", "ssl-", name)
    if name in _MATERIAL | _ENFORCE | _VERIFY | {"ssl-mode"}:
        yield Option(name, value.partition(" #")[0].strip().strip("'\""), path)
