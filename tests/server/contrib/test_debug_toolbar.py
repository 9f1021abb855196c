"""The panel of django-debug-toolbar, on a site that has the toolbar, in processes of its own."""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections, transaction

from mysqlpool import release_connections
from mysqlpool.contrib.debug_toolbar import PoolPanel, _Recorder
from mysqlpool.pool import Lease
from tests.helpers import HANG, ROOT, lease_all

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "stock"])

LEASES = ("task", "transaction")


class Sites:
    """The processes that run scenarios, one for each kind of settings."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[str]] = {}

    def run(self, scenario: str, site: str) -> str:
        """What a scenario raised."""
        process = self.running.get(site) or self.start(site)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{scenario}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        return str(json.loads(answer)) if answer else "the process ended"

    def start(self, site: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.server.contrib.toolbar.settings",
            "SITE": site,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example")]),
        }
        process = self.running[site] = subprocess.Popen(
            [sys.executable, "-m", "tests.server.contrib.toolbar"],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return process

    def end(self) -> None:
        for process in self.running.values():
            process.communicate(timeout=HANG)


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    sites = Sites()
    yield sites
    sites.end()


Run = Callable[..., None]


@pytest.fixture
def run(sites: Sites) -> Run:
    """Runs one of `tests.server.contrib.toolbar.scenarios`, and fails if it does."""

    def run(scenario: str, lease: str = "transaction", pool: Any = None, **site: Any) -> None:
        names = {a: connections[a].settings_dict["NAME"] for a in ("default", "other", "stock")}
        options = {"pool_size": 3, "timeout": 10, "lease": lease, **(pool or {})}
        error = sites.run(scenario, json.dumps({"names": names, "pool": options, **site}))
        assert not error, error

    return run


@pytest.mark.parametrize("sql_panel", [True, False], ids=["sql", "alone"])
@pytest.mark.parametrize("lease", LEASES)
def test_a_request_shows_its_lease_its_place_and_its_session(
    run: Run, lease: str, sql_panel: bool
) -> None:
    run("a_request_that_reads", lease, sql_panel=sql_panel)


def test_all_panels_of_the_toolbar_may_be_on_too(run: Run) -> None:
    run("a_request_that_reads", all_panels=True)
    run("asynchronous", all_panels=True)


def test_the_panel_may_be_rendered_into_the_page(run: Run) -> None:
    run("in_the_page", render_panels=True)


def test_a_session_that_was_opened_for_the_request_is_told(run: Run) -> None:
    run("the_first_request_opens")


@pytest.mark.parametrize("sql_panel", [True, False], ids=["sql", "alone"])
@pytest.mark.parametrize("lease", LEASES)
def test_a_block_shows_the_round_trips_that_it_saved(run: Run, lease: str, sql_panel: bool) -> None:
    run("a_block_saves_round_trips", lease, sql_panel=sql_panel)


@pytest.mark.parametrize("lease", LEASES)
def test_requests_in_a_transaction_of_their_own_show_what_was_not_sent(
    run: Run, lease: str
) -> None:
    run("atomic_requests", lease, atomic_requests=True)


def test_each_database_has_its_line_and_those_of_other_engines_have_none(run: Run) -> None:
    run("several_databases")


def test_a_request_that_leased_nothing_says_so(run: Run) -> None:
    run("nothing_leased")


@pytest.mark.parametrize("lease", LEASES)
def test_a_discard_shows_the_statement_that_made_the_session_dirty_without_values(
    run: Run, lease: str
) -> None:
    run("what_made_it_dirty", lease)


@pytest.mark.parametrize("lease", LEASES)
def test_a_session_that_is_renewed_is_no_discard(run: Run, lease: str) -> None:
    run("what_is_renewed", lease)


def test_a_statement_whose_values_cannot_be_left_out_is_not_shown_and_a_long_one_is_cut(
    run: Run,
) -> None:
    run("what_cannot_be_shown")


@pytest.mark.parametrize("lease", LEASES)
def test_a_lease_that_ended_before_the_panel_is_made_is_told_as_it_ended(
    run: Run, lease: str
) -> None:
    run("an_ended_lease_is_told_as_it_ended", lease, toolbar_first=True)


def test_a_session_that_is_never_used_twice_is_told_as_discarded(run: Run) -> None:
    run("a_session_for_one_lease", "task", pool={"reset": "always"})


def test_a_lease_ends_once_also_where_its_end_was_interrupted() -> None:
    class Grantor:
        def give_back(self, lease: Lease) -> None:
            raise KeyboardInterrupt

        def discard(self, lease: Lease, reason: str) -> None:
            pass

    recorder, lease = _Recorder(), Lease(Grantor())  # type: ignore[arg-type]
    lease.session = SimpleNamespace(number=7, settled=True, witness=None)
    assert recorder.leasing("default", lambda: lease) is lease
    with pytest.raises(KeyboardInterrupt):
        lease.give_back()
    (before,) = recorder.as_dict()["leases"]
    lease.discard("interrupted")
    assert recorder.as_dict()["leases"] == [before]
    assert not before["is_held"]


def test_a_pool_that_was_closed_as_it_was_asked_is_no_lease() -> None:
    """The wrapper asks the next pool then."""
    recorder = _Recorder()
    assert recorder.leasing("default", lambda: None) is None
    assert recorder.as_dict()["total_leases"] == 0


def test_after_a_view_that_failed_nobody_looks_on(run: Run) -> None:
    run("an_error_ends_it")


def test_former_requests_are_shown_by_the_history(run: Run) -> None:
    run("history")


def test_the_panel_has_no_script_or_style_of_its_own(run: Run) -> None:
    run("no_inline_script_or_style")


@pytest.mark.parametrize("lease", LEASES)
def test_requests_at_once_show_only_their_own_leases(run: Run, lease: str) -> None:
    run("threads_at_once", lease)


def test_what_is_streamed_after_the_view_is_not_the_requests(run: Run) -> None:
    run("a_stream_is_not_looked_at")


@pytest.mark.parametrize("lease", LEASES)
def test_asynchronous_requests_at_once_show_only_their_own_leases(run: Run, lease: str) -> None:
    run("asynchronous", lease)


def test_a_sync_view_under_asgi_is_looked_at_in_its_thread(run: Run) -> None:
    run("a_sync_view_under_asgi")


def test_a_request_that_got_no_session_shows_for_how_long_it_asked(run: Run) -> None:
    run("a_full_pool", pool={"pool_size": 1, "timeout": 1})


def test_a_request_that_waited_shows_for_how_long(run: Run) -> None:
    run("a_wait", pool={"pool_size": 1})


@pytest.mark.parametrize("lease", LEASES)
def test_sqlalchemys_own_pool_shows_all_but_the_wait(run: Run, lease: str) -> None:
    run("sqlalchemys_pool", lease, pool={"class": "sqlalchemy.pool.QueuePool"})


def test_without_debug_the_figures_are_the_same(run: Run) -> None:
    run("without_debug", debug=False)


@pytest.mark.parametrize("lease", LEASES)
def test_where_no_panel_is_nothing_is_called_for_one(
    monkeypatch: pytest.MonkeyPatch, lease: str
) -> None:
    settings = connections["default"].settings_dict
    monkeypatch.setitem(settings, "OPTIONS", {"pool": {"pool_size": 1, "lease": lease}})

    def work() -> None:
        with transaction.atomic(), transaction.atomic():
            pass
        with transaction.atomic():
            lease_all("default")
        lease_all("default")
        release_connections()

    work()
    assert called(work) == set()
    panel = PoolPanel(None, None)
    panel.enable_instrumentation()
    assert {"leasing", "not_sent", "travelled", "give_back"} <= called(work)
    panel.disable_instrumentation()
    assert called(work) == set()


def called(function: Callable[[], object]) -> set[str]:
    """The functions that were called for the sake of who looks on."""
    profile = cProfile.Profile()
    profile.enable()
    function()
    profile.disable()
    stats: Any = pstats.Stats(profile)
    rooms = ("observers.py", "watching.py", "witnessed.py", "contrib/debug_toolbar.py")
    return {name for path, _, name in stats.stats if path.endswith(rooms)}
