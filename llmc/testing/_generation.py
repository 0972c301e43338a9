"""What a model makes of a call: its reply after all limits, and how a protocol words that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from llmc.testing.script import CHARS_PER_TOKEN, Call, Reply, count_tokens, tokens


@dataclass(frozen=True, slots=True)
class Pace:
    """A server's own speed: seconds per reply, tokens per second, and what it lets repeat."""

    latency: float
    rate: float | None
    repeat_limit: int | None


@dataclass(frozen=True, slots=True)
class Generation:
    """A reply after all limits, with its counts.

    `arrived` is when the call came and `begun` when work on it began, both of `time.monotonic`;
    `load_seconds` of the time between went by until the model was there.
    """

    call: Call
    reply: Reply
    text: str
    eval_count: int
    prompt_eval_count: int
    load_seconds: float
    arrived: float
    begun: float

    @property
    def shifted(self) -> bool:
        """Whether the reply outgrew the context, so that the oldest half was forgotten."""
        return 0 < self.call.context < self.prompt_eval_count + self.eval_count


class Words(Protocol):
    """How a protocol puts things.

    A body of more than `chunked_above` bytes has no length. `head_waits` says that the head of a
    stream comes with its first token, not before it.
    """

    stream_type: str
    chunked_above: int | None
    head_waits: bool

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


def limited(reply: Reply, call: Call, repeat_limit: int | None) -> Reply:
    """Return a reply as far as the server lets it go."""
    text = reply.text or ""
    if repeat_limit is not None:
        stopped = until_repeated(text, repeat_limit)
        if len(stopped) < len(text):
            reply = replace(reply, text=stopped, done=False)
            text = stopped
    if call.max_tokens is not None and count_tokens(text) > call.max_tokens:
        text = text[: call.max_tokens * CHARS_PER_TOKEN]
        reply = replace(reply, text=text, done_reason="length", done=True)
    return reply


def until_repeated(text: str, limit: int) -> str:
    """Return what of a text comes before a token repeats more than `limit` times, blanks aside."""
    last, repeats, length = "", 0, 0
    for token in tokens(text):
        if token.strip() == last:
            repeats += 1
        else:
            last, repeats = token.strip(), 0
        if repeats > limit:
            return text[:length]
        length += len(token)
    return text
