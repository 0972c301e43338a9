"""HTTP with one deadline per request: the only place a socket is opened.

A blocking read knows only a timeout per receive, so a server that drips bytes could hold a thread
for ever. Here a single watchdog thread shuts the socket at the request's deadline or when the
request is cancelled, which wakes the reader at once. Connections are kept for reuse; one that the
server has closed meanwhile is noticed before it is used, so no request is ever sent twice. What a
server says in an error holds none of the keys that were sent.
"""

from __future__ import annotations

import heapq
import http.client
import io
import itertools
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from llmc.errors import CancelledError, ConnectError, DeadlineError, RequestError
from llmc.redaction.keys import Redaction, find_url_secrets

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A reply larger than this is a runaway server, not an answer."""

MAX_HEADERS = 100
MAX_HEADER_BYTES = 65536
"""The bounds that the standard library sets."""

MAX_COMPLAINT_BYTES = 2000
"""What is read of a body that says what is wrong; more is a page made for a browser."""

MAX_TIMEOUT_SEC = 7 * 86400.0
"""What stands for "no timeout": the system's timers take no infinity."""

_NOT_A_URL = "the configured URL is not http:// or https:// with a host and, perhaps, a port"
"""It says no more: what a URL holds may be a password."""

_SIGNING = ("authorization", "api-key", "x-api-key")
"""Headers that hold a key, by their lower-case names."""

_Place = tuple[str, str, int | None]


class Cancellation:
    """A switch that ends every request made under it, from any thread, for good."""

    def __init__(self) -> None:
        self._switch = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Exchange] = set()

    @property
    def is_set(self) -> bool:
        return self._switch.is_set()

    def wait(self, seconds: float) -> bool:
        """Pause for some time; return at once, and True, when cancelled."""
        return self._switch.wait(max(0.0, min(seconds, MAX_TIMEOUT_SEC)))

    def cancel(self) -> None:
        """Close the sockets of all requests under way, and refuse later ones."""
        with self._lock:
            self._switch.set()
            for exchange in self._open:
                exchange.abort()

    def _enter(self, exchange: Exchange) -> None:
        with self._lock:
            if self.is_set:
                raise CancelledError("cancelled")
            self._open.add(exchange)

    def _leave(self, exchange: Exchange) -> None:
        with self._lock:
            self._open.discard(exchange)


