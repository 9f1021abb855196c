"""scripts/size: the arithmetic of sessions, what is said of it, and the examples of the docs."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shlex
import subprocess
from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlpool.conf.settings import parse_pool_settings
from scripts.sizing import WAIT, Fleet, Load, Server, answer, main, needed_for, waiting
from tests.clusters import galera
from tests.documents import blocks_of
from tests.helpers import HANG, ROOT

CLUSTERS = (ROOT / "docs" / "clusters.rst").read_text(encoding="utf-8")

FLEETS = st.builds(
    Fleet,
    hosts=st.integers(1, 1000),
    processes=st.integers(1, 50),
    threads=st.integers(1, 100),
    pool_size=st.integers(1, 50),
    max_overflow=st.integers(0, 20),
    overlap=st.integers(0, 200),
    lease=st.sampled_from(["transaction", "task"]),
)
SERVERS = st.builds(Server, st.integers(101, 100_000), st.integers(0, 100))


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/size", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=HANG
    )


# Little and Erlang


def test_the_formula_is_that_of_the_textbooks() -> None:
    # With one session, M/M/1, the wait is rho / (1 - rho); with two, rho^2 / (1 - rho^2).
    assert waiting(1, 0.5) == pytest.approx(1.0)
    assert waiting(2, 1.0) == pytest.approx(1 / 3)
    assert waiting(3, 3.0) == math.inf


def test_the_formula_agrees_with_a_queue_that_is_played_through() -> None:
    chance = random.Random(7)
    sessions, held, now, waited, tasks = 4, 3.0, 0.0, 0.0, 60_000
    free: list[float] = [0.0] * sessions  # when each session is back
    for _ in range(tasks):
        now += chance.expovariate(held)
        start = max(now, heappop(free))
        waited += start - now
        heappush(free, start + chance.expovariate(1.0))
    assert waiting(sessions, held) == pytest.approx(waited / tasks, rel=0.1)


@given(st.floats(0.001, 300), st.integers(1, 400))
def test_what_is_needed_is_the_least_that_is_enough_and_no_more_than_threads(
    held: float, threads: int
) -> None:
    needed = needed_for(held, threads)
    assert 1 <= needed <= threads
    if needed < threads:
        assert waiting(needed, held) <= WAIT + 1e-9
    if needed > 1:
        assert waiting(needed - 1, held) > WAIT


@given(st.floats(0.001, 2e9))
def test_however_many_they_are_ten_more_than_are_held_are_enough(held: float) -> None:
    assert held <= needed_for(held, 10**12) <= held + 11


# Counting


def test_old_and_new_processes_count_during_a_deployment() -> None:
    server = Server(max_connections=500, reserve=20)
    found = answer(Fleet(hosts=2, processes=6, threads=32, pool_size=8, max_overflow=2), server)
    assert (found.processes, found.sessions, found.room) == (24, 240, 480)
    assert (found.verdict, found.remedies) == ("OK", ())
    assert answer(Fleet(3, 5, 32, overlap=10), server).processes == 17  # 1.5 processes are two


@given(FLEETS, SERVERS)
def test_the_limit_that_is_named_fits_and_one_more_does_not(fleet: Fleet, server: Server) -> None:
    found = answer(fleet, server)
    assert found.fitting * found.processes <= server.room
    assert (found.fitting + 1) * found.processes > server.room
    assert (found.verdict == "OK") == (fleet.limit <= found.fitting)
    assert bool(found.remedies) == (found.verdict != "OK")


@given(FLEETS, SERVERS)
def test_the_overlap_that_is_named_fits(fleet: Fleet, server: Server) -> None:
    for remedy in answer(fleet, server).remedies:
        if remedy.startswith("Deploy"):
            overlap = int(remedy.partition("--overlap ")[2].rstrip(")."))
            other = Fleet(
                fleet.hosts,
                fleet.processes,
                fleet.threads,
                fleet.pool_size,
                fleet.max_overflow,
                overlap,
            )
            assert answer(other, server).verdict == "OK"


@given(FLEETS, SERVERS, st.integers(1, 200_000))
def test_an_account_with_a_limit_never_has_more(fleet: Fleet, server: Server, limit: int) -> None:
    bounded = Server(server.max_connections, server.reserve, limit)
    found = answer(fleet, bounded)
    assert found.sessions == min(limit, answer(fleet, server).sessions)
    assert (found.verdict == "OK") == (found.sessions <= server.room)


# Remedies

LOAD = Load(requests=40, database_ms=5, request_ms=100)
SERVER = Server(max_connections=1000, reserve=50)


def words(fleet: Fleet, server: Server = SERVER, load: Load | None = LOAD) -> str:
    return "\n".join(answer(fleet, server, load).remedies)


def test_a_pool_has_no_more_sessions_than_threads() -> None:
    assert "No more than 2 threads can hold a session: pool_size 2." in words(Fleet(50, 4, 2))


def test_a_smaller_pool_is_enough_where_the_load_says_so() -> None:
    said = words(Fleet(30, 4, 8, 8, overlap=25))
    assert "A limit of 6 a process would fit and be enough, with either lease." in said
    assert "proxy" not in said


def test_transaction_tenure_is_named_where_the_other_would_not_fit() -> None:
    said = words(Fleet(100, 4, 8, 8, overlap=25))
    assert 'enough with lease="transaction", which needs 1. "task" needs 3' in said


def test_a_proxy_pays_where_not_each_process_can_have_what_it_needs() -> None:
    said = words(Fleet(1000, 4, 8, 8, overlap=25))
    assert "Not even one session for each process fits." in said
    assert "A proxy that multiplexes pays: shared by all, 206 sessions are enough." in said


def test_no_proxy_helps_where_the_load_is_too_much_for_the_server() -> None:
    (said,) = answer(Fleet(1000, 4, 8), SERVER, Load(40, 50, 100)).remedies
    assert said.startswith("The load needs 2008 sessions even if all processes share them.")


def test_a_pool_that_is_too_small_for_its_load_is_no_fit() -> None:
    found = answer(Fleet(1, 4, 8, pool_size=2, lease="task"), SERVER, LOAD)
    assert found.verdict == "too few"
    assert found.remedies == (
        'lease="transaction" needs 1 a process, "task" 3.',
        "A limit of 3 a process would do, and fits: pool_size 3.",
    )


def test_an_account_with_less_than_the_load_needs_is_no_fit() -> None:
    found = answer(Fleet(100, 4, 8), Server(1000, 50, user_limit=20), LOAD)
    assert found.verdict == "too few"
    assert found.remedies == ("The load needs 24 sessions: a MAX_USER_CONNECTIONS of that.",)


# The command

ARGUMENTS = ("--hosts", "1", "30", "--processes", "4", "--threads", "8")


def test_the_command_is_a_program_and_exits_with_1_where_something_does_not_fit() -> None:
    assert os.access(ROOT / "scripts" / "size", os.X_OK)
    assert ran(*ARGUMENTS, "--max-connections", "2500").returncode == 0
    result = ran(*ARGUMENTS)
    assert (result.returncode, result.stderr) == (1, "")
    assert "hosts 30, too many:" in result.stdout


def test_json_has_what_the_table_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--json"]) == 1
    one, thirty = json.loads(capsys.readouterr().out)
    assert (one["hosts"], one["sessions"], one["verdict"]) == (1, 80, "OK")
    assert (thirty["fitting"], thirty["shared"], thirty["verdict"]) == (0, None, "too many")
    assert thirty["remedies"][0] == "Not even one session for each process fits."


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--hosts 0", "argument --hosts: must be from 1 to 1000000, not 0"),
        ("--threads many", "argument --threads: invalid integer value: 'many'"),
        ("--overlap -1", "argument --overlap: must be from 0 to 1000000, not -1"),
        ("--lease forever", "argument --lease: invalid choice: 'forever'"),
        ("--requests nan", "argument --requests: must be more than 0"),
        ("--requests 5", "--requests, --database-ms and --request-ms go together"),
        ("--reserve 200", "of 151 max_connections a reserve of 200 leaves none"),
        (
            "--requests 1 --database-ms 9 --request-ms 8",
            "a request of 8 ms cannot be in the database for 9 ms",
        ),
        (
            "--requests 400 --database-ms 9 --request-ms 100",
            "400 requests a second of 100 ms keep 10.0 threads of a process busy, which has 8",
        ),
    ],
)
def test_bad_input_is_refused(
    arguments: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*ARGUMENTS, *arguments.split()])
    assert f"scripts/size: error: {error}" in capsys.readouterr().err


# docs/clusters.rst


def examples() -> list[tuple[str, str]]:
    """The commands that the docs show, and what they show as the answer."""
    found = []
    lines = iter(CLUSTERS.splitlines())
    for line in lines:
        if line.startswith("    $ scripts/size"):
            command = line.removeprefix("    $ ")
            while command.endswith("\\"):
                command = command[:-1] + next(lines)
            shown: list[str] = []
            for text in lines:
                if text and not text.startswith("    "):
                    break
                shown.append(text.removeprefix("    "))
            found.append((command, "\n".join(shown).strip("\n")))
    return found


def test_the_settings_that_the_docs_show_are_good() -> None:
    names: dict[str, Any] = {}
    shown = [block for block in blocks_of(CLUSTERS) if block.kind == "python"]
    assert len(shown) == CLUSTERS.count("code-block") == 5
    for block in shown:
        exec(compile(block.text, "docs/clusters.rst", "exec"), names)
        for alias, settings in names["DATABASES"].items():
            parse_pool_settings(alias, settings)


def test_the_check_of_haproxy_asks_what_the_docs_say() -> None:
    login, question = map(bytes.fromhex, re.findall(r"send-binary (\w+)", CLUSTERS))
    assert (login, question) == (galera.login(), galera.question())  # As tests/clusters does.
    for packet, number in ((login, 1), (question, 0)):
        assert packet[:4] == len(packet[4:]).to_bytes(3, "little") + bytes([number])
    assert login.endswith(b"haproxy\0\0")
    query = question[4:].removeprefix(b"\x03").decode()
    assert f"``{query}``" in CLUSTERS


def test_the_docs_show_what_the_script_prints() -> None:
    shown = examples()
    assert len(shown) == CLUSTERS.count("$ scripts/size") > 0
    for command, output in shown:
        printed = ran(*shlex.split(command)[1:])
        assert printed.stderr == ""
        assert output == printed.stdout.strip("\n")
