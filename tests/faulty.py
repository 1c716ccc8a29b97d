"""A TCP proxy before an object store that fails connections as stores and networks do, and passes the others on.

What it passes on it does not touch, so that signatures stay valid.
"""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["503 SlowDown", "500 InternalError", "409 ConditionalRequestConflict", "reset", "cut"]
"""An answer; or the connection is reset when the request has come, or CUT bytes into the answers."""
CUT = 600
"""An answer to HEAD or PUT is shorter, a listing longer."""


class Faulty(socketserver.ThreadingTCPServer):
    """seen: connections so far; the first `times` of them meet the fault."""

    daemon_threads = True

    def __init__(self, target: str, fault: Fault, times: float) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = urlsplit(target)
        self.fault, self.times = fault, times
        self.count = itertools.count(1)
        self.seen = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def faulty(target: str, fault: Fault, times: float) -> Iterator[Faulty]:
    with Faulty(target, fault, times) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Connection(socketserver.BaseRequestHandler):
    server: Faulty
    request: socket.socket

    def handle(self) -> None:
        self.server.seen = number = next(self.server.count)
        fault = self.server.fault if number <= self.server.times else None
        if fault is None or fault == "cut":
            self._pass_on(CUT if fault else None)
            return
        head = self.request.recv(1 << 16)
        if fault == "reset":
            _reset(self.request)
        else:
            self._answer(fault, head)

    def _answer(self, status: str, head: bytes) -> None:
        body = b"" if head.startswith(b"HEAD") else f"<Error><Code>{status.split()[1]}</Code></Error>".encode()
        self.request.sendall(f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
                             "Connection: close\r\n\r\n".encode() + body)
        self.request.shutdown(socket.SHUT_WR)
        while self.request.recv(1 << 16):  # a close with bytes unread would be a reset
            pass

    def _pass_on(self, limit: int | None) -> None:
        with socket.create_connection((self.server.target.hostname, self.server.target.port)) as store:
            threading.Thread(target=_copy, args=(self.request, store, None), daemon=True).start()
            _copy(store, self.request, limit)
        if limit:
            _reset(self.request)


def _copy(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data[:limit])
            if limit is not None and (limit := limit - len(data)) <= 0:
                return
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # the other side has gone
        pass


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)  # wakes the thread that still reads, which holds the connection open
    connection.close()
