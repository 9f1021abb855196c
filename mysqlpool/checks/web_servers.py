"""Web servers: how many processes and threads they have, by what lies in the working directory and
in the environment. What is Python is read and not run.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import operator
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from .workers import Workers

__all__ = ["web_servers"]

Values = dict[str, tuple[Any, str]]
"""What a server was told, by the names of its settings, and where each stands."""

UNREADABLE = object()
"""A value that only running the file would tell."""


def web_servers(folder: Path, environ: Mapping[str, str]) -> Iterator[Workers]:
    """Yield what is known of the web servers that serve the project in this folder."""
    found = [*_gunicorn(folder, environ), *_uvicorn(environ), *_uwsgi(folder, environ)]
    if not found and (count := _count(environ.get("WEB_CONCURRENCY"))):
        found = [Workers("the web server", count, None, "WEB_CONCURRENCY")]
    yield from found


# gunicorn: its file, then GUNICORN_CMD_ARGS, which wins. A command line is nowhere to be read.


def _gunicorn(folder: Path, environ: Mapping[str, str]) -> Iterator[Workers]:
    arguments = _gunicorn_arguments(environ.get("GUNICORN_CMD_ARGS", ""))
    given = str(arguments.pop("config", ("gunicorn.conf.py", ""))[0])
    path = folder / given.removeprefix("file:")
    if not arguments and not os.path.isfile(path):
        return
    told: Values = {}
    if count := _count(environ.get("WEB_CONCURRENCY")):
        told["workers"] = count, "WEB_CONCURRENCY"
    if os.path.isfile(path):
        told.update(_assigned(path, environ))
    yield _gunicorn_workers({**told, **arguments})


def _gunicorn_workers(told: Values) -> Workers:
    kind = told.get("worker_class", ("sync", ""))[0]
    kind = "not readable" if kind is UNREADABLE else str(kind)
    processes, of_processes = _told(told, "workers", 1)
    threads, of_threads = _told(told, "threads", 1)
    green = next((name for name in ("gevent", "eventlet") if name in kind), None)
    if kind not in ("sync", "gthread") and not kind.endswith("ThreadWorker"):
        threads, of_threads = None, f"worker_class {kind}"
    return Workers("gunicorn", processes, threads, of_processes, of_threads, green)


def _told(told: Values, name: str, default: int) -> tuple[int | None, str]:
    value, source = told.get(name, (default, "its default"))
    if value is UNREADABLE:
        return None, f"{source}, which only running it would tell"
    return _count(value), source


class _Quiet(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _gunicorn_arguments(text: str) -> Values:
    """What of GUNICORN_CMD_ARGS is of interest here; nothing where gunicorn would refuse it."""
    parser = _Quiet(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-w", "--workers", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-k", "--worker-class")
    parser.add_argument("-c", "--config")
    try:
        found, _ = parser.parse_known_args(shlex.split(text))
    except ValueError:
        return {}
    return {name: (value, "GUNICORN_CMD_ARGS") for name, value in vars(found).items()}


def _assigned(path: Path, environ: Mapping[str, str]) -> Values:
    """The values that a file of Python assigns to its names, as far as they can be told."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return {}
    known: dict[str, Any] = {}
    for statement in tree.body:
        targets = _targets(statement)
        value = getattr(statement, "value", None) if len(targets) == 1 else None
        for name in targets:
            known[name] = UNREADABLE if value is None else _value(value, known, environ)
    return {name: (value, path.name) for name, value in known.items()}


def _targets(statement: ast.stmt) -> list[str]:
    """The names that a statement may assign to, in whatever way."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    stores = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
    found = [node.id for node in stores if isinstance(node.ctx, ast.Store)]
    plain = isinstance(statement, (ast.Assign, ast.AnnAssign)) and len(found) == 1
    return found if plain else [name for name in found for _ in range(2)]


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "min": min,
    "max": max,
    "round": round,
    "os.cpu_count": os.cpu_count,
    "multiprocessing.cpu_count": os.cpu_count,
    "cpu_count": os.cpu_count,
}


def _value(node: ast.expr, known: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """What an expression comes to, of the few kinds that such files have."""
    try:
        return _computed(node, known, environ)
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return UNREADABLE


def _computed(node: ast.expr, known: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """Raises ``LookupError`` for what is of no known kind, and what computing it raises."""

    def of(inner: ast.expr) -> Any:
        return _computed(inner, known, environ)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return known[node.id]
        case ast.BinOp():
            return _OPERATORS[type(node.op)](of(node.left), of(node.right))
        case ast.BoolOp(op=ast.Or()):
            return next((value for value in map(of, node.values) if value), None)
        case ast.Subscript() if ast.unparse(node.value) == "os.environ":
            return environ[of(node.slice)]
        case ast.Call(keywords=[]):
            name, arguments = ast.unparse(node.func), [of(one) for one in node.args]
            if name in ("os.environ.get", "os.getenv", "environ.get", "getenv"):
                return environ.get(*arguments)
            return _FUNCTIONS[name](*arguments)
    raise LookupError(type(node).__name__)


# uvicorn: every option as UVICORN_*, as its command line has it from the package click.


def _uvicorn(environ: Mapping[str, str]) -> Iterator[Workers]:
    names = [name for name in environ if name.startswith("UVICORN_")]
    if not names:
        return
    sources = ("UVICORN_WORKERS", "WEB_CONCURRENCY")
    told = next(((c, name) for name in sources if (c := _count(environ.get(name)))), None)
    processes, source = told or (1, "its default")
    yield Workers("uvicorn", processes, None, source, "a thread for each request")


# uWSGI: its file of this name, then the environment, which wins.


def _uwsgi(folder: Path, environ: Mapping[str, str]) -> Iterator[Workers]:
    path = folder / "uwsgi.ini"
    told = _of_ini(path)
    names = ("workers", "processes", "threads")
    keys = {name: f"UWSGI_{name.upper()}" for name in names}
    given = {name: (environ[key], key) for name, key in keys.items() if key in environ}
    if not os.path.isfile(path) and not given:
        return
    # Its two names for one thing. The environment wins.
    both = [source["workers"] for source in (told, given) if "workers" in source]
    told = {**told, **given, **({"processes": both[-1]} if both else {})}
    processes, of_processes = _told(told, "processes", 1)
    threads, of_threads = _told(told, "threads", 1)
    yield Workers("uWSGI", processes, threads, of_processes, of_threads)


def _of_ini(path: Path) -> Values:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        found = parser["uwsgi"] if parser.has_section("uwsgi") else {}
    except (OSError, ValueError, configparser.Error):
        return {}
    return {name: (value or "", path.name) for name, value in found.items()}


def _count(value: Any) -> int | None:
    """A number of processes or threads; None for what is none."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count else None
