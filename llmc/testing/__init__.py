"""Fakes for people who test against llmc; each is also what llmc's own tests run on.

- `FakeBackend`: a backend in this process, for a cascade.
- `llmc.testing.ollama.FakeOllama`, `llmc.testing.openai.FakeOpenAI`: model servers on loopback.
- `llmc.testing.faults`: everything that can go wrong with a server, as values.
- `llmc.testing.gateway.write_gateway`: a gateway program.

Standard library only; see docs/testing.md.

Modules, each built on those before it: _http, _programs, _runners, _settings, script, _generation,
_records, _responses, faults, gateway, _exchange, _server, openai, ollama.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmc.errors import BackendError
from llmc.testing.script import enrichment

__all__ = ["BackendCall", "BackendConfig", "FakeBackend", "refused", "unusable"]

Answer = Mapping[str, Any] | Exception | None
"""A result, an exception to raise, or None for a valid enrichment made up from the prompt."""


@dataclass(frozen=True)
class BackendConfig:
    """What a cascade reads of a backend."""

    name: str | None = "fake"
    provider: str | None = "fake"
    model: str | None = "fake-model"
    tier: str | None = None
    url: str | None = None
    options: Mapping[str, Any] | None = None
    keep_alive: str | int | None = None


@dataclass(frozen=True)
class BackendCall:
    """One call of `FakeBackend.generate`; `index` counts from 0."""

    index: int
    prompt: str
    item: Mapping[str, Any]


def unusable(message: str = "connection refused") -> BackendError:
    """Return the error of a backend that got no usable reply."""
    return BackendError(message, failure_type="runtime")


def refused(kind: str, detail: str = "refused on purpose", payload: object = "") -> BackendError:
    """Return the error of a refused reply; kind is parse, truncation or validation."""
    return BackendError(detail, failure_type=kind, failure=(kind, detail, payload))


@dataclass
class FakeBackend:
    """A backend that answers from a script and records its calls; safe to share among threads.

    `script` is a function of the `BackendCall`, or a list with one answer per call; once it is
    used up, every answer is the default one. `meta` is added to the meta of each success.
    """

    script: Callable[[BackendCall], Answer] | Iterable[Answer] = ()
    config: BackendConfig = field(default_factory=BackendConfig)
    host: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[BackendCall] = []
        self._rest: Iterator[Answer] = iter(() if callable(self.script) else self.script)

    @property
    def calls(self) -> tuple[BackendCall, ...]:
        """The calls so far, in order of arrival."""
        return tuple(self._calls)

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (result, meta), or raise what the script says."""
        with self._lock:
            call = BackendCall(len(self._calls), prompt, item)
            self._calls.append(call)
            answer = None if callable(self.script) else next(self._rest, None)
        if callable(self.script):
            answer = self.script(call)
        if isinstance(answer, Exception):
            raise answer
        result = dict(answer) if answer is not None else enrichment(prompt)
        meta = {"backend": self.config.provider, "model": self.config.model, "host": self.host}
        return result, {**meta, **self.meta}

    def describe_host(self) -> str | None:
        """Return the host, None if there is none to speak of."""
        return self.host
