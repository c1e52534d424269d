"""A network between an object store and its client, that can be cut, and a server that can refuse."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType


class Wire:
    """Passes connections on to a server; use it as a context manager. Its state counts for every request that follows.

    ``cut`` and ``answer`` end the connections there are, in the middle of whatever they carry.
    """

    def __init__(self, endpoint: str) -> None:
        """Listen on a port of its own for what goes to ``endpoint``."""
        parts = urlsplit(endpoint)
        self._server = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._whole = True
        self._answer = b""
        self._answers_lost = 0
        self._threads: list[threading.Thread] = []

    def mend(self) -> None:
        """Pass everything on from now on."""
        self._set(whole=True, answer=b"")

    def cut(self) -> None:
        """Carry nothing from now on: whoever connects is hung up on."""
        self._set(whole=False, answer=b"")

    def answer(self, status: str) -> None:
        """Answer every request by an HTTP status, as ``503 Slow Down``, in the server's place."""
        self._set(whole=False, answer=f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    def lose_answers(self, count: int) -> None:
        """Hang up instead of passing on the next ``count`` answers: the server has done what it was asked to."""
        with self._lock:
            self._answers_lost = count

    def _set(self, *, whole: bool, answer: bytes) -> None:
        with self._lock:
            self._whole, self._answer = whole, answer
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _start(self, call: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=call, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        with client, contextlib.suppress(OSError), self._registered(client):
            if not self._whole:
                if self._answer and client.recv(1 << 16):
                    client.sendall(self._answer)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1 << 16):
                        pass  # a body that is still on its way: hanging up would reset what we said
                return
            with socket.create_connection(self._server) as server, self._registered(server):
                self._start(self._carry, client, server)
                while data := server.recv(1 << 16):
                    if self._loses():
                        break
                    client.sendall(data)
                for end in (client, server):
                    end.shutdown(socket.SHUT_RDWR)

    def _loses(self) -> bool:
        with self._lock:
            lost = self._answers_lost > 0
            self._answers_lost -= lost
            return lost

    @contextlib.contextmanager
    def _registered(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._start(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up, and wait until all threads are gone."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()
