"""HTTP/1.1 as it comes in: status, headers, framing and packing, each within bounds."""

from __future__ import annotations

import http.client
import io
import socket
import zlib
from collections.abc import Callable
from typing import Any

MAX_HEADERS = 100
MAX_HEADER_BYTES = 65536
"""The bounds that the standard library sets."""

MAX_HINTS = 16
"""Answers that only announce the one to come: 100 Continue, 102 Processing, 103 Early Hints."""

Read = Callable[[int], bytes]
"""Gives what has come in, at most so many bytes, and nothing at the end of the stream."""


def open_body(response: Response) -> Read:
    """Return what reads the body of a response, without its framing and unpacked.

    What it returns raises OSError, EOFError, ValueError and HTTPException.
    """
    read = Chunks(response.fp.read1).read if response.chunked else response.read1
    codings = (response.getheader("content-encoding") or "").lower().split(",")
    named = False
    for coding in filter(None, map(str.strip, reversed(codings))):
        if coding not in ("gzip", "x-gzip", "deflate", *_NO_CODINGS):
            raise ValueError(f"the body is packed as {coding[:40]!r}, which was not asked for")
        if coding not in _NO_CODINGS:
            read, named = _Unpacked(read).read, True
    return read if named else _Sniffed(read).read


_NO_CODINGS = ("identity", "none", "utf-8", "utf8")
"""What stands for no packing, the latter by mistake."""


class _Sniffed:
    """Unpacks what is packed with gzip though nothing says so: proxies lose the header."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known = False

    def read(self, size: int) -> bytes:
        """Return the next piece, nothing at the end. Raises EOFError, ValueError, OSError."""
        if self._known:
            return self._read(size)
        self._known, head = True, b""
        while len(head) < len(_GZIP) and _GZIP.startswith(head):
            more = self._read(size)
            if not more:
                return head
            head += more
        if not head.startswith(_GZIP):
            return head
        self._read = _Unpacked(self._read, head).read
        return self._read(size)


_GZIP = b"\x1f\x8b"


def read_tunnel_answer(sock: socket.socket) -> int:
    """Return the status with which a proxy answers CONNECT; what follows is the server's.

    It is read byte by byte, as nothing of what follows may be taken. Raises OSError, HTTPException.
    """
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionResetError("the proxy closed the connection")
        head += byte
        if len(head) > MAX_HEADER_BYTES:
            raise http.client.LineTooLong("a proxy's header")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise http.client.BadStatusLine("the proxy does not speak HTTP")
    return int(words[1])


class Chunks:
    """Takes the framing off a chunked body (RFC 9112, section 7.1), as much as has come in."""

    def __init__(self, read1: Read) -> None:
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


class _Unpacked:
    """Unpacks a body as it comes in, a piece at a time, whatever it would all unpack to."""

    def __init__(self, read: Read, begun: bytes = b"") -> None:
        self._read = read
        self._raw = begun
        self._begun = self._full = False
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, as it says

    def read(self, size: int) -> bytes:
        """Return the next piece, nothing at the end. Raises EOFError, ValueError, OSError."""
        while True:
            if self._raw or self._full:
                piece = self._unpack(size)
                if piece:
                    return piece
                continue
            self._raw = self._read(size)
            if not self._raw:
                if self._begun and not self._stream.eof:
                    raise EOFError("the packed body breaks off")
                return b""

    def _unpack(self, size: int) -> bytes:
        raw = self._raw
        if self._stream.eof:
            self._raw, self._full = b"", False
            if not raw.startswith(b"\x1f\x8b"):  # what follows the end is padding
                return b""
            self._stream, self._begun = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32), False
        try:
            piece = self._stream.decompress(raw, size)
        except zlib.error as error:
            if self._begun:
                raise ValueError("the body does not unpack") from error
            piece = self._unpack_bare(raw, size)
        self._begun = True
        self._raw = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        self._full = len(piece) == size and not self._stream.eof
        return piece

    def _unpack_bare(self, raw: bytes, size: int) -> bytes:
        """Unpack deflate without its header, as some servers send it."""
        self._stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            return self._stream.decompress(raw, size)
        except zlib.error as error:
            raise ValueError("the body does not unpack") from error


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


class Response(http.client.HTTPResponse):
    """A response whose headers are read without the email package, which takes half its CPU."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = self._reader = _Reader(sock.makefile("rb", buffering=0))

    def begin(self) -> None:
        """Read status and headers; what framing they give follows RFC 9112, section 6.3."""
        status, hints = 100, 0
        while 100 <= status < 200:
            if status == 101 or hints > MAX_HINTS:
                raise http.client.HTTPException(f"no answer but HTTP status {status}")
            version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
            if version not in ("HTTP/1.0", "HTTP/1.1"):
                raise http.client.UnknownProtocol(version)
            fields = _read_headers(self.fp)
            hints += 1
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
