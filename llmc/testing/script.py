"""What a fake server is asked, what it shall answer, and who decides.

A script decides per call: a function that takes a `Call`, or a list with one entry per call in
order of arrival. It answers with a `Reply`, a text, a dict (sent as JSON), a fault, or a tuple that
combines them; None means the default reply, a valid enrichment made up from the prompt.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

CHARS_PER_TOKEN = 4
_NAME = re.compile(r"\b(?:def|class|function|func|fn|struct|interface)\s+([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a reply.

    `index` counts the calls of this server from 0 (None for a look-up such as /api/tags), `seen`
    how often the same model was asked the same prompt before. `prompt` is the prompt, or the texts
    of all messages. `prompt_tokens` of it were read, by a model with a context of `context` tokens
    (0: unknown); `prompt_cut` says that the rest was left out, `turns_dropped` how many whole
    messages that took. `max_tokens` is the limit on the reply, None for no limit.
    """

    index: int | None
    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None = None
    model: str = ""
    prompt: str = ""
    seen: int = 0
    stream: bool = False
    prompt_tokens: int = 0
    prompt_cut: bool = False
    turns_dropped: int = 0
    context: int = 0
    max_tokens: int | None = None

    @property
    def host(self) -> str:
        """The host and port that the client asked for."""
        return self.headers.get("host", "")


@dataclass(frozen=True, slots=True)
class Wire:
    """How a reply travels; faults set this.

    `status` and `error` make an error in the server's own words, `body` replaces the whole body.
    `delay` (seconds) comes before the status line. `ending` other than "whole" stops after
    `fraction` of the body, with an orderly close ("half") or a TCP reset ("reset").
    """

    status: int = 200
    error: str | None = None
    body: bytes | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    load_seconds: float = 0.0
    tokens_per_second: float | None = None
    stream_error: str | None = None
    ending: Literal["whole", "half", "reset", "nothing"] = "whole"
    fraction: float = 0.5


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says. None in `text` or a count means: work it out.

    With `done` False the reply ends in order, but without the part that says so.
    """

    text: str | None = None
    done_reason: str = "stop"
    eval_count: int | None = None
    prompt_eval_count: int | None = None
    thinking: str = ""
    done: bool = True
    wire: Wire = field(default_factory=Wire)

    def over(self, **changes: Any) -> Reply:
        """Return this reply with some fields of its `wire` changed."""
        return replace(self, wire=replace(self.wire, **changes))


class Fault(Protocol):
    """Something that goes wrong: turns the reply into a worse one."""

    def apply(self, reply: Reply, call: Call) -> Reply: ...


Part = Reply | str | Mapping[str, Any] | Fault
Scripted = Part | tuple[Part, ...] | list[Part] | None
Script = Callable[[Call], Scripted] | Iterable[Scripted] | None


def count_tokens(text: str) -> int:
    """Estimate the tokens of a text: four characters each, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def tokens(text: str, joined: int = 1) -> Iterator[str]:
    """Yield the tokens of a text as `count_tokens` counts them, so many joined at a time."""
    size = joined * CHARS_PER_TOKEN
    for start in range(0, len(text), size):
        yield text[start : start + size]


def enrichment(prompt: str) -> dict[str, Any]:
    """Make up a valid enrichment that depends on nothing but the prompt."""
    found = _NAME.search(prompt)
    name = found.group(1) if found else "the text"
    mark = hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()[:12]
    return {
        "summary_120w": f"Describes {name} (prompt {mark}).",
        "inputs": [f"the arguments of {name}"],
        "outputs": [f"the result of {name}"],
        "side_effects": [],
        "pitfalls": [],
        "usage_snippet": None,
        "evidence": [],
    }


def enrichment_text(prompt: str) -> str:
    """Return `enrichment(prompt)` as JSON text."""
    return json.dumps(enrichment(prompt))


class Player:
    """Follows a script, thread-safe; an exception in a script is kept for the end of the test."""

    def __init__(self, script: Script, default: Callable[[Call], str]) -> None:
        self.errors: list[Exception] = []
        self._default = default
        self._lock = threading.Lock()
        self._function: Callable[[Call], Scripted] | None = None
        self._rest: Iterator[Scripted] | None = None
        self._taken: list[Scripted] = []
        if callable(script):
            self._function = script
        elif script is not None:
            self._rest = iter(script)

    def take(self, call: Call) -> Scripted:
        """Return what the script says about this call."""
        if self._function is None:
            return self._entry(call.index or 0)
        try:
            return self._function(call)
        except Exception as error:  # noqa: BLE001 - a test's own function may raise anything
            self.errors.append(error)
            wire = Wire(status=500, error=f"script raised {type(error).__name__}: {error}")
            return Reply("", wire=wire)

    def _entry(self, index: int) -> Scripted:
        with self._lock:
            while len(self._taken) <= index and self._rest is not None:
                try:
                    self._taken.append(next(self._rest))
                except StopIteration:
                    self._rest = None
            return self._taken[index] if index < len(self._taken) else None

    def resolve(self, scripted: Scripted, call: Call) -> tuple[Reply, tuple[str, ...]]:
        """Return the reply with its faults applied in order, and the names of the faults."""
        if scripted is None:
            return Reply(self._default(call)), ()
        reply, faults = Reply(), []
        for part in scripted if isinstance(scripted, tuple | list) else (scripted,):
            if isinstance(part, str):
                reply = replace(reply, text=part)
            elif isinstance(part, Mapping):
                reply = replace(reply, text=json.dumps(dict(part)))
            elif isinstance(part, Reply):
                reply = part
            elif part is not None:
                faults.append(part)
        if reply.text is None:
            reply = replace(reply, text=self._default(call))
        for fault in faults:
            reply = fault.apply(reply, call)
        return reply, tuple(type(fault).__name__ for fault in faults)
