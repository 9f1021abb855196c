"""``manage.py watch``: a daemon with threads of its own and a forked child."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from files.arguments import folder, positive, seconds
from files.forking import run_in_child
from files.indexing import index_file, key, remove_missing
from files.reading import Folder, UnreadableError
from mysqlpool import auto_close_db, release_connections

Stamp = tuple[int, ...]
Stamps = dict[str, Stamp]


class Command(BaseCommand):
    help = "Keep the index of a folder up to date: look for changes again and again until SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=folder)
        parser.add_argument("--threads", type=positive, default=4, help="default: %(default)s")
        parser.add_argument(
            "--interval", type=seconds, default=5.0, help="seconds between rounds, default 5"
        )
        parser.add_argument("--rounds", type=positive, help="end after so many; default: never")

    def handle(self, *args: Any, **options: Any) -> None:
        # Unlike threading.Event, a SimpleQueue may be used by a signal handler that interrupts
        # its own use.
        self.signals: SimpleQueue[int] = SimpleQueue()
        known: Stamps = {}
        with signals_into(self.signals):
            for number in count(1):
                known = self.round(options["folder"], options["threads"], known)
                if number == options["rounds"] or self.stopped_within(options["interval"]):
                    return

    def stopped(self) -> bool:
        return not self.signals.empty()

    def stopped_within(self, interval: float) -> bool:
        try:
            self.signals.get(timeout=interval)
        except Empty:
            return False
        return True

    def round(self, folder: Folder, threads: int, known: Stamps) -> Stamps:
        """Index what changed, forget what is gone; return what there is now."""
        problems: list[OSError] = []
        found = {path: stamp(path) for path in folder.walk(problems.append)}
        changed = [path for path, now in found.items() if known.get(path) != now]
        self.index(changed, threads)
        for problem in problems:
            self.stderr.write(f"skipped {UnreadableError(problem.filename, problem)}")
        # What lies below a folder that cannot be listed is not gone.
        if not problems and not self.stopped():
            self.forget_missing(folder, found)
        return found

    def index(self, paths: list[str], threads: int) -> None:
        """Index the paths by some threads, and raise the first error that ended one."""
        todo: SimpleQueue[str] = SimpleQueue()
        for path in paths:
            todo.put(path)
        errors: list[BaseException] = []
        workers = [
            Thread(target=auto_close_db(self.work), args=(todo, errors), name=f"watch-{number}")
            for number in range(min(threads, len(paths)))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise errors[0]
        if paths:
            self.stdout.write(f"{len(paths)} changed")

    def work(self, todo: SimpleQueue[str], errors: list[BaseException]) -> None:
        """Index paths until none is left, or there was an error or a signal."""
        try:
            while not errors and not self.stopped() and not todo.empty():
                self.index_or_skip(todo.get_nowait())
                # Reading the next file needs no session; another thread may.
                release_connections()
        except Empty:
            return  # another thread was quicker
        except BaseException as error:
            errors.append(error)

    def index_or_skip(self, path: str) -> None:
        try:
            index_file(path, self.stopped)
        except UnreadableError as error:
            self.stderr.write(f"skipped {error}")

    def forget_missing(self, folder: Folder, found: Stamps) -> None:
        """Compare with the database in a child, whose memory for it goes when the child goes."""
        keys = {key(path) for path in found}
        status = run_in_child(partial(self.forget, folder, keys))
        if status != 0:
            raise CommandError(f"the child for {folder} ended with status {status}")

    def forget(self, folder: Folder, keys: set[str]) -> None:
        if removed := remove_missing(folder.path, keys):
            self.stdout.write(f"{removed} gone")


def stamp(path: str) -> Stamp:
    """What changes when a file does; nothing when it cannot be told."""
    try:
        status = os.stat(path)
    except OSError:
        return ()  # reading the file will tell why
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def signals_into(queue: SimpleQueue[int]) -> Iterator[None]:
    """Put the numbers of SIGINT and SIGTERM into the queue instead of dying of them."""
    before = {
        number: signal.signal(number, lambda number, _: queue.put(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
