"""One call on its way through a fake server: admitted, worded, delivered, recorded.

The record is complete, and the slot free, just before the last byte leaves: a client that has its
answer finds the record, and finds its slot free for the next call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from llmc.testing._generation import Generation, Pace, Words, limited
from llmc.testing._http import JSON_TYPE, ClientGoneError, Connection, Request, chunk, head
from llmc.testing._runners import (
    Demand,
    Lease,
    QueueIsFullError,
    Runners,
    RunnersClosedError,
)
from llmc.testing.faults import QueueFull
from llmc.testing.script import Call, Reply, count_tokens, tokens

FLUSH_SIZE = 64 * 1024
MAX_TICKS_PER_SECOND = 100
MAX_PARTS = 20_000
"""A reply of more tokens, sent at once, comes in larger parts: it is there for its size."""
Steps = Iterable[tuple[float, bytes]]
"""Pieces of a response, each with the seconds to wait before it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an exchange ended; the fields are those of `CallRecord`."""

    status: int | None
    queued: float
    disconnected: bool
    bytes_sent: int
    shifted: bool


@dataclass(slots=True)
class Exchange:
    """Answers one call."""

    words: Words
    runners: Runners
    pace: Pace
    demand: Demand
    request: Request
    connection: Connection
    call: Call
    reply: Reply
    finish: Callable[[Outcome], None]
    queued: float = 0.0
    sent_before: int = 0
    shifted: bool = False
    lease: Lease | None = None

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
        """Have the model loaded, take a slot, think, and return the pieces of the reply."""
        arrived = time.monotonic()
        try:
            load_seconds = self._load(arrived)
            if self.call.index is not None:  # one that only loads has nothing to wait for
                asked = time.monotonic()
                self._take_slot()
                self.queued += time.monotonic() - asked
        except QueueIsFullError:
            self.reply = QueueFull().apply(self.reply, self.call)
            return self._plain()
        except RunnersClosedError as error:
            raise ClientGoneError from error
        if self.queued > 0.001 and self.connection.gone():
            raise ClientGoneError
        begun = time.monotonic()
        wire = self.reply.wire
        if self.call.index is not None:
            self.connection.wait(self.pace.latency + wire.delay)
        made = self._make(load_seconds, arrived, begun)
        self.shifted = made.shifted
        if wire.body is not None:
            return self._plain()
        if self.call.stream and self.call.index is not None:
            return self._streamed(made)
        return self._at_once(made)

    def _load(self, arrived: float) -> float:
        """Hold the runner, loaded; return the seconds that took, the line included."""
        self.lease = self.runners.enter(self.demand)
        self.queued = time.monotonic() - arrived
        extra = self.reply.wire.load_seconds
        if extra:
            self.runners.count_swap()
        self.connection.wait(self.lease.load_seconds + extra)
        return time.monotonic() - arrived

    def _take_slot(self) -> None:
        assert self.lease is not None
        self.runners.take_slot(self.lease)

    def _make(self, load_seconds: float, arrived: float, begun: float) -> Generation:
        reply = self.reply = limited(self.reply, self.call, self.pace.repeat_limit)
        text = reply.text or ""
        counted = count_tokens(reply.thinking + text)
        prompt_tokens = reply.prompt_eval_count
        return Generation(
            call=self.call,
            reply=reply,
            text=text,
            eval_count=counted if reply.eval_count is None else reply.eval_count,
            prompt_eval_count=self.call.prompt_tokens if prompt_tokens is None else prompt_tokens,
            load_seconds=load_seconds,
            arrived=arrived,
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
        rate = self.reply.wire.tokens_per_second or self.pace.rate
        if rate:
            self.connection.wait(count_tokens(made.text) / rate)
        error = self.reply.wire.stream_error
        if error is not None:
            self.reply = self.reply.over(status=500, error=error)
            return self._plain()
        return self._framed(self.words.whole(made))

    def _framed(self, body: bytes) -> Steps:
        above, whole = self.words.chunked_above, self.reply.wire.ending == "whole"
        if above is None or len(body) <= above or not (self.request.http11 and whole):
            start = self._head(JSON_TYPE, len(body))
        else:
            start, body = self._head(JSON_TYPE, None), chunk(body) + chunk(b"")
        return ((0.0, start + self._cut(body)),)

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
        start = self._head(self.words.stream_type, None)
        if not self.words.head_waits:
            yield 0.0, start
            start = b""
        for pause, data in pieces:
            yield pause, start + (chunk(data) if self.request.http11 else data)
            start = b""
        if start:  # a stream of nothing at all
            yield 0.0, start
        if self.reply.wire.ending == "whole" and self.request.http11:
            yield 0.0, chunk(b"")

    def _pieces(self, made: Generation) -> Iterator[tuple[float, bytes]]:
        """Word the parts of a stream, one a token, with a pause before each tick's first."""
        rate = self.reply.wire.tokens_per_second or self.pace.rate
        per_tick = max(1, round(rate / MAX_TICKS_PER_SECOND)) if rate else 1
        pause = per_tick / rate if rate else 0.0
        if self.reply.thinking:
            yield pause, self.words.part(made, "", self.reply.thinking)
        error = self.reply.wire.stream_error
        size = 1 if rate else 1 + count_tokens(made.text) // MAX_PARTS
        for number, token in enumerate(tokens(made.text, size)):
            yield 0.0 if number % per_tick else pause, self.words.part(made, token)
            if error is not None:
                break
        if error is not None:
            yield 0.0, self.words.stream_error(error)
        elif self.reply.done:
            yield 0.0, self.words.last(made)

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
        lease, self.lease = self.lease, None
        if lease is not None:
            self.runners.leave(lease)
        wire = self.reply.wire
        sent = self.connection.sent - self.sent_before + more
        status = wire.status if sent else None
        self.finish(Outcome(status, self.queued, disconnected, sent, self.shifted))