class Client:
    """Keeps connections to the servers it has spoken to. Safe to share between threads.

    `cancellation` ends all its requests; a request may bring one of its own instead.
    `connect_timeout` bounds each connection's making, in seconds; None: the request's deadline.
    `redaction` knows these secrets and what requests were signed with: what servers say goes
    through it before anyone sees it, other than as the body of an answer.
    """

    def __init__(
        self, *, connect_timeout: float | None = None, secrets: Iterable[str] = ()
    ) -> None:
        self.cancellation = Cancellation()
        self.connect_timeout = connect_timeout
        self.redaction = Redaction(secrets)
        self._idle: defaultdict[_Place, list[http.client.HTTPConnection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def request(  # noqa: PLR0913 - what a request is made of
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
        cancellation: Cancellation | None = None,
        resend: bool = False,
    ) -> Exchange:
        """Send one request; return the exchange once the response's headers are in.

        `timeout` is the total in seconds, from now to the last byte of the body. `resend` sends
        the request once more if a kept connection turns out to have been closed by the server:
        it then had not answered, and in all likelihood not read it.
        Raises RequestError.
        """
        try:
            parts = urlsplit(url)
            place = (parts.scheme.lower(), parts.hostname or "", parts.port)
        except ValueError as error:
            raise ConnectError(_NOT_A_URL) from error
        if place[0] not in ("http", "https") or not place[1]:
            raise ConnectError(_NOT_A_URL)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        exchange = Exchange(
            self,
            place,
            time.monotonic() + min(timeout, MAX_TIMEOUT_SEC),
            cancellation or self.cancellation,
        )
        headers = {**_signed(parts), **(headers or {})}
        if parts.username is not None or parts.query:
            self.redaction.learn(*find_url_secrets(url))
        for name, value in headers.items():
            if name.lower() in _SIGNING:
                self.redaction.learn(value.rpartition(" ")[2])
        send = (method, target, body, headers)
        exchange.begin(*send, resend=resend)
        return exchange

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def take(self, place: _Place) -> http.client.HTTPConnection | None:
        """Return an idle connection to `place` that is still open, None if there is none."""
        while connection := self._pop(place):
            if connection.sock and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()
        return None

    def secured(self, sock: socket.socket, host: str) -> ssl.SSLSocket:
        """Return the socket with TLS on top, its handshake yet to be done. Raises OSError."""
        self._tls = self._tls or ssl.create_default_context()
        return self._tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)

    def give(self, place: _Place, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose response has been read to its end."""
        with self._lock:
            self._idle[place].append(connection)

    def _pop(self, place: _Place) -> http.client.HTTPConnection | None:
        with self._lock:
            connections = self._idle.get(place)
            return connections.pop() if connections else None


class Exchange:
    """One request and its response, under a deadline. Use as a context manager."""

    def __init__(
        self, client: Client, place: _Place, deadline: float, cancellation: Cancellation
    ) -> None:
        self._client = client
        self._place = place
        self._deadline = deadline
        self._cancellation = cancellation
        self._connection: http.client.HTTPConnection | None = None
        self._sock: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._body: Callable[[int], bytes] | None = None
        self._aborted = False
        self._finished = False
        self._lock = threading.Lock()

    @property
    def status(self) -> int:
        return self._answer.status

    def header(self, name: str) -> str | None:
        """Return a response header, None when it is absent."""
        return self._answer.getheader(name)

    def begin(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        resend: bool,
    ) -> None:
        """Connect, send the request and wait for the response's headers."""
        self._cancellation._enter(self)
        _WATCHDOG.watch(self, self._deadline)
        try:
            kept = self._client.take(self._place)
            try:
                self._send(kept or self._connect(), method, target, body, headers)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if kept is None or not resend or self._aborted:
                    raise
                kept.close()
                self._send(self._connect(), method, target, body, headers)
        except RequestError:
            self.close()
            raise
        except ValueError:
            # Its text holds the header, which may be a key.
            refused = ValueError("the URL or a header holds characters that HTTP does not allow")
            raise self._failed(refused) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from error
        if self._aborted:
            raise self._failed(EOFError("closed"))

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> None:
        self._connection = connection
        self._hold(connection.sock)
        connection.request(method, target, body=body, headers=dict(headers))
        self._response = connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        scheme, host, port = self._place
        secure = scheme == "https"
        error: Exception = OSError("the name has no address")
        try:
            found = socket.getaddrinfo(host, port or (443 if secure else 80), 0, socket.SOCK_STREAM)
        except (OSError, ValueError) as failure:
            found, error = [], failure
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                self._hold(sock, self._client.connect_timeout)
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if secure:
                    secured = self._client.secured(sock, host)
                    sock = secured
                    self._hold(sock, self._client.connect_timeout)
                    secured.do_handshake()
                sock.settimeout(self._left())
            except (OSError, ValueError) as failure:
                sock.close()
                error = failure
            else:
                connection = http.client.HTTPConnection(host, port)
                connection.sock = sock
                connection.response_class = _Response
                return connection
        if self._aborted:
            raise self._failed(error) from error
        why = getattr(error, "strerror", None) or str(error)
        raise ConnectError(f"cannot connect to {_address(self._place)}: {why}", why) from error

    def _hold(self, sock: socket.socket, timeout: float | None = None) -> None:
        """Take hold of the socket, so that `abort` finds it. Raises OSError if that was before."""
        with self._lock:
            self._sock = sock
            if self._aborted:
                raise OSError("aborted")
        sock.settimeout(self._left() if timeout is None else min(timeout, self._left()))

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes in. Raises RequestError when it breaks off."""
        total = 0
        if self._body is None:
            answer = self._answer
            self._body = _Chunks(answer.fp.read1).read if answer.chunked else answer.read1
        while True:
            try:
                chunk = self._body(65536)
            except (OSError, EOFError, http.client.HTTPException, ValueError) as error:
                raise self._failed(error) from error
            if not chunk:
                if self._answer.length:
                    raise self._failed(EOFError(f"{self._answer.length} bytes are missing"))
                if self._aborted:
                    raise self._failed(EOFError("closed"))
                self._finished = True
                self._answer.close()
                return
            total += len(chunk)
            if total > MAX_BODY_BYTES:
                raise self._failed(OverflowError(f"the body exceeds {MAX_BODY_BYTES} bytes"))
            yield chunk

    def read(self) -> bytes:
        """Return the whole body. Raises RequestError when it breaks off."""
        return b"".join(self.chunks())

    def complaint(self) -> str:
        """Read the body of an error as text, without secrets. Raises RequestError."""
        said = self.read()[:MAX_COMPLAINT_BYTES].decode("utf-8", "replace")
        return self._client.redaction(said)

    def hasten(self, seconds: float) -> None:
        """Bring the deadline forward to at most `seconds` from now."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        _WATCHDOG.watch(self, self._deadline)

    def drain(self, seconds: float = 0.05) -> None:
        """Read what is left of a body that has said all, so that the connection can be kept.

        A server that does not end it in time loses the connection, nothing else.
        """
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        with suppress(RequestError, OSError):
            if self._sock is not None:
                self._sock.settimeout(self._left())
            for _ in self.chunks():
                pass

    def abort(self) -> None:
        """Shut the socket down, from any thread; a blocked reader wakes with an error."""
        with self._lock:
            self._aborted = True
            if self._sock is not None:
                with suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the exchange; the connection is kept if the response was read to its end."""
        self._cancellation._leave(self)
        _WATCHDOG.forget(self)
        with self._lock:
            self._sock = None
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._finished and not self._aborted and not self._answer.will_close:
            self._client.give(self._place, connection)
        else:
            connection.close()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _answer(self) -> http.client.HTTPResponse:
        assert self._response is not None, "begin() has not returned"
        return self._response

    def _left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def _failed(self, error: Exception) -> RequestError:
        self.close()
        if self._cancellation.is_set:
            return CancelledError("cancelled")
        if isinstance(error, TimeoutError) or time.monotonic() >= self._deadline:
            what = f"{_address(self._place)} did not answer in full by the deadline"
            return DeadlineError(what, silent=self._response is None)
        said = self._client.redaction(str(error))
        return RequestError(f"{_address(self._place)}: {said or type(error).__name__}")


class _Chunks:
    """Takes the framing off a chunked body (RFC 9112, section 7.1), all that has come in at a time.

    `read1` gives what has come in, at most so many bytes, and nothing at the end of the stream.
    """

    def __init__(self, read1: Callable[[int], bytes]) -> None:
        self._read1 = read1
        self._raw = b""
        self._left = 0
        self._ends_chunk = self._ends_body = self._done = False

    def read(self, size: int) -> bytes:
        """Return the next piece, nothing at the end. Raises EOFError, ValueError, OSError."""
        while not self._done:
            pieces = self._taken()
            if pieces:
                return b"".join(pieces)
            if not self._done:
                more = self._read1(size)
                if not more:
                    raise EOFError("the body breaks off")
                self._raw += more
        return b""

    def _taken(self) -> list[bytes]:
        """Take the data out of what has come in."""
        raw, at, pieces = self._raw, 0, []
        while not self._done:
            if self._left:
                piece = raw[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._ends_chunk = True
            end = raw.find(b"\n", at)
            if end < 0:
                if len(raw) - at > MAX_HEADER_BYTES:
                    raise ValueError("a chunk has no size")
                break
            line, at = raw[at:end].strip(), end + 1
            if self._ends_chunk:
                self._ends_chunk = False
                if line:
                    raise ValueError("a chunk is longer than it says")
            elif self._ends_body:
                self._done = not line
            else:
                self._left = int(line.partition(b";")[0], 16)
                self._ends_body = not self._left
                if self._left < 0:
                    raise ValueError("a chunk has a negative size")
        self._raw = raw[at:]
        return [piece for piece in pieces if piece]


class _Reader(io.BufferedReader):
    """Tells an end of the stream within a line of the headers from their end."""

    _has_answered = False

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line and not self._has_answered:
            raise http.client.RemoteDisconnected("the connection was closed without an answer")
        self._has_answered = True
        if not line.endswith(b"\n") and (size is None or size < 0 or len(line) < size):
            raise ConnectionResetError("the connection was closed within the headers")
        return line

    def end_of_headers(self) -> None:
        """Read plainly from now on: the lines of a chunked body come in thousands."""
        self.readline = super().readline  # type: ignore[method-assign,assignment]


class _Response(http.client.HTTPResponse):
    """A response whose headers are read without the email package, which takes half its CPU."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = self._reader = _Reader(sock.makefile("rb", buffering=0))

    def begin(self) -> None:
        """Read status and headers; what framing they give follows RFC 9112, section 6.3."""
        status = 100
        while status == 100:
            version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
            if version not in ("HTTP/1.0", "HTTP/1.1"):
                raise http.client.UnknownProtocol(version)
            fields = _read_headers(self.fp)
        self._reader.end_of_headers()
        self.code = self.status = status
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.msg = fields  # type: ignore[assignment]
        self.chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        length = fields.get("content-length", "")
        self.length = int(length) if length.isdecimal() and not self.chunked else None
        if status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        connection = fields.get("connection", "").lower()
        keeps = "close" not in connection if self.version == 11 else "keep-alive" in connection
        self.will_close = not keeps or (self.length is None and not self.chunked)

    def getheader(self, name: str, default: Any = None) -> Any:
        return self.headers.get(name.lower(), default)


def _read_headers(file: Any) -> dict[str, str]:
    """Read header lines up to the blank one; a name that comes twice has its values joined."""
    fields: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = file.readline(MAX_HEADER_BYTES + 1)
        if len(line) > MAX_HEADER_BYTES:
            raise http.client.LineTooLong("header line")
        if line in (b"\r\n", b"\n", b""):
            return fields
        name, colon, value = line.decode("iso-8859-1").partition(":")
        if colon and not name[:1].isspace():
            name, value = name.strip().lower(), value.strip()
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    raise http.client.HTTPException(f"got more than {MAX_HEADERS} headers")


class _Watchdog:
    """One thread that aborts exchanges whose deadline has passed."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._deadlines: list[tuple[float, int, Exchange]] = []
        self._watched: set[Exchange] = set()
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def watch(self, exchange: Exchange, deadline: float) -> None:
        with self._wake:
            self._watched.add(exchange)
            entry = (deadline, next(self._order), exchange)
            heapq.heappush(self._deadlines, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llmc-watchdog", daemon=True)
                self._thread.start()
            elif self._deadlines[0] is entry:
                self._wake.notify()

    def forget(self, exchange: Exchange) -> None:
        with self._wake:
            self._watched.discard(exchange)
            if len(self._deadlines) > 64 and len(self._deadlines) > 4 * len(self._watched):
                self._deadlines = [e for e in self._deadlines if e[2] in self._watched]
                heapq.heapify(self._deadlines)

    def _run(self) -> None:
        with self._wake:
            while True:
                now = time.monotonic()
                while self._deadlines and self._deadlines[0][0] <= now:
                    _, _, exchange = heapq.heappop(self._deadlines)
                    if exchange in self._watched:
                        self._watched.discard(exchange)
                        exchange.abort()
                self._wake.wait(self._deadlines[0][0] - now if self._deadlines else None)


_WATCHDOG = _Watchdog()


def address(url: str) -> str:
    """Return scheme, host and port of a URL: what else it holds may be a password or a key."""
    try:
        parts = urlsplit(url)
        return _address((parts.scheme, parts.hostname or "", parts.port))
    except ValueError:
        return "an unreadable URL"


def _signed(parts: SplitResult) -> dict[str, str]:
    """Return the header for a user and password in a URL."""
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _address(place: _Place) -> str:
    scheme, host, port = place
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" + (f":{port}" if port else "")
