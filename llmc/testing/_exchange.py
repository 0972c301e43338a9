"""One call on its way through a fake server: admitted, worded, delivered, recorded.

The record is complete, and the slot free, just before the last byte leaves: a client that has its
answer finds the record, and finds its slot free for the next call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from llmc.testing._http import JSON_TYPE, ClientGoneError, Connection, Request, head
from llmc.testing._slots import QueueIsFullError, Slots, SlotsClosedError
from llmc.testing.faults import QueueFull
from llmc.testing.script import CHARS_PER_TOKEN, Call, Reply, count_tokens

FLUSH_SIZE = 64 * 1024
UNPACED_PARTS = 8
MAX_TICKS_PER_SECOND = 100
Steps = Iterable[tuple[float, bytes]]
"""Pieces of a response, each with the seconds to wait before it."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A reply after all limits, with its counts; `begun` (monotonic) is when work on it began."""

    call: Call
    reply: Reply
    text: str
    done_reason: str
    eval_count: int
    prompt_eval_count: int
    load_seconds: float
    begun: float

    @property
    def elapsed(self) -> float:
        """Seconds since work began, loading included."""
        return time.monotonic() - self.begun


class Words(Protocol):
    """How a protocol puts things."""

    stream_type: str

    def error(self, status: int, message: str) -> bytes:
        """Word an error body."""

    def whole(self, made: Generation) -> bytes:
        """Word a reply that is not streamed."""

    def part(self, made: Generation, text: str, thinking: str = "") -> bytes:
        """Word one part of a stream."""

    def last(self, made: Generation) -> bytes:
        """Word the end of a stream."""

    def stream_error(self, message: str) -> bytes:
        """Word an error inside a stream."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an exchange ended; the fields are those of `CallRecord`."""

    status: int | None
    queued: float
    disconnected: bool
    bytes_sent: int


