"""A host whose behaviour changes under way: it answers, hangs, dribbles, breaks off, dies, returns.

What speaks proper HTTP is a fake Ollama behind it; this in front decides what each connection gets.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Self

from llmc.testing import faults
from llmc.testing.ollama import Call, FakeOllama
from llmc.testing.script import Scripted

ANSWERS = {
    "good": None,
    "error": faults.HttpStatus(500),
    "busy": faults.RateLimited(3600),
    "full": faults.QueueFull(),
    "drop": faults.DropConnection(),
    "reset": faults.DropMidBody(0.3),
    "silent": faults.SlowHeaders(3600),
    "slow": faults.SlowTokens(0.5),
    "prose": faults.Prose(),
}
"""What calls get while the host is up; look-ups are answered."""

WIRES = ("dead", "hang", "dribble", "cut")
"""What every connection gets, look-ups too: refused, nothing for ever, a byte now and then, a
reset."""

MOODS = (*ANSWERS, *WIRES)


class MoodyHost:
    """A host that goes through moods, each for some seconds, and stays in the last one.

    The time counts from the first connection; a host that begins dead has none, and counts at once.
    """

    def __init__(self, moods: Sequence[tuple[str, float]]) -> None:
        self._moods = list(moods)
        self.mood = self._moods[0][0]
        self._fake = FakeOllama(self._script)
        self._over = threading.Event()
        self._met = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._place = _bound(("127.0.0.1", 0))  # it keeps the port while nobody listens there

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self._place.getsockname())

    def __enter__(self) -> Self:
        self._fake.start()
        self._become(self.mood)
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._met.set()
        self._stop_listening()
        self._cut_off()
        self._place.close()
        self._fake.close()

    def _script(self, call: Call) -> Scripted:
        return ANSWERS.get(self.mood, faults.DropConnection())

    def _live(self) -> None:
        if self.mood != "dead":
            self._met.wait()
        for mood, seconds in self._moods:
            self._become(mood)
            if self._over.wait(seconds):
                return

    def _become(self, mood: str) -> None:
        self.mood = mood
        if mood in WIRES:
            self._cut_off()
        if mood == "dead":
            self._stop_listening()
        elif self._listener is None:
            self._listener = _bound(self._place.getsockname())
            self._listener.listen(64)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _cut_off(self) -> None:
        for sock in tuple(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock, self.mood), daemon=True).start()
            self._met.set()

    def _serve(self, sock: socket.socket, mood: str) -> None:
        with closing(sock), suppress(OSError):
            match mood:
                case "hang":
                    self._over.wait(3600)
                case "dribble":
                    self._dribble(sock)
                case "cut":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                case _:
                    self._pass_on(sock)
        self._open.discard(sock)

    def _dribble(self, sock: socket.socket) -> None:
        """Send endless headers, a byte at a time."""
        sock.sendall(b"HTTP/1.1 200 OK\r\nX-Padding: ")
        while not self._over.wait(0.1):
            sock.sendall(b"x")

    def _pass_on(self, sock: socket.socket) -> None:
        """Let the fake Ollama answer, for as long as the host is up."""
        with socket.create_connection(("127.0.0.1", self._fake.port)) as behind:
            there = threading.Thread(target=_copy, args=(sock, behind), daemon=True)
            there.start()
            _copy(behind, sock)
            there.join()


def _bound(place: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(place)
    return sock


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side ends, then end the other in the same way."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except ConnectionResetError:
        with suppress(OSError):
            target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
