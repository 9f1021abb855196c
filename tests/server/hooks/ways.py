"""Every way in which code of others takes part in connecting. Each works on any engine of Django.

What is said is not theirs to decide: a `Speaker` knows it, for the thread that connects.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from django.db.backends.mysql.base import DatabaseWrapper as Engine
else:
    # Below one of these classes stands Django's wrapper, or ours.
    Engine = object

Speech = Callable[[Any, Callable[[str, Any], object]], None]
"""Says what is to be said: to the driver's connection, and by a function that executes."""


class Speaker(threading.local):
    """What the present thread has to say whenever somebody hooks in."""

    speech: Speech | None = None
    change_params: Callable[[Any, dict[str, Any]], None] | None = None
    seen: list[str] | None = None  # the statements that instrumentation saw

    def speak(self, raw: Any, new_cursor: Callable[[], Any]) -> None:
        """Nobody is asked again by what is said, though a hook may hear that, too."""
        speech, self.speech = self.speech, None
        if speech is None:
            return

        def execute(sql: str, args: Any) -> None:
            cursor = new_cursor()
            try:
                cursor.execute(sql, args)
                while cursor.nextset():
                    pass
            finally:
                cursor.close()

        try:
            speech(raw, execute)
        finally:
            self.speech = speech


speaker = Speaker()


def through(wrapper: Any) -> None:
    """Speak as receivers do, by a cursor of Django."""
    speaker.speak(wrapper.connection, wrapper.cursor)


def directly(raw: Any) -> None:
    """Speak by a cursor of the driver, as long as Django has no connection, or below it."""
    speaker.speak(raw, raw.cursor)


# Methods that are overridden


class ByParameters(Engine):
    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        if speaker.change_params is not None:
            speaker.change_params(self, params)
        return params


class ByNewConnection(Engine):
    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        directly(connection)
        return connection


class ByWrappedConnection(Engine):
    def get_new_connection(self, conn_params: Any) -> Any:
        connection = Instrumented(super().get_new_connection(conn_params))
        directly(connection)
        return connection


class ByConnectionState(Engine):
    def init_connection_state(self) -> None:
        super().init_connection_state()
        through(self)


class BeforeConnectionState(Engine):
    def init_connection_state(self) -> None:
        through(self)
        super().init_connection_state()


class ByConnect(Engine):
    def connect(self) -> None:
        super().connect()
        through(self)


class ByEnsureConnection(Engine):
    def ensure_connection(self) -> None:
        new = self.connection is None
        super().ensure_connection()
        if new:
            through(self)


class ByCreateCursor(Engine):
    def create_cursor(self, name: Any = None) -> Any:
        cursor = super().create_cursor(name)
        directly(self.connection)
        return cursor


class ByCursor(Engine):
    def _cursor(self, name: Any = None) -> Any:
        cursor = super()._cursor(name)  # type: ignore[misc]
        directly(self.connection)
        return cursor


class BySetAutocommit(Engine):
    def set_autocommit(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        super().set_autocommit(autocommit, *args, **kwargs)
        if self.connection is not None:
            directly(self.connection)


class ByDriverAutocommit(Engine):
    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]
        directly(self.connection)


class ByIsUsable(Engine):
    def is_usable(self) -> bool:
        usable = super().is_usable()
        if usable:
            through(self)
        return usable


class ByClose(Engine):
    def close(self) -> None:
        if self.connection is not None:
            through(self)
        super().close()


class Instrumented:
    """Stands before the driver's connection, as instrumentation does, and sees what is sent."""

    def __init__(self, connection: Any) -> None:
        object.__setattr__(self, "wrapped", connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "wrapped"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "wrapped"), name, value)

    def cursor(self, *args: Any, **kwargs: Any) -> InstrumentedCursor:
        return InstrumentedCursor(self.wrapped.cursor(*args, **kwargs))


class InstrumentedCursor:
    def __init__(self, cursor: Any) -> None:
        self.wrapped = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.wrapped)

    def execute(self, query: Any, args: Any = None) -> Any:
        if speaker.seen is not None:
            speaker.seen.append(str(query))
        return self.wrapped.execute(query, args)


# What is done to a wrapper from outside


def replace_connection_state(wrapper: Any) -> None:
    """The instance has another method than its class."""
    original = wrapper.init_connection_state

    def init_connection_state() -> None:
        original()
        through(wrapper)

    wrapper.init_connection_state = init_connection_state


def replace_connect(wrapper: Any) -> None:
    original = wrapper.connect

    def connect() -> None:
        original()
        through(wrapper)

    wrapper.connect = connect


def replace_parameters(wrapper: Any) -> None:
    original = wrapper.get_connection_params

    def get_connection_params() -> Any:
        params = original()
        if speaker.change_params is not None:
            speaker.change_params(wrapper, params)
        return params

    wrapper.get_connection_params = get_connection_params


def replace_create_cursor(wrapper: Any) -> None:
    original = wrapper.create_cursor

    def create_cursor(name: Any = None) -> Any:
        cursor = original(name)
        directly(wrapper.connection)
        return cursor

    wrapper.create_cursor = create_cursor


def add_execute_wrapper(wrapper: Any) -> None:
    """Speaks before each statement, on the connection that is going to execute it."""

    def execute_wrapper(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        directly(context["connection"].connection)
        return execute(sql, params, many, context)

    wrapper.execute_wrappers.append(execute_wrapper)


@dataclass(frozen=True)
class Way:
    mixin: type[Any] | None = None
    receives: bool = False  # of connection_created
    prepare: Callable[[Any], None] | None = None  # a thread's wrapper, once
    probes: bool = False  # a turn asks is_usable()

    @contextmanager
    def listening(self, alias: str) -> Iterator[None]:
        """While a receiver listens, if this way is one. It speaks on one alias only."""

        def receiver(connection: Any, **_: Any) -> None:
            if connection.alias == alias:
                through(connection)

        if self.receives:
            connection_created.connect(receiver)
        try:
            yield
        finally:
            connection_created.disconnect(receiver)

    def meet(self, alias: str) -> None:
        """A thread uses the alias for the first time."""
        if self.prepare is not None:
            self.prepare(connections[alias])


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "receiver": Way(receives=True),
        "init_connection_state": Way(ByConnectionState),
        "init_connection_state_before": Way(BeforeConnectionState),
        "get_new_connection": Way(ByNewConnection),
        "wrapped_connection": Way(ByWrappedConnection),
        "connect": Way(ByConnect),
        "ensure_connection": Way(ByEnsureConnection),
        "create_cursor": Way(ByCreateCursor),
        "_cursor": Way(ByCursor),
        "set_autocommit": Way(BySetAutocommit),
        "_set_autocommit": Way(ByDriverAutocommit),
        "is_usable": Way(ByIsUsable, probes=True),
        "close": Way(ByClose),
        "execute_wrapper": Way(prepare=add_execute_wrapper),
        "instance_init_connection_state": Way(prepare=replace_connection_state),
        "instance_connect": Way(prepare=replace_connect),
        "instance_create_cursor": Way(prepare=replace_create_cursor),
    }
)

PARAMETER_WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "get_connection_params": Way(ByParameters),
        "instance_get_connection_params": Way(prepare=replace_parameters),
    }
)