@dataclass(slots=True)
class Exchange:
    """Answers one call; `latency` and `rate` (tokens per second) are the server's own."""

    words: Words
    slots: Slots
    latency: float
    rate: float | None
    keep_seconds: float
    request: Request
    connection: Connection
    call: Call
    reply: Reply
    finish: Callable[[Outcome], None]
    queued: float = 0.0
    sent_before: int = 0
    holds_slot: bool = False

    def run(self) -> bool:
        """Answer, record, and tell whether the connection may serve another request."""
        self.sent_before = self.connection.sent
        wire = self.reply.wire
        try:
            if wire.status == 200 and wire.ending != "nothing":
                steps = self._work()
            else:
                self.connection.wait(wire.delay)
                steps = self._plain()
            return self._deliver(steps)
        except ClientGoneError:
            self._conclude(0, disconnected=True)
            return False

    def _work(self) -> Steps:
        """Take a slot, load, think, and return the pieces of the reply."""
        asked = time.monotonic()
        try:
            load_seconds = self.slots.enter(self.call.model)
        except QueueIsFullError:
            self.reply = QueueFull().apply(self.reply, self.call)
            return self._plain()
        except SlotsClosedError as error:
            raise ClientGoneError from error
        self.holds_slot = True
        begun = time.monotonic()
        self.queued = begun - asked
        wire = self.reply.wire
        if wire.load_seconds:
            self.slots.count_swap()
            load_seconds += wire.load_seconds
        if self.queued > 0.001 and self.connection.gone():
            raise ClientGoneError
        self.connection.wait(load_seconds)
        self.connection.wait(self.latency + wire.delay)
        made = self._make(load_seconds, begun)
        if wire.body is not None:
            return self._plain()
        if self.call.stream:
            return self._streamed(made)
        return self._at_once(made)

    def _make(self, load_seconds: float, begun: float) -> Generation:
        reply, limit = self.reply, self.call.max_tokens
        text, reason = reply.text or "", reply.done_reason
        if limit is not None and count_tokens(text) > limit:
            text, reason = text[: limit * CHARS_PER_TOKEN], "length"
        counted = count_tokens(reply.thinking + text)
        prompt_tokens = reply.prompt_eval_count
        return Generation(
            call=self.call,
            reply=reply,
            text=text,
            done_reason=reason,
            eval_count=counted if reply.eval_count is None else reply.eval_count,
            prompt_eval_count=self.call.prompt_tokens if prompt_tokens is None else prompt_tokens,
            load_seconds=load_seconds,
            begun=begun,
        )

    def _plain(self) -> Steps:
        """Return an error, or a body that is not worded, in one piece."""
        wire = self.reply.wire
        body = wire.body
        if body is None:
            body = self.words.error(wire.status, wire.error or "")
        return self._framed(body)

    def _at_once(self, made: Generation) -> Steps:
        """Return the whole reply in one piece, after the time its tokens take."""
        pace = self.reply.wire.tokens_per_second or self.rate
        if pace:
            self.connection.wait(count_tokens(made.text) / pace)
        error = self.reply.wire.stream_error
        body = self.words.whole(made) if error is None else self.words.error(500, error)
        return self._framed(body)

    def _framed(self, body: bytes) -> Steps:
        return ((0.0, self._head(JSON_TYPE, len(body)) + self._cut(body)),)

    def _head(self, content_type: str, length: int | None) -> bytes:
        wire = self.reply.wire
        headers = {"Content-Type": wire.content_type or content_type}
        if length is not None:
            headers["Content-Length"] = str(length)
        elif self.request.http11:
            headers["Transfer-Encoding"] = "chunked"
        return head(wire.status, {**headers, **wire.headers})

    def _cut(self, body: bytes) -> bytes:
        wire = self.reply.wire
        if wire.ending == "whole" or not body:
            return body
        return body[: max(1, int(len(body) * wire.fraction))]

    def _streamed(self, made: Generation) -> Steps:
        wire = self.reply.wire
        pieces = self._pieces(made)
        if wire.ending == "half":  # a length can only be promised for what is known
            return self._framed(b"".join(data for _, data in pieces))
        if wire.ending == "reset":
            every = list(pieces)
            pieces = iter(every[: max(1, int(len(every) * wire.fraction))])
        return self._chunked(pieces)

    def _chunked(self, pieces: Iterator[tuple[float, bytes]]) -> Steps:
        yield 0.0, self._head(self.words.stream_type, None)
        for pause, data in pieces:
            yield pause, b"%x\r\n%s\r\n" % (len(data), data) if self.request.http11 else data
        if self.reply.wire.ending == "whole" and self.request.http11:
            yield 0.0, b"0\r\n\r\n"

    def _pieces(self, made: Generation) -> Iterator[tuple[float, bytes]]:
        """Word the parts of a stream, paced token by token or in a few parts at once."""
        pace = self.reply.wire.tokens_per_second or self.rate
        if pace:
            tokens = max(1, round(pace / MAX_TICKS_PER_SECOND))
            pause = tokens / pace
        else:
            tokens = max(1, count_tokens(made.text) // UNPACED_PARTS)
            pause = 0.0
        if self.reply.thinking:
            yield pause, self.words.part(made, "", self.reply.thinking)
        size = tokens * CHARS_PER_TOKEN
        error = self.reply.wire.stream_error
        for start in range(0, len(made.text), size):
            yield pause, self.words.part(made, made.text[start : start + size])
            if error is not None:
                break
        yield 0.0, self.words.last(made) if error is None else self.words.stream_error(error)

    def _deliver(self, steps: Steps) -> bool:
        """Send the pieces, joined where nothing is waited for; conclude before the last."""
        ending = self.reply.wire.ending
        held: list[bytes] = []
        size = 0
        for pause, data in steps if ending != "nothing" else ():
            if held and (pause or size > FLUSH_SIZE):
                self.connection.send(b"".join(held))
                held, size = [], 0
            if pause:
                self.connection.wait(pause)
            held.append(data)
            size += len(data)
        self._conclude(size)
        self.connection.send(b"".join(held))
        if ending == "reset":
            self.connection.reset()
        return ending == "whole" and (self.request.http11 or not self.call.stream)

    def _conclude(self, more: int, *, disconnected: bool = False) -> None:
        """Free the slot and record; `more` bytes are about to be sent."""
        if self.holds_slot:
            self.holds_slot = False
            self.slots.leave(self.call.model, self.keep_seconds)
        wire = self.reply.wire
        sent = self.connection.sent - self.sent_before + more
        status = wire.status if sent else None
        self.finish(Outcome(status, self.queued, disconnected, sent))
