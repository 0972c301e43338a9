"""A small threaded HTTP/1.1 server that may misbehave on purpose.

The servers of the standard library are polite: they cannot drop a connection half way through a
body, nor notice that a client left while they were thinking. This one hands each request to one
function together with its connection, and that function does what it likes with the socket. One
thread per connection, one write per response, and closing wakes everything that waits.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote

MAX_HEAD = 64 * 1024
READ_SIZE = 64 * 1024
JSON_TYPE = "application/json; charset=utf-8"
NOT_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n400 Bad Request"
)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
# Linux reports a peer's departure without the data that may still be unread; elsewhere peek.
_RDHUP: int = getattr(select, "POLLRDHUP", 0)


class ClientGoneError(Exception):
    """The other side closed the connection, or the server is closing."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as read; header names are in lower case, `path` is decoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    http11: bool
    keep_alive: bool


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Encode a status line and headers, with the time of day."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}"]
    dated = {"Date": formatdate(usegmt=True), **headers}
    lines += [f"{name}: {value}" for name, value in dated.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """Encode one piece of a chunked body; no data at all is its end."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Connection:
    """One client's socket; every way of losing the client is a `ClientGoneError`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sent = 0
        self._sock = sock
        self._unread = b""

    def read(self) -> Request | None:
        """Return the next request, None when the client is done; raise ValueError on nonsense."""
        while b"\r\n\r\n" not in self._unread:
            if len(self._unread) > MAX_HEAD:
                raise ValueError("request head is too long")
            if not self._fill():
                return None
        raw, _, self._unread = self._unread.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").lstrip("\r\n").split("\r\n")
        method, target, version = first.split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        http11 = version != "HTTP/1.0"
        wish = headers.get("connection", "").lower()
        path, _, query = target.partition("?")
        return Request(
            method=method,
            path=unquote(path),
            query=query,
            headers=headers,
            body=self._read_body(headers),
            http11=http11,
            keep_alive="close" not in wish and (http11 or "keep-alive" in wish),
        )

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", "").lower():
            return self._take(int(headers.get("content-length") or 0))
        body = b""
        while size := int(self._take_line().split(b";")[0], 16):
            body += self._take(size)
            self._take_line()
        while self._take_line():
            pass
        return body

    def _fill(self) -> bool:
        try:
            data = self._sock.recv(READ_SIZE)
        except OSError:
            data = b""
        self._unread += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            if not self._fill():
                raise ClientGoneError
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def _take_line(self) -> bytes:
        while b"\r\n" not in self._unread:
            if not self._fill():
                raise ClientGoneError
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def send(self, data: bytes) -> None:
        """Send all of it; raise ClientGoneError if the client does not take it."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ClientGoneError from error
        self.sent += len(data)

    def wait(self, seconds: float) -> None:
        """Sleep; raise ClientGoneError as soon as the client leaves or the server closes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._readable(left):
                if self._left():
                    raise ClientGoneError
                time.sleep(min(left, 0.02))

    def gone(self) -> bool:
        """Tell whether the client has left."""
        return self._readable(0) and self._left()

    def _readable(self, seconds: float) -> bool:
        try:
            poll = select.poll()
            poll.register(self._sock, _RDHUP or select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        except (OSError, ValueError):
            return True

    def _left(self) -> bool:
        if _RDHUP:
            return True
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def reset(self) -> None:
        """Break the connection off with a TCP reset instead of an orderly end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def shut(self) -> None:
        """Wake whoever waits on this connection, from any thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; harmless when it is closed already."""
        self._sock.close()


Handler = Callable[[Request, Connection], bool]
"""Answers one request; returns whether the connection may serve another."""


class HttpServer:
    """Accepts on one address and runs `handle` for each request, a thread per connection."""

    def __init__(self, host: str, port: int, handle: Handler) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, Connection] = {}
        self._closing = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, name="llmc-fake-accept", daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="llmc-fake-client", daemon=True
            )
            with self._lock:
                if self._closing:
                    connection.close()
                    return
                self._open[thread] = connection
                thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            while (request := self._read(connection)) is not None:
                if not self._handle(request, connection) or not request.keep_alive:
                    return
        except ClientGoneError:
            pass
        finally:
            connection.close()
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def _read(self, connection: Connection) -> Request | None:
        try:
            return connection.read()
        except ValueError:
            connection.send(NOT_HTTP)
            return None

    def close(self, seconds: float = 1.0) -> None:
        """Stop accepting, cut every connection and join the threads for at most `seconds`."""
        with self._lock:
            self._closing = True
            open_now = dict(self._open)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in open_now.values():
            connection.shut()
        deadline = time.monotonic() + seconds
        for thread in (self._acceptor, *open_now):
            thread.join(max(0.0, deadline - time.monotonic()))
