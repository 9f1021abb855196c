"""The example project: what its commands and its page promise."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import AsyncClient, Client

from files import reading
from files.forking import run_in_child
from files.indexing import remove_missing
from files.management.commands import index as index_command
from files.models import File
from mysqlpool import release_connections
from tests.helpers import HANG, ROOT, leased, run_threads, session_id

pytestmark = pytest.mark.django_db(transaction=True)

MANAGE = str(ROOT / "example" / "manage.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three files, one of them binary, one empty and below another folder."""
    (tmp_path / "text").write_text("one\ntwo\nthree")
    (tmp_path / "binary").write_bytes(b"\0\n\xff\n\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "empty").touch()
    return tmp_path.resolve()


def index(folder: Path, **options: Any) -> tuple[str, str]:
    """Run ``manage.py index`` in this process; return what it wrote to stdout and stderr."""
    stdout, stderr = StringIO(), StringIO()
    call_command("index", str(folder), threads=8, stdout=stdout, stderr=stderr, **options)
    return stdout.getvalue(), stderr.getvalue()


def manage(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start manage.py in a process of its own, on the test database."""
    variables = {
        "DATABASE_NAME": connection.settings_dict["NAME"],
        "DJANGO_SETTINGS_MODULE": "filesite.settings",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, MANAGE, *arguments],
        env={**os.environ, **variables, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def indexed() -> dict[str, tuple[int, int, str]]:
    rows = {file.path: (file.size, file.lines, file.sha256) for file in File.objects.all()}
    assert len(rows) == File.objects.count()
    return rows


def facts(content: bytes) -> tuple[int, int, str]:
    return len(content), content.count(b"\n"), hashlib.sha256(content).hexdigest()


def test_index_stores_path_size_lines_and_digest(folder: Path) -> None:
    stdout, stderr = index(folder)
    assert indexed() == {
        f"{folder}/text": facts(b"one\ntwo\nthree"),
        f"{folder}/binary": facts(b"\0\n\xff\n\n"),
        f"{folder}/below/empty": facts(b""),
    }
    assert stdout.startswith("3 files indexed, 0 skipped, in ")
    assert stderr == ""


def test_index_says_nothing_with_verbosity_0(folder: Path) -> None:
    assert index(folder, verbosity=0) == ("", "")


def test_indexing_twice_updates_and_never_duplicates(folder: Path) -> None:
    index(folder)
    first = {file.path: file.indexed_at for file in File.objects.all()}
    (folder / "text").write_text("changed\n")
    index(folder)
    assert indexed()[f"{folder}/text"] == facts(b"changed\n")
    again = {file.path: file.indexed_at for file in File.objects.all()}
    assert again.keys() == first.keys()
    assert all(again[path] > first[path] for path in first)


def test_a_file_has_one_row_however_its_folder_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link").symlink_to(folder / "below")
    index(folder / "below")
    index(folder / "link")
    monkeypatch.chdir(folder)
    index(Path("below"))
    assert list(indexed()) == [f"{folder}/below/empty"]


def test_indexers_at_once_neither_fail_nor_duplicate(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).write_text(str(number))
    run_threads(*[partial(index, tmp_path)] * 4)
    assert len(indexed()) == 100


def test_the_server_sees_no_more_sessions_than_the_pool_has(
    folder: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 threads on the 5 sessions of tests.settings; each asks the server while it holds one."""
    for number in range(100):
        (folder / str(number)).touch()
    database, seen = connection.settings_dict["NAME"], []
    lock = threading.Lock()

    def ask(path: str, stopped: Any) -> None:
        File.objects.count()
        with lock:
            seen.append(len(observer.sessions(database)))

    release_connections()
    monkeypatch.setattr(index_command, "index_file", ask)
    call_command("index", str(folder), threads=32, verbosity=0)
    assert len(seen) == 103
    assert max(seen) <= 5
    assert leased() == []


def test_what_cannot_be_read_is_reported_and_skipped(folder: Path) -> None:
    """None of these may block, not even a FIFO that nobody writes to."""
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "itself").symlink_to("itself")
    (folder / "device").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))
        stdout, stderr = index(folder)
    assert stdout.startswith("3 files indexed, 5 skipped, in ")
    assert sorted(stderr.splitlines()) == [
        f"skipped {folder}/dangling: No such file or directory",
        f"skipped {folder}/device: not a regular file",
        f"skipped {folder}/fifo: not a regular file",
        f"skipped {folder}/itself: Too many levels of symbolic links",
        f"skipped {folder}/socket: not a regular file",
    ]
    assert len(indexed()) == 3


