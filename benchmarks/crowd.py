"""Many threads that do tasks at the same time, for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["Work", "work_together"]


@dataclass(frozen=True)
class Work:
    """What they did: tasks a second, and each task's seconds, sorted; how many each thread did.

    ``processor`` is what this process used of processors, in seconds a task.
    """

    rate: float
    times: list[float]
    turns: list[int]
    processor: float

    def percentile(self, percent: int) -> float:
        """Seconds within which so many of 100 tasks were done."""
        return self.times[min(len(self.times) * percent // 100, len(self.times) - 1)]


def work_together(
    threads: int,
    task: Callable[[], object],
    seconds: float,
    *,
    leave: Callable[[], object] = lambda: None,
    warm_up: Callable[[], object] | None = None,
    spread: float = 0.0,
) -> Work:
    """Have threads do a task again and again until the time is over.

    Each first does ``warm_up``, by default the task; they begin when all have done so, one after
    the other, spread over so many seconds. In the end each calls ``leave``. The first error is
    raised.
    """
    crowd = _Crowd(threads, task, warm_up or task, leave, spread)
    return crowd.work(seconds)


class _Crowd:
    def __init__(
        self,
        threads: int,
        task: Callable[[], object],
        warm_up: Callable[[], object],
        leave: Callable[[], object],
        spread: float,
    ) -> None:
        self.task, self.warm_up, self.leave, self.spread = task, warm_up, leave, spread
        self.barrier = threading.Barrier(threads + 1)
        self.over = threading.Event()
        self.tasks: list[list[tuple[float, float]]] = [[] for _ in range(threads)]
        self.errors: list[BaseException] = []

    def work(self, seconds: float) -> Work:
        workers = [
            threading.Thread(target=self._work, args=(number,)) for number in range(len(self.tasks))
        ]
        for worker in workers:
            worker.start()
        with suppress(threading.BrokenBarrierError):  # errors[0] tells why
            self.barrier.wait()
        time.sleep(self.spread)
        begun, used = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        ended, used = time.perf_counter(), time.process_time() - used
        self.over.set()
        for worker in workers:
            worker.join()
        if self.errors:
            raise self.errors[0]
        return self._summary(begun, ended, used)

    def _summary(self, begun: float, ended: float, used: float) -> Work:
        """Tasks that the end finds waiting count among the times, too: they waited longest."""
        tasks = [task for mine in self.tasks for task in mine]
        count = max(1, sum(begun <= end < ended for _, end in tasks))
        return Work(
            rate=count / (ended - begun),
            times=sorted(end - start for start, end in tasks),
            turns=[len(mine) for mine in self.tasks],
            processor=used / count,
        )

    def _work(self, number: int) -> None:
        mine = self.tasks[number]
        try:
            self.warm_up()
            self.barrier.wait()
            if self.spread:
                time.sleep(self.spread * number / len(self.tasks))
            # Each does one at least, so that there is something to tell of.
            while not (mine and self.over.is_set()):
                begun = time.perf_counter()
                self.task()
                mine.append((begun, time.perf_counter()))
        except BaseException as error:
            self.errors.append(error)
            self.barrier.abort()
        finally:
            self.leave()
