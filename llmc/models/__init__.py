"""The values that travel: spans, enrichments, attempts and their outcomes.

All frozen, none with behaviour beyond its own data. Dataclasses inside the program; pydantic where
JSON crosses the border, so that `Enrichment` is at once the schema sent to a model, the check of
its reply and the shape of a stored row. It is loaded when it is first asked for.

Modules, each built on those before it: enrichment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from llmc.models.enrichment import MAX_SNIPPET_CHARS as MAX_SNIPPET_CHARS
    from llmc.models.enrichment import MAX_SNIPPET_LINES as MAX_SNIPPET_LINES
    from llmc.models.enrichment import MAX_SUMMARY_CHARS as MAX_SUMMARY_CHARS
    from llmc.models.enrichment import MAX_SUMMARY_WORDS as MAX_SUMMARY_WORDS
    from llmc.models.enrichment import Enrichment as Enrichment
    from llmc.models.enrichment import Evidence as Evidence

_OF_ENRICHMENT = frozenset(
    {
        "Enrichment",
        "Evidence",
        "MAX_SNIPPET_CHARS",
        "MAX_SNIPPET_LINES",
        "MAX_SUMMARY_CHARS",
        "MAX_SUMMARY_WORDS",
    }
)

REFUSED = ("parse", "truncation", "validation")
"""Kinds of failure where a reply came back: the model, not the way to it, is at fault."""


EVIDENCE_FIELDS = (
    "summary_120w",
    "inputs",
    "outputs",
    "side_effects",
    "pitfalls",
    "usage_snippet",
)
"""The fields an evidence entry may cite, in the order in which missing entries are filled."""


def _say_nothing(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """Where an index is, and what its files are judged by.

    What stands below `repo` may have come with a clone; without one, the path is the user's word.
    `environ` leads to the user's folder, which knows this user's indexes, and to git. `tell` gets
    a sentence on whatever is done about files that are not the user's.
    """

    path: Path
    repo: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    tell: Callable[[str], object] = field(default=_say_nothing, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the index. Lines are 1-based and inclusive, bytes half-open."""

    id: int
    path: str
    lang: str
    symbol: str
    kind: str
    start_line: int
    end_line: int
    byte_start: int
    byte_end: int
    span_hash: str
    doc_hint: str | None = None

    @property
    def line_count(self) -> int:
        return self.end_line - self.start_line + 1


