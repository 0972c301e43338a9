"""Every way in which a model server is known to fail, each a small value.

A script returns one, or a tuple of several: `(SlowHeaders(2), CutOutput())`. A fault changes the
reply it is given, so they combine, in order, with each other and with a `Reply` of your own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmc.testing.script import Call, Fault, Reply, enrichment

QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class HttpStatus:
    """Answer with this status; without `body`, the server's own error object with `message`."""

    status: int = 500
    message: str = "an error occurred on purpose"
    body: str | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def apply(self, reply: Reply, call: Call) -> Reply:
        body = self.body.encode() if isinstance(self.body, str) else self.body
        return reply.over(
            status=self.status, error=self.message, body=body, headers=dict(self.headers)
        )


@dataclass(frozen=True)
class QueueFull:
    """Answer 503 as Ollama does when its queue is full."""

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(status=503, error=QUEUE_FULL)


@dataclass(frozen=True)
class RateLimited:
    """Answer 429; `retry_after` is the header's value, in seconds or as text, None for none."""

    retry_after: float | str | None = 1

    def apply(self, reply: Reply, call: Call) -> Reply:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return reply.over(status=429, error="rate limit reached", headers=headers)


@dataclass(frozen=True)
class ModelNotFound:
    """Answer 404 as Ollama does for a model that is not installed."""

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(status=404, error=f"model '{call.model}' not found")


@dataclass(frozen=True)
class SlowHeaders:
    """Say nothing for some seconds, then answer."""

    seconds: float = 1.0

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(delay=reply.wire.delay + self.seconds)


@dataclass(frozen=True)
class SlowTokens:
    """Make tokens at this rate; without streaming, the reply comes after the last one."""

    per_second: float = 5.0

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(tokens_per_second=self.per_second)


@dataclass(frozen=True)
class ModelSwap:
    """Load the model first for some seconds, and count a swap."""

    seconds: float = 1.0

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(load_seconds=self.seconds)


@dataclass(frozen=True)
class DropConnection:
    """Close the connection before any byte of an answer."""

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(ending="nothing")


@dataclass(frozen=True)
class DropMidBody:
    """Break the connection off with a TCP reset after a fraction of the body."""

    fraction: float = 0.5

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(ending="reset", fraction=self.fraction)


@dataclass(frozen=True)
class HalfBody:
    """Promise the whole body in Content-Length, send a fraction of it and close."""

    fraction: float = 0.5

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(ending="half", fraction=self.fraction)


@dataclass(frozen=True)
class NotJson:
    """Answer 200 with a body that is no JSON, as a proxy in between might."""

    body: bytes = HTML

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(body=self.body, content_type="text/html")


@dataclass(frozen=True)
class JsonNotObject:
    """Answer 200 with JSON that is not an object."""

    value: Any = ("not", "an", "object")

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(body=json.dumps(self.value).encode())


@dataclass(frozen=True)
class BlankBody:
    """Answer 200 with a body of nothing, or of blanks."""

    body: bytes = b""

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(body=self.body)


@dataclass(frozen=True)
class NotUtf8:
    """Answer 200 with a body that is not UTF-8."""

    body: bytes = b'{"response": "caf\xe9 \xff\xfe", "done": true}'

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(body=self.body)


@dataclass(frozen=True)
class EmptyReply:
    """Answer properly, with a reply text of nothing, or of blanks."""

    text: str = ""

    def apply(self, reply: Reply, call: Call) -> Reply:
        return replace(reply, text=self.text)


@dataclass(frozen=True)
class CutOutput:
    """Cut the reply after a fraction, with done_reason "length"."""

    keep: float = 0.5

    def apply(self, reply: Reply, call: Call) -> Reply:
        text = reply.text or ""
        return replace(reply, text=text[: int(len(text) * self.keep)], done_reason="length")


@dataclass(frozen=True)
class EndlessWhitespace:
    """Make white space until the client leaves, its token limit is reached, or `tokens` are out."""

    tokens: int = 50_000
    per_second: float | None = 200.0

    def apply(self, reply: Reply, call: Call) -> Reply:
        blanks = replace(reply, text="{" + "\n   " * self.tokens, done_reason="length")
        return blanks.over(tokens_per_second=self.per_second)


