"""``HOST`` with several servers: what is read, and how everything else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from mysqlpool.conf.servers import Server, one_server, parse_servers, servers_in, written
from mysqlpool.conf.settings import parse_pool_settings

PLACE = "DATABASES['default']"


def parse(host: Any, port: Any = "", options: Any = ()) -> tuple[Server, ...] | None:
    return parse_servers(PLACE, {"HOST": host, "PORT": port, "OPTIONS": dict(options)})


@pytest.mark.parametrize("host", ["", "db1", "db1:3307", "[::1]:3306", "/run/mysqld.sock", "::1"])
def test_a_single_host_is_djangos(host: str) -> None:
    assert parse(host) is None
    settings = {"HOST": host, "PORT": "1"}
    assert one_server(settings, PLACE) is settings


LIST: tuple[Server, ...] = (("db1", 3310), ("db2", 3307), ("2001:db8::3", 3310), ("::1", 4), "/a/s")


@pytest.mark.parametrize("kind", [list, tuple, ",".join, " , ".join])
@pytest.mark.parametrize("port", [3310, "3310"])
def test_each_way_to_list_servers_means_the_same(kind: Any, port: Any) -> None:
    assert parse(kind(["db1", "db2:3307", "[2001:db8::3]", "[::1]:4", "/a/s"]), port) == LIST


def test_a_list_may_name_one_server_and_needs_no_port() -> None:
    assert parse(["db1"]) == (("db1", 3306),)


def test_what_is_written_for_the_driver_is_read_as_the_same_servers() -> None:
    assert written(LIST) == "db1:3310,db2:3307,[2001:db8::3]:3310,[::1]:4,/a/s"
    assert servers_in(written(LIST)) == LIST


def test_programs_that_know_one_server_get_the_first() -> None:
    settings = {"HOST": "db1:3307,db2", "PORT": "3310", "NAME": "shop"}
    assert one_server(settings, PLACE) == {"HOST": "db1", "PORT": "3307", "NAME": "shop"}
    assert settings["HOST"] == "db1:3307,db2"
    assert one_server({"HOST": ["/a/s", "db2"]}, PLACE) == {"HOST": "/a/s", "PORT": ""}


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ([], "none may be missing"),
        ("db1,", "not empty"),
        (["db1", ""], "not empty"),
        (["db1", 3306], "must be a string"),
        (["db1", None], "must be a string"),
        (["db1,db2"], "has a comma"),
        (["/a,b"], "has a comma"),
        ("db1,db1:3306", "there twice"),
        ("db1:0,db2", "a port is a number"),
        ("db1:65536,db2", "a port is a number"),
        ("db1:port,db2", "a port is a number"),
        ("db1:,db2", "is no host"),
        (":3306,db2", "is no host"),
        ("db 1,db2", "is no host"),
        ("user@db1,db2", "is no host"),
        ("tcp://db1,db2", "IPv6|is no host|a port"),
        ("::1,db2", "stands in brackets"),
        ("[::1,db2", "no address in brackets"),
        ("[::1]3306,db2", "no address in brackets"),
        ("[::1]:,db2", "no address in brackets"),
        ("[db1],db2", "db1"),
    ],
)
def test_what_is_no_server_is_refused_with_its_reason(host: Any, why: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=why) as caught:
        parse(host)
    assert str(caught.value).startswith(f"{PLACE}['HOST'] must be a list of ")
    assert repr(host) in str(caught.value)


@pytest.mark.parametrize(
    "host", ["shop:s3cret@db1,db2", ["shop:s3cret@db1"], "mysql://shop:s3cret@db1:3306,db2"]
)
def test_a_password_in_it_is_not_shown(host: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="no account stands in it") as caught:
        parse(host)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", [None, 3306, {"db1": 3306}, b"db1,db2"])
def test_a_host_that_is_no_string_and_no_list_is_refused(host: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be a string or a list"):
        parse(host)


@pytest.mark.parametrize("name", ["host", "port", "unix_socket"])
def test_options_may_not_name_another_server_beside_a_list(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"\['OPTIONS'\]\['{name}'\] must be left out"):
        parse("db1,db2", options={name: "db3"})


@pytest.mark.parametrize("port", ["abc", "3306,3307", 70000, -1, [3306], "33 06"])
def test_a_port_that_is_no_number_is_refused_beside_one_server_too(port: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"\['PORT'\] must be a number from 1 to 65535"):
        parse_pool_settings("default", {"HOST": "db1", "PORT": port})


@pytest.mark.parametrize("port", ["", None, 0, 3306, "3306", " 3306 "])
def test_a_port_that_django_takes_is_taken(port: Any) -> None:
    parse_pool_settings("default", {"HOST": "db1", "PORT": port})