def test_a_fifo_that_replaces_a_file_at_the_last_moment_does_not_block(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "fifo")
    text = os.stat(folder / "text")
    monkeypatch.setattr(os, "stat", lambda path: text)
    with pytest.raises(reading.UnreadableError, match="fifo: not a regular file"):
        reading.read_facts(str(folder / "fifo"), lambda: False)


def test_a_file_that_vanishes_while_indexing_is_reported_and_skipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = reading.Folder.walk

    def walk_and_remove(*args: Any) -> Iterator[str]:
        for path in walk(*args):
            if path.endswith("text"):
                os.unlink(path)
            yield path

    monkeypatch.setattr(reading.Folder, "walk", walk_and_remove)
    stdout, stderr = index(folder)
    assert stdout.startswith("2 files indexed, 1 skipped, in ")
    assert stderr == f"skipped {folder}/text: No such file or directory\n"


def test_a_folder_that_cannot_be_listed_is_reported_and_skipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a patched scandir, because root may list everything."""
    scandir = os.scandir

    def forbidding_scandir(path: str) -> Any:
        if str(path).endswith("below"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding_scandir)
    stdout, stderr = index(folder)
    assert stdout.startswith("2 files indexed, 1 skipped, in ")
    assert stderr == f"skipped {folder}/below: Permission denied\n"


def test_links_to_folders_are_not_followed_and_links_to_files_are(folder: Path) -> None:
    (folder / "below" / "up").symlink_to(folder)
    (folder / "alias").symlink_to("text")
    stdout, stderr = index(folder)
    assert stdout.startswith("4 files indexed, 0 skipped, in ")
    assert indexed()[f"{folder}/alias"] == facts(b"one\ntwo\nthree")
    assert stderr == ""


def test_names_that_are_not_utf8_are_stored_apart_from_names_that_look_alike(
    tmp_path: Path,
) -> None:
    folder = os.fsencode(tmp_path.resolve())
    names = [b"\xff", rb"\xff", b"A", b"a", "\N{SNAKE}".encode(), b"two\nlines"]
    for name in names:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(name)
    stdout, _ = index(tmp_path)
    assert stdout.startswith("6 files indexed, 0 skipped, in ")
    shown = [r"\xff", r"\\xff", "A", "a", "\N{SNAKE}", "two\nlines"]
    assert indexed() == {
        f"{tmp_path.resolve()}/{text}": facts(name) for text, name in zip(shown, names, strict=True)
    }


def test_a_name_that_is_not_utf8_can_be_reported(tmp_path: Path) -> None:
    os.mkfifo(os.path.join(os.fsencode(tmp_path.resolve()), b"\xff"))
    _, stderr = index(tmp_path)
    assert stderr == rf"skipped {tmp_path.resolve()}/\xff: not a regular file" + "\n"


def test_a_path_longer_than_an_index_can_hold_is_stored_once(tmp_path: Path) -> None:
    """InnoDB indexes 3072 bytes."""
    deep = tmp_path.resolve().joinpath(*["d" * 250] * 14)
    deep.mkdir(parents=True)
    for name in ("one", "two"):
        (deep / name).write_text(name)
    index(tmp_path)
    index(tmp_path)
    assert sorted(indexed()) == [f"{deep}/one", f"{deep}/two"]


def test_a_database_error_is_the_commands_error(folder: Path) -> None:
    process = manage("index", str(folder), DATABASE_NAME="mysqlpool_nowhere")
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 1
    assert "Unknown database 'mysqlpool_nowhere'" in stderr
    assert stdout == ""


def test_ctrl_c_ends_the_command_though_a_huge_file_is_being_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = folder / "huge"
    huge.touch()
    os.truncate(huge, 2**40)
    being_read = threading.Event()
    open_file = reading._open_without_waiting

    def open_and_tell(path: str, flags: int) -> int:
        being_read.set()
        return open_file(path, flags)

    def walk(*args: Any) -> Iterator[str]:
        yield str(huge)
        assert being_read.wait(HANG)
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "_open_without_waiting", open_and_tell)
    monkeypatch.setattr(reading.Folder, "walk", walk)
    with pytest.raises(CommandError, match="interrupted; 0 files indexed") as caught:
        index(folder)
    assert caught.value.returncode == 130


def many_files(count: int) -> None:
    File.objects.bulk_create(
        File(path_sha256=f"{size:064}", path=f"/file{size}", size=size, lines=size, sha256="0" * 64)
        for size in range(count)
    )


def test_the_page_lists_the_100_largest_files_largest_first() -> None:
    many_files(150)
    response = Client().get("/")
    assert response.status_code == 200
    assert [file.size for file in response.context["files"]] == list(range(149, 49, -1))
    text = response.content.decode()
    assert "100 of 150 files." in text
    assert text.index("/file149<") < text.index("/file50<")
    assert "/file49<" not in text
    assert leased() == []


def test_the_page_is_the_same_under_asgi(observer: Any) -> None:
    many_files(3)
    page = Client().get("/").content
    response = asyncio.run(AsyncClient().get("/"))
    assert response.content == page
    assert len(observer.sessions(connection.settings_dict["NAME"])) <= 5


def test_the_page_shows_paths_as_text() -> None:
    File.objects.create(path_sha256="0", path="/<script>", size=1, lines=1, sha256="0" * 64)
    assert b"/&lt;script&gt;" in Client().get("/").content


def test_the_page_tells_what_to_do_when_the_index_is_empty() -> None:
    text = Client().get("/").content.decode()
    assert "0 of 0 files." in text
    assert "manage.py index" in text


def test_watch_follows_the_folder_until_sigterm(folder: Path, observer: Any) -> None:
    """Its threads index what changed, its forked child forgets what is gone; no session stays."""
    release_connections()
    before = observer.sessions()
    with manage("watch", str(folder), "--interval=0.05") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "3 changed\n"
            (folder / "text").write_text("changed\n")
            assert process.stdout.readline() == "1 changed\n"
            (folder / "binary").unlink()
            assert process.stdout.readline() == "1 gone\n"
            process.terminate()
            rest, stderr = process.communicate(timeout=HANG)
        finally:
            process.kill()
    assert (process.returncode, rest, stderr) == (0, "", "")
    observer.until(lambda: observer.sessions() <= before)
    assert indexed() == {
        f"{folder}/text": facts(b"changed\n"),
        f"{folder}/below/empty": facts(b""),
    }


def test_watch_ends_after_its_rounds_and_reports_a_file_once(folder: Path) -> None:
    """With more threads than the pool has sessions."""
    os.mkfifo(folder / "fifo")
    for number in range(20):
        (folder / str(number)).touch()
    process = manage("watch", str(folder), "--interval=0", "--rounds=3", "--threads=20")
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 0
    assert stdout == "24 changed\n"
    assert stderr == f"skipped {folder}/fifo: not a regular file\n"


def test_watch_leaves_no_session_for_the_server_to_abort(folder: Path, observer: Any) -> None:
    """Parent and children say good-bye to the server before they end."""
    (aborted,) = observer.status("Aborted_clients")
    process = manage("watch", str(folder), "--interval=0", "--rounds=2")
    _, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stderr) == (0, "")
    observer.until(lambda: len(observer.sessions(connection.settings_dict["NAME"])) <= 1)
    assert observer.status("Aborted_clients") == [aborted]


def test_an_error_in_a_thread_of_watch_ends_it(folder: Path) -> None:
    process = manage("watch", str(folder), DATABASE_NAME="mysqlpool_nowhere")
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 1
    assert "Unknown database 'mysqlpool_nowhere'" in stderr


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_run_in_child_leaves_the_parents_session_alone(capfd: Any) -> None:
    mine = session_id()
    many_files(1)
    assert run_in_child(File.objects.all().delete) == 0
    assert File.objects.count() == 0
    assert session_id() == mine
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_error_in_the_child_is_its_exit_status(capfd: Any) -> None:
    assert run_in_child(partial(divmod, 1, 0)) == 1
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_only_rows_below_the_folder_are_removed() -> None:
    """A folder whose name begins alike, or differs in case or in a LIKE wildcard, is another."""
    paths = ["/a_b/gone", "/a_b/kept", "/a_bc/other", "/A_b/other", "/aXb/other"]
    for number, path in enumerate(paths):
        File.objects.create(path_sha256=str(number), path=path, size=0, lines=0, sha256="0")
    assert remove_missing("/a_b", {"1"}) == 1
    assert sorted(indexed()) == sorted(paths[1:])
