"""What stands before a backend: the gate of its host, and the border.

The gate keeps the number of requests to each host. A prompt that leaves this machine is blotted,
and noted down, before it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from llmc.backends.cascade import BackendAdapter
from llmc.enrichment.prompts import blot_prompt
from llmc.errors import BackendError
from llmc.models import CallTimes, Departure
from llmc.records.egress import Destination, Egress

Answer = tuple[Any, dict[str, Any]]


def let_out(
    generate: Callable[..., Answer],
    to: Destination,
    egress: Egress,
    prompt: str,
    item: Mapping[str, Any],
) -> Answer:
    """Have a backend answer, without the likely secrets of the prompt if it leads away.

    Raises BackendError, StoreError if it can't be put on record that the prompt leaves.
    """
    if not egress.leads_away(to):
        return generate(prompt, item=item)
    egress.refuse_kept(to, item)
    letter, secrets = blot_prompt(prompt)
    departure = egress.note(to, letter, secrets, item)
    try:
        result, meta = generate(letter, item=item)
    except BackendError as error:
        raise error.having_sent(departure) from error
    meta["departure"] = departure
    return result, meta


class Gate(Protocol):
    """Keeps the number of requests to each host; asked before and after each backend's call."""

    def enter(self, step: int) -> None:
        """Wait for a slot of the step's host. Raises BackendError if it gets none."""

    def leave(self, error: BackendError | None, times: CallTimes | None = None) -> None:
        """Take note of how a call ended, and when if its reply was whole."""

    def judge(self, error: BackendError) -> BackendError:
        """Return the error that counts when all backends failed."""


def prepare(backend: BackendAdapter) -> None:
    """Let a backend find out what is wrong before the first attempt, if it can.

    Raises ConfigError.
    """
    check = getattr(backend, "prepare", None)
    if check:
        check()


class _Wrapped:
    """A backend as it is; those that stand before one change `generate` alone."""

    def __init__(self, backend: BackendAdapter) -> None:
        self._backend = backend

    @property
    def config(self) -> Any:
        return self._backend.config

    @property
    def options(self) -> Any:
        return getattr(self._backend, "options", None)

    def describe_host(self) -> str | None:
        describe = getattr(self._backend, "describe_host", None)
        return describe() if describe else None

    def prepare(self) -> None:
        prepare(self._backend)

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> Answer:
        """Make one attempt."""
        return self._backend.generate(prompt, item=item)


class _Guarded(_Wrapped):
    """A backend behind the border."""

    def __init__(self, backend: BackendAdapter, to: Destination, egress: Egress) -> None:
        super().__init__(backend)
        self._to = to
        self._egress = egress

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> Answer:
        return let_out(self._backend.generate, self._to, self._egress, prompt, item)


def guard(backend: BackendAdapter, to: Destination, egress: Egress) -> BackendAdapter:
    """Return a backend behind the border if it leads away, else as it is."""
    return _Guarded(backend, to, egress) if egress.leads_away(to) else backend


class _Gated(_Wrapped):
    """A backend behind the gate of its host; `departures` gets what it lets out."""

    def __init__(
        self, backend: BackendAdapter, gate: Gate, step: int, departures: list[Departure]
    ) -> None:
        super().__init__(backend)
        self._gate = gate
        self._step = step
        self._departures = departures

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> Answer:
        self._gate.enter(self._step)
        error: BackendError | None = None
        left: Departure | None = None
        times: CallTimes | None = None
        try:
            result, meta = self._backend.generate(prompt, item=item)
            left, times = meta.get("departure"), meta.get("times")
            return result, meta
        except BackendError as caught:
            error, left, times = caught, caught.usage.departure, caught.usage.times
            raise
        finally:
            if left:
                self._departures.append(left)
            self._gate.leave(error, times)


def put_behind(
    gate: Gate, backend: BackendAdapter, step: int, departures: list[Departure]
) -> BackendAdapter:
    """Return the backend of a step behind the gate; `departures` gets what it lets out."""
    return _Gated(backend, gate, step, departures)
