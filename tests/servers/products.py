"""What people run: a record for each server and each queue, of which a new one takes ten lines.

A record has also the words of its row in ``docs/servers.rst``; tests/unit/test_servers.py compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from signal import SIGHUP, SIGINT, SIGTERM, Signals

from .project.settings import LIMITS

__all__ = ["PRODUCTS", "QUEUES", "SERVERS", "Kept", "Product", "Queue", "Server"]

# A worker of granian's that is still starting overhears that it is to stop.
GRANIAN_READY = "Started worker-"
SITE = "tests.servers.project"

# What stands in several rows.
NOTHING = "nothing"
MIDDLEWARE = "the middleware"
AROUND_JOB = "``auto_close_db`` around the job"
LAST_BYTE = "a slow client keeps its session until the last byte"
BUFFERED = "no difference, as the server takes over the whole response at once"
BY_ITSELF = "it closes connections after each job, which releases"
WORKERS = "workers x limit, and twice that while a reload replaces the workers"
PROCESSES = "processes x limit"
LIMIT = "limit"
ONE = "1 for each worker"


class Kept(Enum):
    """For how long a thread keeps its lease after a job, where nobody releases it."""

    UNTIL_NEXT = "a worker keeps its session until its next job begins"
    FOR_EVER = "a worker keeps its session, and finds there what its last job left"


@dataclass(frozen=True, kw_only=True)
class Product:
    """Something that is started by a command, and serves until it is sent a signal."""

    name: str
    package: str
    """What pip installs; of several, in words, any."""
    command: str
    """``{port}`` is a free port, and ``{site}`` the package of the site."""
    processes: int
    """How many processes may lease at the same time."""
    threads: int = 100
    """How many threads of a process work."""
    stop: Signals = SIGTERM
    grace: float = 30
    """How many seconds it gives to what runs when it is stopped; most have 30 by default."""
    apps: str = ""
    """What else is in INSTALLED_APPS."""
    in_ci: bool = False
    """Whether each run has it: the most used server of each interface, Channels' own, which has
    another event loop, the one that every project begins with, and the most used queue with
    processes and with threads.
    """
    sets: str
    without: str
    sessions: str

    @property
    def limit(self) -> int:
        """How many sessions its processes may have together, of all aliases."""
        return self.processes * self.process_limit

    @property
    def process_limit(self) -> int:
        """How many sessions a process may have, of all aliases."""
        return sum(min(self.threads, limit) for limit in LIMITS.values())

    def version(self) -> str | None:
        """Of what is installed; ``None`` where it is not."""
        for package in self.package.split():
            try:
                return metadata.version(package)
            except metadata.PackageNotFoundError:
                pass
        return None


@dataclass(frozen=True, kw_only=True)
class Server(Product):
    """Answers requests."""

    ready: str = ""
    """What each worker writes when it may be stopped; nothing where the first answer will do."""
    reload: Signals | None = None
    """What has it start new workers and end the old ones."""
    keeps: bool
    """Whether a slow client keeps its session where the middleware is missing."""
    websocket: bool = False
    sets: str = MIDDLEWARE
    sessions: str = WORKERS


@dataclass(frozen=True, kw_only=True)
class Queue(Product):
    """Does jobs that were handed to it before it started."""

    module: str
    """``with_...`` of the site."""
    redis: bool = False
    kept: Kept | None = None
    """What becomes of a lease where what releases it is left out; ``None`` where nothing can be."""
    claims: bool = False
    """Whether the worker itself has a lease when a job begins, as its jobs are in the database."""


SERVERS = (
    Server(
        name="gunicorn (gthread)",
        package="gunicorn",
        command="gunicorn --bind 127.0.0.1:{port} --worker-class gthread --workers 2 --threads 4"
        " --preload --max-requests 50 --max-requests-jitter 10 {site}.wsgi",
        processes=2,
        reload=SIGHUP,
        keeps=True,
        in_ci=True,
        without=LAST_BYTE,
    ),
    Server(
        name="uvicorn",
        package="uvicorn",
        command="uvicorn --port {port} --workers 2 {site}.asgi:application",
        processes=2,
        reload=SIGHUP,
        keeps=True,
        in_ci=True,
        without=LAST_BYTE,
    ),
    Server(
        name="hypercorn",
        package="hypercorn",
        command="hypercorn --bind 127.0.0.1:{port} --workers 2 {site}.asgi:application",
        processes=2,
        keeps=True,
        without=LAST_BYTE,
        sessions=PROCESSES,
    ),
    Server(
        name="daphne",
        package="daphne",
        command="daphne --bind 127.0.0.1 --port {port} {site}.asgi:application",
        processes=1,
        keeps=False,
        in_ci=True,
        without=BUFFERED,
        sessions=LIMIT,
    ),
    Server(
        name="granian (WSGI)",
        package="granian",
        command="granian --interface wsgi --port {port} --workers 2 --blocking-threads 4"
        " {site}.wsgi:application",
        processes=2,
        ready=GRANIAN_READY,
        reload=SIGHUP,
        keeps=False,
        without=BUFFERED,
    ),
    Server(
        name="granian (ASGI)",
        package="granian",
        command="granian --interface asginl --port {port} --workers 2 {site}.asgi:application",
        processes=2,
        ready=GRANIAN_READY,
        reload=SIGHUP,
        keeps=True,
        without=LAST_BYTE,
    ),
    Server(
        name="uWSGI",
        package="uwsgi pyuwsgi",
        command="uwsgi --http-socket 127.0.0.1:{port} --master --processes 2 --threads 4"
        " --die-on-term --module {site}.wsgi",
        processes=2,
        keeps=True,
        without=LAST_BYTE,
        sessions=PROCESSES,
    ),
    Server(
        name="waitress",
        package="waitress",
        command="waitress-serve --listen 127.0.0.1:{port} --threads 4 {site}.wsgi:application",
        processes=1,
        keeps=False,
        without=BUFFERED,
        sessions=LIMIT,
    ),
    Server(
        name="runserver",
        package="Django",
        command="python -m django runserver 127.0.0.1:{port}",
        processes=1,
        keeps=True,
        in_ci=True,
        without=LAST_BYTE,
        sessions=LIMIT,
    ),
    Server(
        name="Channels (on daphne)",
        package="channels",
        command="daphne --bind 127.0.0.1 --port {port} {site}.with_channels:application",
        processes=1,
        keeps=True,
        websocket=True,
        sets="the middleware, and ``database_sync_to_async`` in consumers",
        without="with ``sync_to_async`` a consumer keeps its session between two messages",
        sessions=LIMIT,
    ),
)

QUEUES = (
    Queue(
        name="Celery (prefork)",
        package="celery",
        module="celery",
        command="celery -A {site}.with_celery worker --pool prefork --concurrency 2",
        threads=1,
        processes=2,
        in_ci=True,
        sets=NOTHING,
        without=BY_ITSELF,
        sessions=ONE,
    ),
    Queue(
        name="Celery (threads)",
        package="celery",
        module="celery",
        command="celery -A {site}.with_celery worker --pool threads --concurrency 4",
        processes=1,
        in_ci=True,
        sets=NOTHING,
        without=BY_ITSELF,
        sessions=LIMIT,
    ),
    Queue(
        name="Celery (solo)",
        package="celery",
        module="celery",
        command="celery -A {site}.with_celery worker --pool solo",
        threads=1,
        processes=1,
        sets=NOTHING,
        without=BY_ITSELF,
        sessions=ONE,
    ),
    Queue(
        name="huey",
        package="huey",
        module="huey",
        command="python -m django run_huey",
        apps="huey.contrib.djhuey {site}.huey_tasks",
        stop=SIGINT,
        processes=1,
        kept=Kept.FOR_EVER,
        sets="``db_task`` of ``huey.contrib.djhuey``, instead of ``task``",
        without=Kept.FOR_EVER.value,
        sessions=LIMIT,
    ),
    Queue(
        name="dramatiq",
        package="dramatiq",
        module="dramatiq",
        command="dramatiq {site}.with_dramatiq --processes 2 --threads 4",
        redis=True,
        processes=2,
        kept=Kept.FOR_EVER,
        sets="a middleware of dramatiq, as below",
        without=Kept.FOR_EVER.value,
        sessions=PROCESSES,
    ),
    Queue(
        name="RQ",
        package="django-rq",
        module="rq",
        command="python -m django rqworker default",
        apps="django_rq",
        redis=True,
        threads=1,
        processes=2,
        sets=NOTHING,
        without="each job has a process of its own, so each job connects",
        sessions=ONE,
    ),
    Queue(
        name="RQ (SimpleWorker)",
        package="django-rq",
        module="rq",
        command="python -m django rqworker default --worker-class rq.SimpleWorker",
        apps="django_rq",
        redis=True,
        threads=1,
        processes=1,
        kept=Kept.FOR_EVER,
        sets=AROUND_JOB,
        without=Kept.FOR_EVER.value,
        sessions=ONE,
    ),
    Queue(
        name="django-q2",
        package="django-q2",
        module="django_q",
        command="python -m django qcluster",
        apps="django_q",
        threads=1,
        processes=6,
        kept=Kept.UNTIL_NEXT,
        sets=AROUND_JOB,
        without=Kept.UNTIL_NEXT.value,
        sessions="1 for each process: the workers, and those of the cluster itself",
    ),
    Queue(
        name="django-tasks",
        package="django-tasks-db",
        module="django_tasks",
        command="python -m django db_worker --interval 0.1",
        apps="{tasks} django_tasks_db",
        claims=True,
        threads=1,
        processes=1,
        sets=NOTHING,
        without=BY_ITSELF,
        sessions=ONE,
    ),
)

PRODUCTS: tuple[Product, ...] = (*SERVERS, *QUEUES)
