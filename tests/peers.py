"""A TCP server that says what a test tells it to, and how it is asked."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from llmc.net.client import Client
from llmc.net.deadlines import Cancellation

_T = TypeVar("_T")

PATIENCE = 20.0
"""Seconds after which something that should have ended long ago counts as hung."""
SOON = 6.0
"""Seconds within which something immediate is done, even on a busy machine."""
SHORT = 0.5
"""A deadline that a test waits for."""

OK = b"HTTP/1.1 200 OK\r\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, server: Server, number: int) -> None:
        self.sock = sock
        self.server = server
        self.number = number

    def request(self) -> bytes:
        """Read one whole request and note it; return b"" when the client closed."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += self.sock.recv(65536)
        whole = head + b"\r\n\r\n" + body
        self.server.requests.append(whole)
        return whole

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes, head: bytes = b"") -> None:
        self.send(OK + b"Content-Length: %d\r\n%b\r\n%b" % (len(body), head, body))

    def drip(self, data: bytes) -> None:
        """Send the same bytes again and again until the client is gone."""
        while not self.server.stopped.wait(0.05):
            self.send(data)

    def wait(self) -> None:
        """Say nothing until the client is gone."""
        while self.sock.recv(65536):
            pass


Talk = Callable[[Peer], None]


class Server:
    """A TCP server whose every connection is served by `talk`, in a thread of its own."""

    def __init__(self, talk: Talk, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopped = threading.Event()
        self.closed = threading.Semaphore(0)
        self._talk = talk
        self._peers: list[socket.socket] = []
        host = "::1" if family is socket.AF_INET6 else "127.0.0.1"
        self._listener = socket.create_server((host, 0), family=family)
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, name="test-server", daemon=True).start()

    def _accept(self) -> None:
        with self._listener:
            while not self.stopped.is_set():
                with suppress(TimeoutError):
                    sock, _ = self._listener.accept()
                    self.connections += 1
                    self._peers.append(sock)
                    self._start(self._serve, Peer(sock, self, self.connections))

    def _serve(self, peer: Peer) -> None:
        with peer.sock, suppress(OSError):
            self._talk(peer)
        self.closed.release()

    def stop(self) -> None:
        """End every conversation, so that a client which hangs is let go."""
        self.stopped.set()
        for sock in self._peers:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


Serve = Callable[..., Server]


def within(call: Callable[[], _T], seconds: float = PATIENCE) -> _T:
    """Return what a call returns; fail rather than wait for ever."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  # handed to the waiting test
            errors.append(error)

    thread = threading.Thread(target=run, name="test-caller", daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"hangs for more than {seconds} s"
    if errors:
        raise errors[0]
    return results[0]


def get(
    client: Client,
    url: str,
    timeout: float = PATIENCE,
    cancellation: Cancellation | None = None,
    body: bytes | None = None,
) -> bytes:
    """Ask for a whole body."""

    def ask() -> bytes:
        method = "GET" if body is None else "POST"
        with client.request(
            method, url, body=body, timeout=timeout, cancellation=cancellation
        ) as exchange:
            return exchange.read()

    return within(ask)


@contextmanager
def quick(seconds: float = SOON, least: float = 0.0) -> Iterator[None]:
    """Fail when the block takes longer, or ends earlier, than it may."""
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began < seconds


def echo(peer: Peer) -> None:
    """Answer every request with its own path, keeping the connection."""
    while request := peer.request():
        peer.answer(request.split(b" ")[1])


def silent(peer: Peer) -> None:
    peer.request()
    peer.wait()


def says(data: bytes) -> Talk:
    """Read a request, send some bytes, close."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(data)

    return talk


def drips(first: bytes, rest: bytes) -> Talk:
    """Read a request, send some bytes, then others for ever."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(first)
        peer.drip(rest)

    return talk


def stalls(first: bytes) -> Talk:
    """Read a request, send some bytes, then nothing more."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(first)
        peer.wait()

    return talk


def make_certificate(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """Return (certificate, key), the one signed with the other."""
    crt, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
    out = ["-keyout", str(key), "-out", str(crt)]
    subprocess.run([*words, *out, *more], check=True, capture_output=True, timeout=120)
    return crt, key


def secured(certificate: tuple[Path, Path], talk: Talk) -> Talk:
    """Return a talk over TLS."""

    def shake(peer: Peer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as sock:
            peer.sock = sock
            talk(peer)

    return shake
