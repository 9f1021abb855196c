"""A TCP proxy with tricks, to stand between a pool and its server.

It runs in a thread of its own. A trick is in force when its method returns, for connections that
there are as for later ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.helpers import HANG
from tests.server.private import free_port

__all__ = ["Answer", "Proxy", "Way"]

CHUNK = 65_536
HOST = "127.0.0.1"
# A socket that is closed with this sends RST instead of FIN.
RESET = struct.pack("ii", 1, 0)


class Way(enum.Enum):
    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


@dataclass
class Answer:
    """What becomes of the server's answer to the next request that holds a text.

    Letters may be small or not: Oracle's client library says ``commit``, and MariaDB's ``COMMIT``.
    """

    to: bytes
    keep: int = 0
    """How many bytes of it the client gets."""
    instead: bytes = b""
    """What it gets after these."""
    close: bool = True
    reset: bool = False
    came: threading.Event = field(default_factory=threading.Event)
    """The server has answered; so whatever was asked for is done."""
    go: threading.Event = field(default_factory=threading.Event)
    """Until it is set, the client gets nothing of all that."""


class Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.server: socket.socket | None = None
        self.task: asyncio.Task[None] | None = None
        self.reset = self.ends = self.forgotten = False
        self.answer: Answer | None = None

    def close(self) -> None:
        for one in (self.client, self.server):
            if one is None:
                continue
            if self.reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.close()


class Proxy:
    """Passes on what comes to ``host`` and ``port``, from entering the block to its end.

    ``client_timeout`` closes a connection on which nothing came for so many seconds, as proxies do.
    """

    host = HOST

    def __init__(self, server: Any, client_timeout: float | None = None) -> None:
        self.port = free_port()
        self._upstream = server.host, server.port
        self._client_timeout = client_timeout
        self._links: set[Link] = set()
        self._muted: set[Way] = set()
        self._drip: float | None = None
        self._greeting: bytes | None = None
        self._answers: list[Answer] = []
        self._loop = asyncio.new_event_loop()
        self._flowing = {way: asyncio.Event() for way in Way}
        for event in self._flowing.values():
            event.set()
        self._door: socket.socket | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HANG)
        self._loop.close()

    @property
    def links(self) -> int:
        """How many connections there are through it now."""
        return len(self._links)

    # Tricks

    def accept(self) -> None:
        """Listen, on the same port as before. That is so from the start."""
        self._run(self._listen())

    def refuse(self) -> None:
        """Stop listening. What is connected stays so."""
        self._run(self._stop_listening())

    def cut(self, reset: bool = False) -> None:
        """Close all connections, on both sides; by RST where asked."""
        self._run(self._cut(list(self._links), reset))

    def lead_to(self, server: Any) -> None:
        """Connect to another server from now on. What is connected stays so."""
        self._upstream = server.host, server.port

    @contextlib.contextmanager
    def stalled(self, *ways: Way) -> Iterator[None]:
        """Deliver nothing in these directions (both, if none is named) until the block ends."""
        chosen = [self._flowing[way] for way in ways or Way]
        self._run(self._each(asyncio.Event.clear, chosen))
        try:
            yield
        finally:
            self._run(self._each(asyncio.Event.set, chosen))

    def mute(self, *ways: Way) -> None:
        """Swallow what goes in these directions (both, if none is named), for good."""
        self._muted.update(ways or Way)

    def forget(self) -> None:
        """Swallow what goes through present connections, as a firewall does that was restarted."""
        for link in list(self._links):
            link.forgotten = True

    def speak(self) -> None:
        """Swallow nothing any more, but what goes through forgotten connections."""
        self._muted.clear()

    def drip(self, seconds: float | None) -> None:
        """Pass on a byte at a time, with a pause after each; ``None`` ends it."""
        self._drip = seconds

    def greet(self, greeting: bytes | None) -> None:
        """Send a new client this, and nothing else; ``None`` lets the server greet."""
        self._greeting = greeting

    def answer(self, answer: Answer, hold: bool = False) -> Answer:
        """Do that to an answer, once. With ``hold`` only when ``answer.go`` is set."""
        if not hold:
            answer.go.set()
        self._answers.append(answer)
        return answer

    def lose_answer(self, to: bytes, reset: bool = False) -> Answer:
        """Close instead of passing on the answer to the next request that holds this text."""
        return self.answer(Answer(to, reset=reset))

    # In the proxy's thread

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(HANG)

    async def _each(self, method: Any, events: list[asyncio.Event]) -> None:
        for event in events:
            method(event)

    async def _listen(self) -> None:
        if self._door is not None:
            return
        door = self._door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.setblocking(False)
        door.bind((self.host, self.port))
        door.listen(512)
        self._loop.add_reader(door, self._let_in, door)

    async def _stop_listening(self) -> None:
        if (door := self._door) is not None:
            self._let_in(door)  # Who is connected, as far as the system is concerned, stays so.
            self._loop.remove_reader(door)
            door.close()
            self._door = None

    def _let_in(self, door: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = door.accept()
                client.setblocking(False)
                link = Link(client)
                self._links.add(link)
                link.task = self._loop.create_task(self._serve(link))

    async def _cut(self, links: list[Link], reset: bool) -> None:
        await asyncio.sleep(0)  # A task that is cancelled before it began never closes anything.
        tasks = [link.task for link in links if link.task is not None]
        for link in links:
            if link.task is not None and not link.ends:
                link.reset = reset
                link.task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, link: Link) -> None:
        pumps: list[asyncio.Task[None]] = []
        try:
            if self._greeting is not None:
                await self._loop.sock_sendall(link.client, self._greeting)
                while await self._loop.sock_recv(link.client, CHUNK):
                    pass
                return
            link.server = self._way_on(link.client)
            link.server.setblocking(False)
            await self._loop.sock_connect(link.server, self._upstream)
            for one in (link.client, link.server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pumps += [
                self._loop.create_task(self._pump(link, link.client, link.server, Way.TO_SERVER)),
                self._loop.create_task(self._pump(link, link.server, link.client, Way.TO_CLIENT)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (ConnectionError, asyncio.CancelledError):
            pass  # One side is gone, or somebody cuts: then both sides are closed.
        finally:
            link.ends = True
            for pump in pumps:
                pump.cancel()
            if pumps:
                await asyncio.wait(pumps)
            link.close()
            self._links.discard(link)

    def _way_on(self, client: socket.socket) -> socket.socket:
        """The socket that is to be connected to the server for a client."""
        return socket.socket()

    async def _pump(
        self, link: Link, source: socket.socket, target: socket.socket, way: Way
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._read(source, way):
                if way is Way.TO_SERVER:
                    self._look_for_request(link, data)
                elif link.answer is not None:
                    answer, link.answer = link.answer, None
                    data = await self._changed(answer, data)
                    await self._deliver(link, target, data, way)
                    if answer.close:
                        link.reset = answer.reset
                        return
                    continue
                await self._deliver(link, target, data, way)

    async def _read(self, source: socket.socket, way: Way) -> bytes:
        reading = self._loop.sock_recv(source, CHUNK)
        if way is Way.TO_CLIENT or self._client_timeout is None:
            return await reading
        try:
            return await asyncio.wait_for(reading, self._client_timeout)
        except TimeoutError:
            return b""

    def _look_for_request(self, link: Link, data: bytes) -> None:
        for answer in self._answers:
            if answer.to.upper() in data.upper():
                self._answers.remove(answer)
                link.answer = answer
                return

    async def _changed(self, answer: Answer, data: bytes) -> bytes:
        answer.came.set()
        while not answer.go.is_set():
            await asyncio.sleep(0.002)
        return data[: answer.keep] + answer.instead

    async def _deliver(self, link: Link, target: socket.socket, data: bytes, way: Way) -> None:
        await self._flowing[way].wait()
        if link.forgotten or way in self._muted:
            return
        if self._drip is None:
            await self._loop.sock_sendall(target, data)
            return
        for byte in data:
            await self._loop.sock_sendall(target, bytes([byte]))
            await asyncio.sleep(self._drip or 0)