@dataclass(frozen=True)
class RepetitionRunaway:
    """Repeat a phrase inside a JSON string until the token limit, or until `tokens` are out."""

    phrase: str = "and then it returns the value, "
    tokens: int = 2_000

    def apply(self, reply: Reply, call: Call) -> Reply:
        size = self.tokens * 4
        text = '{"summary_120w": "' + self.phrase * (size // max(1, len(self.phrase)) + 1)
        return replace(reply, text=text[:size], done_reason="length")


@dataclass(frozen=True)
class RepetitionStop:
    """Repeat a token inside a JSON string until Ollama stops it: an orderly end without `done`."""

    token: str = "ha, "
    repeats: int = 31

    def apply(self, reply: Reply, call: Call) -> Reply:
        return replace(reply, text='{"summary_120w": "' + self.token * self.repeats, done=False)


@dataclass(frozen=True)
class WrongSchema:
    """Reply with valid JSON of another shape: a misnamed field, extra ones, or `value`."""

    value: Mapping[str, Any] | None = None

    def apply(self, reply: Reply, call: Call) -> Reply:
        wrong = dict(self.value) if self.value is not None else enrichment(call.prompt)
        if self.value is None:
            wrong["synopsis"] = wrong.pop("summary_120w")
            wrong["confidence"] = 0.93
        return replace(reply, text=json.dumps(wrong))


@dataclass(frozen=True)
class Prose:
    """Reply in plain words instead of JSON."""

    text: str = "Sure! This function looks fine to me, it computes a value and returns it."

    def apply(self, reply: Reply, call: Call) -> Reply:
        return replace(reply, text=self.text)


@dataclass(frozen=True)
class ThinkTags:
    """Put the answer behind a train of thought in <think> tags."""

    thought: str = "The user wants {JSON}. Let me look at the braces { first."

    def apply(self, reply: Reply, call: Call) -> Reply:
        return replace(reply, text=f"<think>\n{self.thought}\n</think>\n\n{reply.text}")


@dataclass(frozen=True)
class ThinkingField:
    """Fill the `thinking` field with `thought`; with None the answer itself ends up there."""

    thought: str | None = None

    def apply(self, reply: Reply, call: Call) -> Reply:
        if self.thought is None:
            return replace(reply, thinking=reply.text or "", text="")
        return replace(reply, thinking=self.thought)


@dataclass(frozen=True)
class StreamError:
    """Answer 200, begin the stream, then send an error object; without streaming, answer 500."""

    message: str = "an error was encountered while running the model: CUDA error"

    def apply(self, reply: Reply, call: Call) -> Reply:
        return reply.over(stream_error=self.message)


FAULTS: dict[str, Fault] = {
    "http-400": HttpStatus(400),
    "http-500": HttpStatus(500),
    "queue-full": QueueFull(),
    "rate-limited": RateLimited(),
    "model-not-found": ModelNotFound(),
    "slow-headers": SlowHeaders(),
    "slow-tokens": SlowTokens(),
    "model-swap": ModelSwap(),
    "drop-connection": DropConnection(),
    "drop-mid-body": DropMidBody(),
    "half-body": HalfBody(),
    "not-json": NotJson(),
    "json-not-object": JsonNotObject(),
    "blank-body": BlankBody(),
    "not-utf8": NotUtf8(),
    "empty-reply": EmptyReply(),
    "cut-output": CutOutput(),
    "endless-whitespace": EndlessWhitespace(),
    "repetition-runaway": RepetitionRunaway(),
    "repetition-stop": RepetitionStop(),
    "wrong-schema": WrongSchema(),
    "prose": Prose(),
    "think-tags": ThinkTags(),
    "thinking-field": ThinkingField(),
    "stream-error": StreamError(),
}
"""Each fault with its usual values, under the name the command line knows."""

_LASTING = ("slow-headers", "slow-tokens", "model-swap", "endless-whitespace")
_HARMLESS = ("think-tags", "thinking-field")
QUICK_FAILURES = tuple(name for name in FAULTS if name not in (*_LASTING, *_HARMLESS))
"""The faults that spoil a call without taking long."""


def sometimes(
    rate: float, *, seed: int = 0, faults: Sequence[Fault] | None = None
) -> Callable[[Call], Fault | None]:
    """Return a script that fails a share of the calls (0 to 1).

    Which call fails, and how, follows from the seed, the model, the prompt and how often it was
    asked, so a run with many threads meets the same faults as one with a single thread.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie between 0 and 1, not {rate!r}")
    kinds = list(faults) if faults is not None else [FAULTS[name] for name in QUICK_FAILURES]

    def script(call: Call) -> Fault | None:
        key = f"{seed}|{call.model}|{call.seen}|{call.prompt}".encode("utf-8", "replace")
        digest = hashlib.blake2b(key, digest_size=16).digest()
        if int.from_bytes(digest[:8], "big") >= rate * 2**64:
            return None
        return kinds[int.from_bytes(digest[8:], "big") % len(kinds)]

    return script