Ruling = Literal["proven", "not provable", "refuted"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one claim: a sentence of the summary, an entry of a list, the snippet.

    `field` is the enrichment's, `kind` the rule that decided, `reason` is for people.
    """

    field: str
    claim: str
    ruling: Ruling
    kind: str
    reason: str


def hash_span(lang: str, code: bytes) -> str:
    """Return the identity of a span: the same text in the same language is the same span."""
    return f"sha256:{hashlib.sha256(lang.encode() + code).hexdigest()}"


@dataclass(frozen=True, slots=True)
class SpanMetrics:
    """What routing knows of a span: sizes and depths, no text. Tokens are estimates."""

    line_count: int
    nesting_depth: int
    node_count: int
    schema_depth: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """The next thing to try for a span: `number` counts from 1; `wait` asks for the retry pause.

    What was written by rule has number 0. `first_entry` is where in the tier's configured entries
    the cascade begins, the ones before it coming last. `kept`: the span must stay, so only targets
    that stay are asked; `host_index` and `first_entry` count among those.
    """

    number: int
    tier: str
    host_index: int
    wait: bool = False
    first_entry: int = 0
    kept: bool = False


@dataclass(frozen=True, slots=True)
class CallTimes:
    """When a call was sent, when its host began to work on it, as far as known, and when it ended.

    Moments are of `time.monotonic`. `received` counts the bytes of its reply.
    """

    sent: float
    started: float
    ended: float
    received: int = 1


@dataclass(frozen=True, slots=True)
class Departure:
    """A prompt on its way out: to a host (an address, or a program), so many bytes at most.

    `blotted` counts the likely secrets that were taken out of it.
    """

    host: str
    model: str
    size: int
    blotted: int


@dataclass(frozen=True, slots=True)
class GpuStats:
    """Load of the local GPU during an attempt; None where there was nothing to sample.

    Utilisation in percent, memory in MiB.
    """

    util_avg: float | None = None
    util_max: float | None = None
    vram_avg_mib: float | None = None
    vram_max_mib: float | None = None


@dataclass(slots=True)
class AttemptRecord:
    """One backend asked once within a cascade."""

    backend_name: str
    provider: str | None
    model: str | None
    duration_sec: float
    success: bool
    failure_type: str | None = None
    error_message: str | None = None
    host: str | None = None
    gpu_stats: GpuStats | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """What was found of a reply that was accepted.

    `parroted` counts the sentences that were dropped since they only repeat an instruction of the
    source. `verdicts` are on the claims, those that were dropped as refuted included.
    """

    parroted: int = 0
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What one attempt came to.

    `backend` is ollama, gateway or embedded; `model` is the one sent or the gateway's label, None
    where the call never got that far. On failure `failure_type` is runtime, parse, truncation or
    validation, `detail` says why (where nobody was asked: by which rule it was written) and
    `payload` is the raw reply that was refused.
    `departures` are the prompts that left this machine for it.
    """

    attempt: Attempt
    backend: str
    duration_sec: float
    model: str | None = None
    host: str | None = None
    options: Mapping[str, Any] | None = None
    enrichment: Enrichment | None = None
    failure_type: str | None = None
    detail: str | None = None
    payload: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_per_sec: float | None = None
    cut_lines: int = 0
    review: Review = field(default_factory=Review)
    records: Sequence[AttemptRecord] = ()
    gpu: GpuStats = field(default_factory=GpuStats)
    departures: Sequence[Departure] = ()

    @property
    def success(self) -> bool:
        return self.enrichment is not None


@dataclass(frozen=True, slots=True)
class SpanReport:
    """All that happened to one span in one run: the source of every record about it.

    `tier` is the effective tier, `model` the result model (see docs/batch-driver.md);
    `wall_sec` counts from the span's start to its stored row.
    """

    span: Span
    metrics: SpanMetrics
    outcomes: tuple[AttemptOutcome, ...]
    tier: str
    model: str
    schema_version: str
    wall_sec: float

    @property
    def last(self) -> AttemptOutcome:
        return self.outcomes[-1]

    @property
    def success(self) -> bool:
        return self.last.success

    @property
    def by_rule(self) -> bool:
        """Whether nobody was asked: the enrichment says what the parser has proven."""
        return self.last.attempt.number == 0

    @property
    def attempts(self) -> int:
        return 0 if self.by_rule else len(self.outcomes)

    @property
    def dropped(self) -> list[str]:
        """The kinds of the refuted claims that were left out of what is stored, one for each."""
        return [
            verdict.kind for verdict in self.last.review.verdicts if verdict.ruling == "refuted"
        ]

    @property
    def tokens_per_sec(self) -> float | None:
        return self.last.tokens_per_sec if self.success else None

    @property
    def promo(self) -> str:
        """ "none" for a single attempt, else first->last tier, also when both are equal."""
        if len(self.outcomes) == 1:
            return "none"
        return f"{self.outcomes[0].attempt.tier}->{self.last.attempt.tier}"


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one pass of the indexer did; `skipped` holds (path, reason).

    So many enrichments of the index bear no mark that they were made here or adopted: `elsewhere`.
    """

    files: int
    changed: int
    removed: int
    spans: int
    skipped: tuple[tuple[str, str], ...] = ()
    elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one enrichment run did. `failed` counts spans by the kind of their last failure.

    `left` are pending spans; `unfinished` of them had attempts in this run that came to nothing
    before it ended. `resting` spans failed in earlier runs and were left alone in this one.
    `stopped` says why a run ended before its work was done, other than by a user's wish.
    `dropped` counts the refuted claims that were left out of what was stored, by kind.
    `sent` counts the prompts that left this machine by host; out of `blotted_prompts` of them
    `blotted` likely secrets were taken. `kept` spans are among those left, as they must stay and no
    model here could be asked. Besides those `enriched`, `by_rule` were written without a model.
    """

    enriched: int
    failed: Mapping[str, int]
    left: int
    wall_sec: float
    interrupted: bool = False
    unfinished: int = 0
    resting: int = 0
    stopped: str | None = None
    sent: Mapping[str, int] = field(default_factory=dict)
    blotted: int = 0
    blotted_prompts: int = 0
    kept: int = 0
    by_rule: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


def __getattr__(name: str) -> Any:
    """Load what pydantic is needed for when it is first asked for, so that others start fast."""
    if name in _OF_ENRICHMENT:
        return getattr(import_module("llmc.models.enrichment"), name)
    raise AttributeError(f"module 'llmc.models' has no attribute {name!r}")
