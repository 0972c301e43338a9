"""One attempt: build its cascade, call it, say what came of it. Runs on worker threads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Protocol

from llmc.backends import AttemptCascade
from llmc.errors import BackendError, classify_failure
from llmc.gpu import GpuSampler, is_local
from llmc.models import Attempt, AttemptOutcome, Enrichment, GpuStats, Span

MAX_COUNT = 10**15
"""A server's count beyond it is nonsense: nanoseconds of ten days, tokens of any model."""


class Builder(Protocol):
    """Builds the cascade of each attempt; `CascadeBuilder` is the one of the `llmc` command."""

    def __call__(self, attempt: Attempt, /) -> AttemptCascade: ...

    def check(self) -> None:
        """Raise ConfigError for what can be known to be wrong before the first attempt."""

    def cancel(self) -> None:
        """End every call under way and refuse later ones."""


def make(builder: Builder, span: Span, prompt: str, attempt: Attempt) -> AttemptOutcome:
    """Make one attempt for a span. Raises ConfigError; a failed attempt is an outcome."""
    built = builder(attempt)
    item = {
        "span_hash": span.span_hash,
        "path": span.path,
        "lang": span.lang,
        "symbol": span.symbol,
        "kind": span.kind,
        "lines": [span.start_line, span.end_line],
        "attempt": attempt.number,
    }
    sampled = built.selected_backend == "ollama" and is_local(built.host_url)
    started = time.monotonic()
    with GpuSampler() if sampled else nullcontext() as sampler:
        try:
            result, meta, records = built.cascade.generate_for_span(prompt, item=item)
        except BackendError as error:
            outcome = _failed(built, attempt, error)
        else:
            outcome = _succeeded(built, attempt, result, meta)
            outcome = replace(outcome, records=tuple(records))
        seconds = time.monotonic() - started
    outcome = replace(outcome, duration_sec=seconds, gpu=sampler.stats if sampler else GpuStats())
    return replace(outcome, tokens_per_sec=_speed(meta, seconds)) if outcome.success else outcome


def _failed(built: AttemptCascade, attempt: Attempt, error: BackendError) -> AttemptOutcome:
    last = error.attempts[-1] if error.attempts else None
    kind = classify_failure(error)
    gateway = built.selected_backend == "gateway"
    payload = error.failure[2] if error.failure else None
    return AttemptOutcome(
        attempt=attempt,
        backend=built.selected_backend,
        duration_sec=0.0,
        # A gateway names its model in its answer: without one there is none to record.
        model=last.model if last and not (gateway and kind == "runtime") else None,
        host=(last.host if last else None) or built.host_label,
        options=None if gateway else _options(built),
        failure_type=kind,
        detail=str(error),
        payload=payload if isinstance(payload, str) else None,
        cut_lines=error.cut_lines,
        records=tuple(error.attempts),
    )


def _succeeded(
    built: AttemptCascade, attempt: Attempt, result: object, meta: Mapping[str, Any]
) -> AttemptOutcome:
    return AttemptOutcome(
        attempt=attempt,
        backend=meta.get("backend") or built.selected_backend,
        duration_sec=0.0,
        model=meta.get("model"),
        host=meta.get("host") or built.host_label,
        options=meta.get("options"),
        enrichment=Enrichment.model_validate(result),
        prompt_tokens=_count(meta, "prompt_eval_count"),
        completion_tokens=_count(meta, "eval_count", "completion_tokens"),
        cut_lines=meta.get("cut_lines") or 0,
    )


def _options(built: AttemptCascade) -> Mapping[str, Any]:
    backends = built.cascade.backends
    options = getattr(backends[-1], "options", None) if backends else None
    return built.tier_preset.options if options is None else options


def _count(meta: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these counts that the server gave; a nonsensical one is none."""
    found = (meta.get(name) for name in names)
    return next((n for n in found if isinstance(n, int) and 0 <= n <= MAX_COUNT), None)


def _speed(meta: Mapping[str, Any], seconds: float) -> float:
    """Return tokens per second: as the server measured it, else estimated from the reply."""
    tokens = _count(meta, "eval_count", "completion_tokens")
    if tokens is None:
        tokens = (_count(meta, "reply_chars") or 0) // 4
    nanoseconds = _count(meta, "eval_duration")
    taken = nanoseconds / 1e9 if nanoseconds and nanoseconds > 0 else seconds
    return round(tokens / taken, 2) if taken > 0 else 0.0
