"""What left this machine in a run, added up from what its attempts report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from llmc.events import Event, PromptLeft
from llmc.models import AttemptOutcome, RunReport, Span
from llmc.redaction.text import make_one_line


class Departures:
    """Prompts sent by host, and the likely secrets that were taken out of them before.

    Those that no host took are among them: what became of a request that broke off, nobody here
    knows. A request that never came back is in logs/egress.jsonl alone.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.sent: Counter[str] = Counter()
        self.blotted = self.blotted_prompts = 0
        self._tell = tell

    def count(self, span: Span, outcome: AttemptOutcome) -> None:
        """Take note of what an attempt sent away, and tell it."""
        for departure in outcome.departures:
            self.sent[departure.host] += 1
            self.blotted += departure.blotted
            self.blotted_prompts += departure.blotted > 0
            self._tell(PromptLeft(span, departure))


def lines(report: RunReport) -> Iterator[str]:
    """Yield what a run let out of this machine, and what it kept here, if it did either."""
    if report.sent:
        hosts = ", ".join(f"{make_one_line(host)} ({count})" for host, count in report.sent.items())
        yield f"prompts sent away: {hosts}, arrived or not; each is in logs/egress.jsonl"
    if report.blotted:
        secrets = "secret was" if report.blotted == 1 else "secrets were"
        prompts = "prompt" if report.blotted_prompts == 1 else "prompts"
        yield (
            f"{report.blotted} likely {secrets} blotted out of {report.blotted_prompts} {prompts} "
            "before"
        )
    if report.kept:
        spans = "span stays" if report.kept == 1 else "spans stay"
        yield (
            f"{report.kept} {spans} here by local_only, and no model is configured that does; "
            "start Ollama on this machine, or declare your own hosts in LLMC_OWN_NETWORK"
        )
