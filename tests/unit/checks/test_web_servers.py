"""How many processes and threads a web server has, read from what lies around."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mysqlpool.checks import demand_found
from mysqlpool.checks.web_servers import web_servers
from mysqlpool.checks.workers import Workers


def found(folder: Path, config: str | None = None, **environ: str) -> list[Workers]:
    if config is not None:
        (folder / "gunicorn.conf.py").write_text(config)
    return list(web_servers(folder, environ))


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    assert found(tmp_path, WEB_CONCURRENCY="many") == []


def test_gunicorns_file_tells_processes_and_threads(tmp_path: Path) -> None:
    assert found(tmp_path, "workers = 4\nthreads = 8\n") == [
        Workers("gunicorn", 4, 8, "gunicorn.conf.py", "gunicorn.conf.py")
    ]


def test_gunicorns_hooks_and_classes_are_not_what_it_is_told(tmp_path: Path) -> None:
    """A name that a function or class has is no number, though one stood there before."""
    hooks = "def post_fork(server, worker):\n    workers = 9\n"
    (workers,) = found(tmp_path, f"workers = 3\nthreads = 5\n{hooks}class threads: pass\n")
    assert (workers.processes, workers.threads) == (3, None)


def test_gunicorn_may_be_told_without_a_file(tmp_path: Path) -> None:
    (workers,) = found(tmp_path, GUNICORN_CMD_ARGS="--threads 4", WEB_CONCURRENCY="2")
    assert (workers.processes, workers.processes_source) == (2, "WEB_CONCURRENCY")
    assert (workers.threads, workers.threads_source) == (4, "GUNICORN_CMD_ARGS")


def test_gunicorns_file_is_read_and_not_run(tmp_path: Path) -> None:
    (workers,) = found(tmp_path, "workers = 3\nraise SystemExit('I was run')\n")
    assert workers.processes == 3


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("4", 4),
        ("2 * 2 + 1", 5),
        ("cores", 7),
        ('int(os.environ.get("THREADS", "6"))', 6),
        ('int(os.environ["GIVEN"])', 9),
        ('int(os.getenv("GIVEN") or 2)', 9),
        ('int(os.getenv("ABSENT") or 2)', 2),
        ("min(cores, 3)", 3),
        ("multiprocessing.cpu_count() * 2 + 1", (os.cpu_count() or 0) * 2 + 1),
        ("ask_the_machine()", None),
        ('int(os.environ["ABSENT"])', None),
        ("cores / 0", None),
        ("[1][5]", None),
        ("lambda: 4", None),
    ],
)
def test_expressions_as_such_files_have_them_are_understood(
    tmp_path: Path, expression: str, expected: int | None
) -> None:
    (workers,) = found(tmp_path, f"cores = 7\nthreads = {expression}\n", GIVEN="9")
    assert workers.threads == expected
    assert ("only running it" in workers.threads_source) is (expected is None)


@pytest.mark.parametrize(
    "config",
    [
        "threads = 2\nif production:\n    threads = 8\n",
        "threads, workers = 2, 4\n",
        "threads = 2\nthreads += 4\n",
        "for threads in range(5): pass\n",
        "try:\n    threads = int(x)\nexcept ValueError:\n    threads = 1\n",
    ],
)
def test_what_depends_on_more_is_not_guessed(tmp_path: Path, config: str) -> None:
    (workers,) = found(tmp_path, config)
    assert workers.threads is None


def test_a_file_that_is_no_python_tells_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, "workers = = 4") == [
        Workers("gunicorn", 1, 1, "its default", "its default")
    ]


def test_arguments_in_the_environment_win_over_the_file_and_that_over_web_concurrency(
    tmp_path: Path,
) -> None:
    (workers,) = found(tmp_path, "threads = 8\n", WEB_CONCURRENCY="3")
    assert (workers.processes, workers.processes_source) == (3, "WEB_CONCURRENCY")
    (workers,) = found(tmp_path, "workers = 5\nthreads = 8\n", WEB_CONCURRENCY="3")
    assert (workers.processes, workers.processes_source) == (5, "gunicorn.conf.py")
    for arguments in ("-w 6 --threads=2", "--workers=6 --threads 2 --bind :80", "-w6 --threads 2"):
        (workers,) = found(tmp_path, WEB_CONCURRENCY="3", GUNICORN_CMD_ARGS=arguments)
        assert (workers.processes, workers.threads) == (6, 2)
        assert workers.processes_source == "GUNICORN_CMD_ARGS"


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text("workers = 7\n")
    (workers,) = found(tmp_path, "workers = 4\n", GUNICORN_CMD_ARGS="-c deploy.py")
    assert (workers.processes, workers.processes_source) == (7, "deploy.py")


def test_arguments_that_gunicorn_refuses_tell_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, GUNICORN_CMD_ARGS="--workers many") == []
    assert found(tmp_path, GUNICORN_CMD_ARGS="--workers '4") == []


@pytest.mark.parametrize(
    ("kind", "threads", "green"),
    [
        ("sync", 8, None),
        ("gthread", 8, None),
        ("gunicorn.workers.gthread.ThreadWorker", 8, None),
        ("uvicorn.workers.UvicornWorker", None, None),
        ("gevent", None, "gevent"),
        ("eventlet", None, "eventlet"),
    ],
)
def test_the_class_of_workers_tells_whether_threads_count(
    tmp_path: Path, kind: str, threads: int | None, green: str | None
) -> None:
    (workers,) = found(tmp_path, f'worker_class = "{kind}"\nthreads = 8\n')
    assert (workers.threads, workers.green) == (threads, green)


def test_uvicorn_is_known_by_its_environment(tmp_path: Path) -> None:
    (workers,) = found(tmp_path, UVICORN_WORKERS="4", WEB_CONCURRENCY="2")
    assert (workers.name, workers.processes, workers.threads) == ("uvicorn", 4, None)
    (workers,) = found(tmp_path, UVICORN_PORT="80", WEB_CONCURRENCY="2")
    assert (workers.processes, workers.processes_source) == (2, "WEB_CONCURRENCY")


def test_web_concurrency_alone_is_somebodys(tmp_path: Path) -> None:
    assert found(tmp_path, WEB_CONCURRENCY="3") == [
        Workers("the web server", 3, None, "WEB_CONCURRENCY")
    ]


def test_uwsgi_is_known_by_its_file_and_its_environment(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmaster\nprocesses = 4\nthreads = 2\nset = a\n")
    assert found(tmp_path) == [Workers("uWSGI", 4, 2, "uwsgi.ini", "uwsgi.ini")]
    (workers,) = found(tmp_path, UWSGI_WORKERS="6")
    assert (workers.processes, workers.threads) == (6, 2)
    (tmp_path / "uwsgi.ini").write_text("no ini")
    assert found(tmp_path) == [Workers("uWSGI", 1, 1, "its default", "its default")]


def test_a_working_directory_that_is_gone_or_closed_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of an old release, or root's home for another user: ``migrate`` runs there, too."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert demand_found().workers == ()
    finally:
        os.chdir(tmp_path)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        assert found(tmp_path) == []
