"""One request and its response.

A blocking read knows only a timeout per receive, so a server that drips bytes could hold a thread
for ever. Here the watchdog shuts the socket at the request's deadline, or a cancel does, which
wakes the reader at once. What a server says in an error holds none of the keys that were sent.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType

from llmc.errors import CancelledError, ConnectError, DeadlineError, DroppedError, RequestError
from llmc.models import CallTimes
from llmc.net.connections import Connections
from llmc.net.deadlines import MAX_TIMEOUT_SEC, WATCHDOG, Cancellation, Deadline
from llmc.net.places import Place, spell
from llmc.net.wire import Read, Response, open_body
from llmc.redaction.keys import Redaction

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A reply larger than this is a runaway server, not an answer."""

MAX_WHOLE_BYTES = 1024 * 1024
"""The most of an answer that is held, and parsed, at a time: small values take 30 times the memory
that they take as text."""

MAX_COMPLAINT_BYTES = 2000
"""What is quoted of a body that says what is wrong; more is a page made for a browser."""

_DROPS = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Exchange:
    """One request and its response, under a deadline. Use as a context manager."""

    def __init__(
        self,
        place: Place,
        deadline: Deadline,
        cancellation: Cancellation,
        connections: Connections,
        redaction: Redaction,
    ) -> None:
        self._connections = connections
        self._redaction = redaction
        self._place = place
        self._deadline = deadline
        self._cancellation = cancellation
        self._connection: http.client.HTTPConnection | None = None
        self._sock: socket.socket | None = None
        self._response: Response | None = None
        self._body: Read | None = None
        self._aborted = False
        self._finished = self._begun = False
        self._received = 0
        self._lock = threading.Lock()

    @property
    def deadline(self) -> float:
        return self._deadline.at

    @property
    def status(self) -> int:
        return self._answer.status

    def read_header(self, name: str) -> str | None:
        """Return a response header, None when it is absent."""
        found: str | None = self._answer.getheader(name)
        return found

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
        try:
            self._cancellation.enter(self)
            WATCHDOG.watch(self)
            kept = self._connections.take(self._place)
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
        target, headers = self._connections.address_request(self._place, target, headers)
        connection.request(method, target, body=body, headers=dict(headers))
        response = connection.getresponse()
        assert isinstance(response, Response), "connections are made for them"
        self._response = response

    def _connect(self) -> http.client.HTTPConnection:
        try:
            return self._connections.make(self._place, self._hold)
        except ConnectError as error:
            if self._aborted:
                raise self._failed(error) from error
            raise

    def _hold(self, sock: socket.socket, timeout: float | None = None) -> None:
        """Take hold of the socket, so that `abort` finds it. Raises OSError if that was before."""
        with self._lock:
            self._sock = sock
            if self._aborted:
                raise OSError("aborted")
        left = min(self._deadline.latest - time.monotonic(), MAX_TIMEOUT_SEC)
        sock.settimeout(max(0.001, left if timeout is None else min(timeout, left)))

    def read_chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes in. Raises RequestError when it breaks off."""
        while True:
            try:
                self._body = self._body or open_body(self._answer)
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
            self._begun = True
            self._received += len(chunk)
            if self._received > MAX_BODY_BYTES:
                raise self._failed(OverflowError(f"the body exceeds {MAX_BODY_BYTES} bytes"))
            yield chunk

    def read(self, most: int = MAX_WHOLE_BYTES) -> bytes:
        """Return the whole body. Raises RequestError if it breaks off, or exceeds `most` bytes."""
        body = bytearray()
        for chunk in self.read_chunks():
            body += chunk
            if len(body) > most:
                raise self._failed(OverflowError(f"the body exceeds {most} bytes"))
        return bytes(body)

    def read_complaint(self) -> str:
        """Read the body of an error as text, without secrets. Raises RequestError."""
        said = bytearray()
        for chunk in self.read_chunks():
            said += chunk
            if len(said) > MAX_WHOLE_BYTES:
                break
        return self._redaction(said[:MAX_COMPLAINT_BYTES].decode("utf-8-sig", "replace"))

    def hear(self) -> None:
        """Take note that the reply has begun: the time of one that queued counts from now."""
        self._deadline.hear()

    def measure(self, worked_sec: float | None) -> CallTimes:
        """Return the times of a reply that is whole by now.

        `worked_sec` is how long the server says it worked on it; None: as long as the reply came.
        """
        now, sent, first = time.monotonic(), self._deadline.sent, self._deadline.first_sign
        started = now if first is None else first
        if worked_sec is not None:
            started = max(sent, now - worked_sec)
        return CallTimes(sent, started, now, max(1, self._received))

    def hasten(self, seconds: float) -> None:
        """Bring the deadline forward to at most `seconds` from now."""
        self._deadline.hasten(seconds)
        WATCHDOG.watch(self)

    def drain(self, seconds: float = 0.05) -> None:
        """Read what is left of a body that has said all, so that the connection can be kept.

        A server that does not end it in time loses the connection, nothing else.
        """
        self._deadline.hasten(seconds)
        with suppress(RequestError, OSError):
            if self._sock is not None:
                self._hold(self._sock)
            for _ in self.read_chunks():
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
        self._cancellation.leave(self)
        WATCHDOG.forget(self)
        self._deadline.finish(answered=self._response is not None and not self._aborted)
        with self._lock:
            self._sock = None
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._finished and not self._aborted and not self._answer.will_close:
            self._connections.give(self._place, connection)
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
    def _answer(self) -> Response:
        assert self._response is not None, "begin() has not returned"
        return self._response

    def _failed(self, error: Exception) -> RequestError:
        self.close()
        if self._cancellation.is_set:
            return CancelledError("cancelled")
        if isinstance(error, TimeoutError) or time.monotonic() >= self.deadline:
            what = f"{spell(self._place)} did not answer in full by the deadline"
            return DeadlineError(what, silent=self._response is None)
        said = self._redaction(str(error))
        drops = _DROPS if self._response is None else (*_DROPS, EOFError)
        is_dropped = not self._begun and isinstance(error, drops)
        kind = DroppedError if is_dropped else RequestError
        return kind(f"{spell(self._place)}: {said or type(error).__name__}")
