"""What a fake server remembers of each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmc.testing.script import Call


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What happened to one request; `ended` and `status` are None while it is being answered.

    Times are seconds since the epoch. `queued` is the time (seconds) before a slot was free,
    `bytes_sent` counts the response with its headers, `faults` names what was applied,
    `disconnected` says that the client left before it had everything, and `shifted` that the reply
    outgrew the context.
    """

    call: Call
    started: float
    ended: float | None = None
    status: int | None = None
    faults: tuple[str, ...] = ()
    queued: float = 0.0
    disconnected: bool = False
    bytes_sent: int = 0
    shifted: bool = False

    @property
    def index(self) -> int | None:
        return self.call.index

    @property
    def method(self) -> str:
        return self.call.method

    @property
    def path(self) -> str:
        return self.call.path

    @property
    def headers(self) -> Mapping[str, str]:
        return self.call.headers

    @property
    def body(self) -> Mapping[str, Any] | None:
        return self.call.body

    @property
    def model(self) -> str:
        return self.call.model

    @property
    def prompt(self) -> str:
        return self.call.prompt
