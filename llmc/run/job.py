"""A span on its way through a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmc.enrichment.prompts import Prompt
from llmc.models import AttemptOutcome, Span, SpanMetrics
from llmc.run.routing import SpanState


@dataclass(slots=True)
class Job:
    """A span on its way. Its prompt is there only while a request is in flight, or about to be.

    The prompt is the work list's to set, `begun` the loop's; `state`, `outcomes` and `spared` (how
    often an attempt was none of its own) are the settlement's. Nothing else of a job changes.
    """

    span: Span
    metrics: SpanMetrics
    prompt: Prompt | None
    state: SpanState
    started: float
    outcomes: list[AttemptOutcome] = field(default_factory=list)
    begun: bool = False
    spared: int = 0

    @property
    def tier(self) -> str:
        """The route that the scheduler finds choices under."""
        return self.state.route

    @property
    def host_index(self) -> int:
        return self.state.host_index
