"""What asks for TLS, what verifies a server, and how TLS is told from plain text."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from mysqlpool.session import library, sockets, tls

CA = {"ca": "/etc/ssl/ca.pem"}


@pytest.fixture(params=[True, False], ids=["MariaDB's", "Oracle's"])
def mariadbs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Which client library there is."""
    wanted: bool = request.param
    monkeypatch.setattr(library, "is_mariadbs", lambda: wanted)
    return wanted


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, None),
        ({"host": "db", "password": "secret"}, None),
        ({"ssl": False}, None),
        ({"ssl": None}, None),
        ({"ssl": {}}, None),
        ({"ssl": True}, "ssl"),
        ({"ssl": CA}, "ssl"),
        ({"ssl": {"cipher": "AES256-SHA"}}, "ssl"),
        ({"ssl": {"no": "such key"}}, "ssl"),
        ({"ssl_mode": "DISABLED"}, None),
        ({"ssl_mode": "PREFERRED"}, None),
        ({"ssl_mode": "REQUIRED"}, "ssl_mode"),
        ({"ssl_mode": "VERIFY_CA"}, "ssl_mode"),
        ({"ssl_mode": "VERIFY_IDENTITY"}, "ssl_mode"),
        ({"ssl_mode": "REQUIRED", "ssl": False}, "ssl_mode"),
        ({"ssl_mode": "DISABLED", "ssl": True}, None),
        ({"ssl_mode": "PREFERRED", "ssl": CA}, None),
    ],
)
def test_the_mode_has_the_last_word_and_else_whatever_is_true(
    parameters: dict[str, Any], named: str | None
) -> None:
    assert tls.wants_tls(parameters) == named


@pytest.mark.parametrize(
    ("parameters", "by_mariadbs", "by_oracles"),
    [
        ({"ssl": True}, False, False),
        ({"ssl": CA}, False, False),
        ({"ssl_mode": "REQUIRED", "ssl": CA}, False, False),
        ({"ssl_mode": "VERIFY_CA", "ssl": CA}, True, False),
        ({"ssl_mode": "VERIFY_IDENTITY", "ssl": CA}, True, True),
    ],
)
def test_only_a_mode_verifies_whom_one_is_connected_to(
    mariadbs: bool, parameters: dict[str, Any], by_mariadbs: bool, by_oracles: bool
) -> None:
    assert tls.verifies_identity(parameters) is (by_mariadbs if mariadbs else by_oracles)


def test_the_library_is_told_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, mariadbs in (("3.3.20", True), ("3.4.10", True), ("8.0.40", False), ("9.7.4", 0)):
        monkeypatch.setattr(MySQLdb, "get_client_info", lambda version=version: version)
        assert library.is_mariadbs() is bool(mariadbs)


# Option files


