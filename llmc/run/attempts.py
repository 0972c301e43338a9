"""One attempt: build its cascade, call it, say what came of it. Runs on worker threads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

from llmc.backends.builder import AttemptCascade, Gate, count, put_behind
from llmc.backends.cascade import BackendCascade
from llmc.enrichment.asking import find_question
from llmc.enrichment.judging import settle
from llmc.errors import BackendError, classify_failure
from llmc.models import (
    Attempt,
    AttemptOutcome,
    AttemptRecord,
    Departure,
    Enrichment,
    GpuStats,
    Review,
    Span,
)
from llmc.programs.launching import STANDARD, SearchPath
from llmc.run.gpu import GpuSampler, is_local
from llmc.settings.presets import make_preset


class Builder(Protocol):
    """Builds the cascade of each attempt; `CascadeBuilder` is the one of the `llmc` command."""

    def __call__(self, attempt: Attempt, /) -> AttemptCascade: ...

    def check(self) -> None:
        """Raise ConfigError for what can be known to be wrong before the first attempt."""

    def hurry(self) -> None:
        """End every wait between two calls, as the run winds down; calls under way go on."""

    def cancel(self) -> None:
        """End every call under way and refuse later ones."""


def make_attempt(
    builder: Builder,
    span: Span,
    prompt: str,
    attempt: Attempt,
    gate: Gate | None = None,
    search: SearchPath = STANDARD,
) -> AttemptOutcome:
    """Make one attempt for a span. Raises ConfigError; a failed attempt is an outcome.

    `search` is where the program is looked for that tells the GPU's load.
    """
    built = builder(attempt)
    departures: list[Departure] = []
    if gate:
        backends = enumerate(built.cascade.backends)
        gated = [put_behind(gate, backend, n, departures) for n, backend in backends]
        built = built._replace(cascade=BackendCascade(gated))
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
    with GpuSampler(search) if sampled else nullcontext() as sampler:
        try:
            result, meta, records = built.cascade.generate_for_span(prompt, item=item)
            enrichment = Enrichment.model_validate(result)
            if "verdicts" not in meta:
                enrichment, meta = _judged(enrichment, meta, prompt, item, records)
            error = None
        except BackendError as caught:
            error = gate.judge(caught) if gate else caught
        seconds = time.monotonic() - started
    load = _Load(attempt, seconds, sampler.stats if sampler else GpuStats(), tuple(departures))
    if error:
        return _failed(built, load, error)
    return _succeeded(built, load, enrichment, meta, records)


def _judged(
    said: Enrichment,
    meta: dict[str, Any],
    prompt: str,
    item: Mapping[str, Any],
    records: Sequence[AttemptRecord],
) -> tuple[Enrichment, dict[str, Any]]:
    """Hold what a backend that isn't ours accepted against the facts. Raises BackendError."""
    question = find_question(prompt)
    if question is None:
        return said, meta
    try:
        kept, verdicts = settle(said, question, item["lines"])
    except BackendError as error:
        raise error.after(records) from error
    return kept, {**meta, "verdicts": verdicts}


class _Load(NamedTuple):
    """What an attempt took, whatever came of it."""

    attempt: Attempt
    seconds: float
    gpu: GpuStats
    departures: tuple[Departure, ...]


def _failed(built: AttemptCascade, load: _Load, error: BackendError) -> AttemptOutcome:
    kind = classify_failure(error)
    of_kind = [record for record in error.attempts if record.failure_type == kind]
    last = next(iter(of_kind[-1:] or error.attempts[-1:]), None)
    gateway = built.selected_backend == "gateway"
    payload = error.failure[2] if error.failure else None
    return AttemptOutcome(
        attempt=load.attempt,
        backend=built.selected_backend,
        duration_sec=load.seconds,
        # A gateway names its model in its answer: without one there is none to record.
        model=last.model if last and not (gateway and kind == "runtime") else None,
        host=(last.host if last else None) or built.host_label,
        options=None if gateway else _options(built),
        failure_type=kind,
        detail=str(error),
        payload=payload if isinstance(payload, str) else None,
        prompt_tokens=error.usage.prompt_tokens,
        completion_tokens=error.usage.completion_tokens,
        cut_lines=error.usage.cut_lines,
        records=tuple(error.attempts),
        gpu=load.gpu,
        departures=load.departures,
    )


def _succeeded(
    built: AttemptCascade,
    load: _Load,
    enrichment: Enrichment,
    meta: Mapping[str, Any],
    records: Sequence[AttemptRecord],
) -> AttemptOutcome:
    return AttemptOutcome(
        attempt=load.attempt,
        backend=meta.get("backend") or built.selected_backend,
        duration_sec=load.seconds,
        model=meta.get("model"),
        host=meta.get("host") or built.host_label,
        options=meta.get("options"),
        enrichment=enrichment,
        prompt_tokens=count(meta, "prompt_eval_count"),
        completion_tokens=count(meta, "eval_count", "completion_tokens"),
        tokens_per_sec=_speed(meta, load.seconds),
        cut_lines=meta.get("cut_lines") or 0,
        review=Review(count(meta, "parroted") or 0, meta.get("verdicts") or ()),
        records=tuple(records),
        gpu=load.gpu,
        departures=load.departures,
    )


def _options(built: AttemptCascade) -> Mapping[str, Any]:
    backends = built.cascade.backends
    options: Mapping[str, Any] | None = getattr(backends[-1], "options", None) if backends else None
    if options is None:
        return make_preset(built.preset_key, built.tier_preset).options
    return options


def _speed(meta: Mapping[str, Any], seconds: float) -> float:
    """Return tokens per second: as the server measured it, else estimated from the reply."""
    tokens = count(meta, "eval_count", "completion_tokens")
    if tokens is None:
        tokens = (count(meta, "reply_chars") or 0) // 4
    nanoseconds = count(meta, "eval_duration")
    taken = nanoseconds / 1e9 if nanoseconds and nanoseconds > 0 else seconds
    return round(tokens / taken, 2) if taken > 0 else 0.0
