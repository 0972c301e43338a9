"""A cascade: backends asked in order until one gives a usable answer.

It retries nothing and knows no tier, host chain or policy. Backends are equals; the first usable
answer wins, and every try leaves an `AttemptRecord`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from llmc.errors import BackendError
from llmc.models import AttemptRecord

__all__ = ["AttemptRecord", "BackendAdapter", "BackendCascade"]


class BackendAdapter(Protocol):
    """One way to reach a model: a single method to implement.

    `generate` makes one attempt and returns (result, meta). `result` is the accepted enrichment;
    `meta` says how it came about (model, host, eval_count, ...). It raises BackendError and
    nothing else on purpose. `item` describes the span (path, lines, hash, language, ...).
    """

    @property
    def config(self) -> Any: ...

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]: ...

    def describe_host(self) -> str | None: ...


class BackendCascade:
    """Backends in the order in which they are asked."""

    def __init__(self, backends: Sequence[BackendAdapter]) -> None:
        self.backends = list(backends)

    def generate_for_span(
        self, prompt: str, *, item: Mapping[str, Any], start_index: int = 0
    ) -> tuple[Any, dict[str, Any], list[AttemptRecord]]:
        """Return (result, meta, attempts) of the first backend that answers usably.

        `start_index` skips backends at the front. Raises BackendError with a record of every try
        in `attempts` and the last one's `failure_type` and `failure`.
        """
        attempts: list[AttemptRecord] = []
        error: BackendError | None = None
        for index, backend in enumerate(self.backends[start_index:], start_index):
            started = time.monotonic()
            try:
                result, meta = backend.generate(prompt, item=item)
            except BackendError as caught:
                error = caught
                attempts.append(_record(backend, index, started, error=error))
            else:
                attempts.append(_record(backend, index, started, meta=meta))
                return result, meta, attempts
        if error is None:
            raise BackendError("the cascade has no backends", failure_type="backend_error")
        raise error.after(attempts) from error


def _record(
    backend: BackendAdapter,
    index: int,
    started: float,
    *,
    meta: Mapping[str, Any] | None = None,
    error: BackendError | None = None,
) -> AttemptRecord:
    config, found = backend.config, meta or {}
    describe = getattr(backend, "describe_host", None)
    return AttemptRecord(
        backend_name=getattr(config, "name", None) or f"backend-{index}",
        provider=getattr(config, "provider", None),
        model=found.get("model")
        or _first(error.usage.model if error else None, getattr(config, "model", None)),
        duration_sec=time.monotonic() - started,
        success=error is None,
        failure_type=error.failure_type if error else None,
        error_message=str(error) if error else None,
        host=found.get("host") or (describe() if describe else None),
        gpu_stats=found.get("gpu_stats"),
    )


def _first(*names: str | None) -> str | None:
    """Return the first name that is there; an empty one is a name."""
    return next((name for name in names if name is not None), None)
