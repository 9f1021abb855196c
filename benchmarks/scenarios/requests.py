"""Requests of one query each, under gunicorn and uvicorn, driven by wrk.

Each contestant has a server of each kind for itself: gunicorn with one worker of 8 threads, and
uvicorn with one process, with the middleware that its users set. All run all the time; wrk turns to
one after the other with 8 connections. The processor's time is that of the web server's processes.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from tests.observer import Observer
from tests.server.private import free_port

from ..contestants import REFERENCE, Contestant
from ..processor import processor_seconds
from ..results import Result, compare
from ..turns import Stage, column

__all__ = ["Wrk", "missing", "read_wrk", "run"]

CONNECTIONS = 8
START_SECONDS = 60

COMMANDS = {
    "gunicorn": (
        *("gunicorn", "benchmarks.site:application", "--bind=127.0.0.1:{port}"),
        *("--workers=1", "--threads=8", "--log-level=warning"),
    ),
    "uvicorn": (
        *("uvicorn", "benchmarks.site:asgi_application", "--host=127.0.0.1", "--port={port}"),
        *("--log-level=warning", "--no-access-log", "--lifespan=off"),
    ),
}


def missing() -> str | None:
    """What this lacks, and how to get it; None where all is there."""
    if shutil.which("wrk") is None:
        return "it needs wrk: apt-get install wrk (Debian, Ubuntu), dnf or brew install wrk"
    return None


def run(stage: Stage) -> list[Result]:
    results = []
    with ExitStack() as stack:
        observer = stack.enter_context(Observer(stage.server))
        for kind, command in COMMANDS.items():
            who = stage.contestants(*stage.amount((), ("held", "transaction")))
            with ExitStack() as servers:
                ways = {
                    one.name: partial(
                        turn, servers.enter_context(serving(one, command)), stage, observer
                    )
                    for one in who
                }
                found = stage.turns(f"requests: {kind}", ways, 8)
            processor = [turn["µs of processor"] for turns in found.values() for turn in turns]
            units = ["requests/s", "ms, p99", "connects a request", "failed requests"]
            for unit in units if None in processor else [*units, "µs of processor"]:
                results += compare("requests", kind, unit, column(found, unit), REFERENCE)
    return results


@dataclass(frozen=True)
class Site:
    """A web server that runs: its process, and where it listens."""

    process: subprocess.Popen[bytes]
    port: int


@contextmanager
def serving(contestant: Contestant, command: Sequence[str]) -> Iterator[Site]:
    """In this block such a server answers. RuntimeError where it does not start."""
    port = free_port()
    arguments = [part.format(port=port) for part in command]
    environ = {
        **os.environ,
        **contestant.server.environ(),
        "BENCHMARKS_CONTESTANT": contestant.key,
    }
    process = subprocess.Popen([sys.executable, "-m", *arguments], env=environ)
    try:
        until_it_answers(process, port)
        yield Site(process, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            if (answer := response.read()) != b"1":
                raise RuntimeError(f"the site answers {response.status}: {answer[-500:]!r}")
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError(f"{process.args!r} did not start")


def turn(site: Site, stage: Stage, observer: Observer) -> dict[str, float]:
    """What wrk sees of it for a while."""
    seconds = max(1, round(stage.seconds or stage.amount(2, 1)))  # wrk takes whole ones.
    before = processor_seconds(site.process.pid)
    with observer.counting("Connections") as connects:
        wrk = drive(site.port, seconds)
    after = processor_seconds(site.process.pid)
    figures = {
        "requests/s": wrk.rate,
        "ms, p99": wrk.p99,
        "connects a request": connects[0] / wrk.requests,
        "failed requests": wrk.failed,
    }
    if before is not None and after is not None:
        figures["µs of processor"] = (after - before) / wrk.requests * 1e6
    return figures


@dataclass(frozen=True)
class Wrk:
    """What wrk printed: answers a second, how many, those that were errors, milliseconds."""

    rate: float
    requests: int
    failed: int
    p99: float


def drive(port: int, seconds: int) -> Wrk:
    options = ["--threads=1", f"--connections={CONNECTIONS}", f"--duration={seconds}s", "--latency"]
    command = ["wrk", *options, f"http://127.0.0.1:{port}/"]
    return read_wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def read_wrk(text: str) -> Wrk:
    """What wrk wrote. ValueError for something else, or where nothing was answered."""
    rate = re.search(r"Requests/sec: +([\d.]+)", text)
    count = re.search(r"(\d+) requests in ", text)
    p99 = re.search(r"99% +([\d.]+)(us|ms|s|m)\b", text)
    if not (rate and count and p99 and int(count[1])):
        raise ValueError(f"wrk says:\n{text}")
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed = int(errors[1]) if errors else 0
    if sockets := re.search(r"Socket errors: (.*)", text):
        failed += sum(map(int, re.findall(r"\d+", sockets[1])))
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[p99[2]]
    return Wrk(float(rate[1]), int(count[1]), failed, float(p99[1]) * scale)
