"""The private server: what it says where it cannot be had, and which one is taken."""

import os
from pathlib import Path

import pytest

from tests.server import (
    PrivateServer,
    ServerError,
    server_from_environment_or_private,
    wanted_flavour,
)
from tests.server.flavours import needs_sha2


@pytest.mark.parametrize(
    ("name", "remedies"),
    [
        (
            "mariadb",
            [
                "apt-get install mariadb-server-core",
                "dnf install mariadb-server",
                "brew install mariadb",
            ],
        ),
        ("mysql", ["scripts/fetch-mysql"]),
    ],
)
def test_a_missing_server_names_what_to_do(
    name: str, remedies: list[str], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(temporary))
    monkeypatch.setattr("tests.server.flavours.SYSTEM_DIRECTORIES", ())
    monkeypatch.setattr("tests.server.flavours.SERVERS", temporary)
    with pytest.raises(ServerError) as caught:
        PrivateServer(flavour=name).start()
    for remedy in [*remedies, "DATABASE_HOST"]:
        assert remedy in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_mariadb_under_another_name_is_not_taken_for_mysql(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's package of MariaDB has a program called mysqld as well."""
    programs = temporary / "programs"
    programs.mkdir()
    mysqld = programs / "mysqld"
    mysqld.write_text("#!/bin/sh\necho 'mysqld  Ver 10.11.14-MariaDB for debian-linux-gnu'\n")
    mysqld.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tests.server.flavours.SYSTEM_DIRECTORIES", ())
    monkeypatch.setattr("tests.server.flavours.SERVERS", temporary)
    with pytest.raises(ServerError, match="not installed"):
        PrivateServer(flavour="mysql").start()


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("9.7.4", True),
        ("10.0.1", True),
        ("8.4.9", False),
        ("3.4.10", False),
        ("10.1.48-MariaDB", False),
        ("", False),
    ],
)
def test_oracles_client_library_without_native_passwords_is_known_by_its_version(
    version: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.server.flavours.client_version", lambda: version)
    assert needs_sha2() is wanted


def test_a_flavour_that_is_unknown_is_refused() -> None:
    with pytest.raises(ServerError, match="must be one of mariadb, mysql, not 'oracle'"):
        wanted_flavour({"MYSQLPOOL_SERVER": "oracle"})
    assert wanted_flavour({}) == "mariadb"
    assert wanted_flavour({"MYSQLPOOL_SERVER": "mysql"}) == "mysql"


def test_a_server_in_the_environment_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_HOST", "db.example")
    monkeypatch.setenv("DATABASE_PORT", "3307")
    monkeypatch.setenv("DATABASE_USER", "me")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("DATABASE_NAME", "files")
    with server_from_environment_or_private() as server:
        assert not isinstance(server, PrivateServer)
        assert server.environ() == {
            "DATABASE_HOST": "db.example",
            "DATABASE_PORT": "3307",
            "DATABASE_USER": "me",
            "DATABASE_PASSWORD": "secret",
            "DATABASE_NAME": "files",
        }
