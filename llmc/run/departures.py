"""What left this machine in a run, said in lines."""

from __future__ import annotations

from collections.abc import Iterator

from llmc.models import RunReport
from llmc.redaction.text import make_one_line


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