@pytest.mark.parametrize(
    ("text", "asking"),
    [
        ("[client]\nssl-ca=/ca.pem", "ssl-ca"),
        ("[client]\n  ssl_ca = '/ca.pem'  ", "ssl-ca"),
        ("[client]\ntls-ca=/ca.pem", "ssl-ca"),
        ("[client]\nssl-ca=", None),
        ("[client]\n# ssl-ca=/ca.pem\n;ssl-ca=/ca.pem", None),
        ("[mysqld]\nssl-ca=/ca.pem\n[client]\nuser=me", None),
        ("[mysqld]\nuser=mysql\n[shop]\nssl-ca=/ca.pem", "ssl-ca"),
        ("[client]\nssl-mode=required", "ssl-mode"),
        ("[client]\nssl-mode=PREFERRED\nssl-ca=/ca.pem", None),
        ("[client]\nssl-mode=REQUIRED\n[shop]\nssl-mode=DISABLED", None),
        ("[client]\nssl", "ssl"),
        ("[client]\nssl=0", None),
        ("[client]\nssl-enforce=1", "ssl-enforce"),
        ("[client]\nssl-verify-server-cert", "ssl-verify-server-cert"),
        ("[client]\nssl-verify-server-cert=OFF", None),
        ("[client]\npassword=secret", None),
    ],
)
def test_an_option_file_asks_in_the_groups_that_the_library_reads(
    tmp_path: Path, text: str, asking: str | None
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(text)
    parameters = {"read_default_file": str(file), "read_default_group": "shop"}
    named = tls.wants_tls(parameters)
    assert named == (f"{asking} in {file}" if asking else None)


def test_the_parameters_are_stronger_than_an_option_file(tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text("[client]\nssl-mode=REQUIRED")
    assert tls.wants_tls({"read_default_file": str(file), "ssl_mode": "PREFERRED"}) is None
    assert tls.wants_tls({"read_default_file": str(file), "ssl": True}) == "ssl"


def test_groups_of_mariadbs_library_are_nothing_to_oracles(tmp_path: Path, mariadbs: bool) -> None:
    file = tmp_path / "my.cnf"
    file.write_text("[client-mariadb]\nssl-ca=/ca.pem")
    assert (tls.wants_tls({"read_default_file": str(file)}) is not None) is mariadbs


def test_files_that_a_file_includes_are_read_and_a_circle_ends(tmp_path: Path) -> None:
    file, folder = tmp_path / "my.cnf", tmp_path / "more"
    folder.mkdir()
    file.write_text(f"!include {tmp_path / 'circle.cnf'}\n!includedir {folder}\n")
    (tmp_path / "circle.cnf").write_text(f"!include {file}\n")
    assert tls.wants_tls({"read_default_file": str(file)}) is None
    (folder / "tls.cnf").write_text("[client]\nssl-mode=REQUIRED\n")
    assert tls.wants_tls({"read_default_file": str(file)}) == f"ssl-mode in {folder / 'tls.cnf'}"


def test_a_group_without_a_file_is_looked_for_where_the_library_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".my.cnf").write_text("[shop]\nssl-mode=REQUIRED\n")
    assert tls.wants_tls({}) is None
    named = tls.wants_tls({"read_default_group": "shop"})
    assert named == f"ssl-mode in {tmp_path / '.my.cnf'}"


def test_a_file_that_nobody_can_read_asks_for_nothing(tmp_path: Path) -> None:
    assert tls.wants_tls({"read_default_file": str(tmp_path / "none")}) is None


@pytest.mark.parametrize(
    ("text", "by_mariadbs", "by_oracles"),
    [
        ("ssl-ca=/ca.pem", False, False),
        ("ssl-ca=/ca.pem\nssl-mode=VERIFY_IDENTITY", False, True),
        ("ssl-ca=/ca.pem\nssl-mode=VERIFY_CA", False, False),
        ("ssl-ca=/ca.pem\nssl-verify-server-cert=1", True, False),
        ("ssl-ca=/ca.pem\nssl-verify-server-cert", False, False),
    ],
)
def test_what_verifies_in_an_option_file_is_another_word_for_each_library(
    tmp_path: Path, mariadbs: bool, text: str, by_mariadbs: bool, by_oracles: bool
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(f"[client]\n{text}\n")
    found = tls.verifies_identity({"read_default_file": str(file)})
    assert found is (by_mariadbs if mariadbs else by_oracles)


# The wire


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    ("start", "encrypted"),
    [
        (b"\x17\x03\x03\x00\x20", True),  # data
        (b"\x16\x03\x03\x00\x20", True),  # a handshake, such as a session ticket
        (b"\x07\x00\x00\x01\x00", False),  # OK
        (b"\x17\x00\x00\x01\xff", False),  # an error whose length is a record's type
        (b"\x48\x03\x00\x01\xff", False),  # an error whose length has a 3
    ],
)
def test_an_answer_tells_by_its_first_bytes_whether_it_is_encrypted(
    ends: tuple[socket.socket, socket.socket], start: bytes, encrypted: bool
) -> None:
    ours, theirs = ends
    theirs.sendall(start)
    watch = sockets.watch(ours.fileno())
    assert tls.answers_in_tls(ours.fileno(), watch, 10) is encrypted
    assert ours.recv(100) == start  # It is left to the driver.


def test_an_answer_that_drips_is_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(b"\x17")

    class Watch:
        asked = 0

        def poll(self, milliseconds: float, /) -> list[Any]:
            self.asked += 1
            if self.asked == 2:
                theirs.sendall(b"\x03")
            return [ours]

    assert tls.answers_in_tls(ours.fileno(), Watch(), 10)


def test_an_answer_that_never_comes_is_an_error_in_time(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    with pytest.raises(MySQLdb.OperationalError, match=r"2013.*within 0\.01 s"):
        tls.answers_in_tls(ours.fileno(), sockets.watch(ours.fileno()), 0.01)
    theirs.sendall(b"\x17")  # and no second byte
    with pytest.raises(MySQLdb.OperationalError, match="2013"):
        tls.answers_in_tls(ours.fileno(), sockets.watch(ours.fileno()), 0.01)


def test_the_end_of_a_connection_is_no_tls_and_left_to_the_driver_to_tell(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    theirs.close()
    assert not tls.answers_in_tls(ours.fileno(), sockets.watch(ours.fileno()), 10)
