"""``manage.py index``: the pooled executor."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from files.arguments import folder, positive
from files.indexing import index_file
from files.reading import STANDARD_LIBRARY, Folder, UnreadableError
from mysqlpool import PooledThreadPoolExecutor

T = TypeVar("T")


class Command(BaseCommand):
    help = (
        "Store path, size, lines and SHA-256 of every file below a folder. What cannot be read is "
        "reported and skipped. Links to folders are not followed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder",
            nargs="?",
            type=folder,
            default=STANDARD_LIBRARY,
            help="default: Python's standard library",
        )
        parser.add_argument("--threads", type=positive, default=32, help="default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        self.indexed = self.skipped = 0
        try:
            self.index(options["folder"], options["threads"], options["verbosity"])
        except KeyboardInterrupt:
            raise CommandError(f"interrupted; {self.summary(started)}", returncode=130) from None
        if options["verbosity"] > 0:
            self.stdout.write(self.summary(started))

    def index(self, folder: Folder, threads: int, verbosity: int) -> None:
        """Index the folder; on any error cancel what has not begun, and raise it."""
        stop = threading.Event()
        with PooledThreadPoolExecutor(threads, "index") as executor, bar(folder, verbosity) as done:

            def submit(path: str) -> Future[None]:
                return executor.submit(index_file, path, stop.is_set)

            try:
                for future in run_in_window(submit, folder.walk(self.skip_folder), 2 * threads):
                    self.count(future)
                    done.update()
            except BaseException:
                stop.set()
                executor.shutdown(wait=False, cancel_futures=True)
                raise

    def count(self, future: Future[None]) -> None:
        try:
            future.result()
        except UnreadableError as error:
            self.skip(error)
        else:
            self.indexed += 1

    def skip_folder(self, error: OSError) -> None:
        self.skip(UnreadableError(error.filename, error))

    def skip(self, error: UnreadableError) -> None:
        self.skipped += 1
        with tqdm.external_write_mode(file=sys.stderr):
            self.stderr.write(f"skipped {error}")

    def summary(self, started: float) -> str:
        seconds = time.monotonic() - started
        return f"{self.indexed} files indexed, {self.skipped} skipped, in {seconds:.2f} s"


def bar(folder: Folder, verbosity: int) -> "tqdm[Any]":
    """A progress bar on a terminal, where it is worth counting the files first."""
    if verbosity == 0 or not sys.stderr.isatty():
        return tqdm(disable=True)
    return tqdm(total=sum(1 for _ in folder.walk()), unit=" files")


def run_in_window(
    submit: Callable[[str], Future[T]], paths: Iterable[str], size: int
) -> Iterator[Future[T]]:
    """Submit all paths, never more than ``size`` at a time; yield the futures as they complete."""
    pending: set[Future[T]] = set()
    for path in paths:
        pending.add(submit(path))
        if len(pending) == size:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from done
    yield from as_completed(pending)
