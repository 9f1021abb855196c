"""The command ``manage.py mysqlpool``, and how ``check`` speaks. No server is asked."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import connections

from mysqlpool.checks import Comparison, Demand, Finding, Level
from mysqlpool.conf.settings import parse_pool_settings
from mysqlpool.management import check
from mysqlpool.management.commands.mysqlpool import SUBCOMMANDS, Command
from mysqlpool.management.terminal import terminal

GOOD = Finding(Level.OK, "TLS", "in use: [bold]TLSv1.3[/bold]")
POOR = Finding(Level.WARN, "wait_timeout", "is short", "Set 'max_idle' below it.")
BAD = Finding(Level.FAIL, "account", "may have 3", "Make pool_size smaller.", "mysqlpool.W014")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Demand]]:
    """What was asked for. The answers are one finding of each level, and the last alias is good."""
    requests: list[tuple[list[str], Demand]] = []

    def compare(aliases: Iterable[str], demand: Demand) -> Iterator[Comparison]:
        requests.append((list(aliases), demand))
        for alias in aliases:
            pool = parse_pool_settings(alias, {})
            found = (GOOD,) if alias == "other" else (GOOD, POOR, BAD)
            yield Comparison(alias, "db:3306", pool, found)

    monkeypatch.setattr(check, "compare", compare)
    return requests


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("mysqlpool", "check", *arguments, stdout=out, **options)
    return out.getvalue()


# The frame


def test_a_subcommand_is_wanted_and_one_that_exists() -> None:
    with pytest.raises(CommandError, match="SUBCOMMAND"):
        call_command("mysqlpool")
    with pytest.raises(CommandError, match="invalid choice: 'chek'"):
        call_command("mysqlpool", "chek")


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_djangos_own_options_may_follow_the_subcommand(name: str) -> None:
    parser = Command().create_parser("manage.py", "mysqlpool")
    before = parser.parse_args(["-v", "2", "--no-color", "--settings", "one", name])
    after = parser.parse_args([name, "-v", "2", "--no-color", "--settings", "one"])
    assert vars(before) == vars(after)
    assert (after.verbosity, after.no_color, after.settings) == (2, True, "one")
    assert parser.parse_args([name]).verbosity == 1


def test_every_subcommand_has_a_line_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name, module in SUBCOMMANDS.items():
        parser = Command().create_parser("manage.py", "mysqlpool")
        with pytest.raises(SystemExit):
            parser.parse_args([name, "--help"])
        assert " ".join(module.HELP.split()) in " ".join(capsys.readouterr().out.split())


# check


def test_without_a_terminal_each_finding_is_a_line_of_text(
    asked: list[tuple[list[str], Demand]],
) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("mysqlpool", "check", "--database", "default", stdout=(out := StringIO()))
    assert out.getvalue().splitlines() == [
        "default: FairQueuePool, 'lease': 'transaction', on db:3306",
        "  OK    TLS: in use: [bold]TLSv1.3[/bold]",
        "  WARN  wait_timeout: is short",
        "        Remedy: Set 'max_idle' below it.",
        "  FAIL  account: may have 3",
        "        Remedy: Make pool_size smaller.",
    ]
    assert (str(caught.value), caught.value.returncode) == ("1 FAIL of 3 findings.", 1)


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ([], "1 FAIL of 4 findings."),
        (["--fail-level", "FAIL"], "1 FAIL of 4 findings."),
        (["--fail-level", "WARN"], "1 FAIL, 1 WARN of 4 findings."),
        (["--fail-level", "warn"], "1 FAIL, 1 WARN of 4 findings."),
        (["--database", "other", "--fail-level", "WARN"], None),
    ],
)
def test_it_fails_from_the_level_on_that_is_given(
    asked: list[tuple[list[str], Demand]], arguments: list[str], end: str | None
) -> None:
    if end is None:
        assert "OK" in run(*arguments)
    else:
        with pytest.raises(CommandError) as caught:
            run(*arguments)
        assert str(caught.value) == end


def test_a_warning_alone_is_no_failure(
    asked: list[tuple[list[str], Demand]], monkeypatch: pytest.MonkeyPatch
) -> None:
    only = Comparison("default", "db", parse_pool_settings("default", {}), (POOR,))
    monkeypatch.setattr(check, "compare", lambda aliases, demand: iter([only]))
    assert "WARN" in run()
    with pytest.raises(CommandError, match="1 WARN of 1 findings"):
        run(fail_level="WARN")


def test_all_our_aliases_are_checked_or_those_that_are_named(
    asked: list[tuple[list[str], Demand]],
) -> None:
    for arguments in ([], ["--database", "other"], ["--database", "other", "--database", "other"]):
        try:
            run(*arguments)
        except CommandError:
            continue
    run(database="other", processes=3)
    assert [aliases for aliases, _ in asked] == [["default", "other"], *[["other"]] * 3]
    assert asked[-1][1].processes == 3
    assert asked[0][1].processes is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--database nix", "DATABASES has no 'nix'; there are: default, other, stock"),
        ("--database stock", "'stock' is on django.db.backends.mysql and has no pool"),
        ("--processes 0", r"--processes must be 1 or more, not 0"),
        ("--processes many", r"invalid int value: 'many'"),
        ("--fail-level OK", r"invalid choice: 'OK'"),
    ],
)
def test_bad_arguments_are_refused_in_words(
    asked: list[tuple[list[str], Demand]], arguments: str, error: str
) -> None:
    with pytest.raises(CommandError, match=error):
        run(*arguments.split())
    assert asked == []


def test_where_no_alias_is_ours_the_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"default": {"ENGINE": "django.db.backends.mysql", "OPTIONS": {}}}
    monkeypatch.setitem(vars(connections), "settings", entries)
    with pytest.raises(CommandError, match=r"'ENGINE': 'mysqlpool\.backends\.mysqlpool'"):
        run()


# Terminals


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], StringIO]:
    """Call it in the test: pytest has another standard output for each phase."""

    def install() -> StringIO:
        out = StringIO()
        monkeypatch.setattr(out, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdout", out)
        return out

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    return install


def test_on_a_terminal_it_is_in_colours_and_takes_no_text_for_markup(
    asked: list[tuple[list[str], Demand]], screen: Callable[[], StringIO]
) -> None:
    out = screen()
    with pytest.raises(CommandError):
        call_command("mysqlpool", "check", "--database", "default")
    said = out.getvalue()
    assert "\x1b[1;31m FAIL\x1b[0m" in said
    assert "in use: [bold]TLSv1.3[/bold]" in said
    assert "Remedy: Make pool_size smaller." in said


def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ImportError("No module named 'rich'")
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_rich_it_is_plain_text(
    asked: list[tuple[list[str], Demand]],
    screen: Callable[[], StringIO],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_rich(monkeypatch)
    out = screen()
    call_command("mysqlpool", "check", "--database", "other")
    assert out.getvalue().endswith("  OK    TLS: in use: [bold]TLSv1.3[/bold]\n")


def test_no_color_and_another_output_are_plain_and_force_color_is_not(
    screen: Callable[[], StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    command: BaseCommand = Command()
    out = screen()
    assert terminal(command, {}) is not None
    assert terminal(command, {"no_color": True}) is None
    assert terminal(command, {"stdout": StringIO()}) is None
    monkeypatch.setattr(out, "isatty", lambda: False)
    assert terminal(command, {}) is None
    assert terminal(command, {"force_color": True}) is not None


def test_what_the_output_cannot_encode_is_escaped() -> None:
    raw = BytesIO()
    command = BaseCommand(stdout=TextIOWrapper(raw, encoding="latin-1", write_through=True))
    check.Plain(command).finding(Finding(Level.FAIL, "connect", "Unknown database \u043c"))
    assert b"Unknown database \\u043c" in raw.getvalue()


def test_an_address_of_ipv6_is_no_emoji() -> None:
    rich = pytest.importorskip("rich.console")
    console = rich.Console(file=StringIO(), force_terminal=True, width=80, highlight=False)
    check.Coloured(console).heading("on fd00:100::a:3306")
    assert "on fd00:100::a:3306" in console.file.getvalue()
