"""What a person sees: a run's progress, an index's status, spans with their enrichments.

Everything shown comes from models and source files, so it is shown as text, never as terminal
control: `plain` takes control characters out, and no markup is read.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from llmc.doctor import Finding, Report
from llmc.events import Event, RunFinished, RunStarted, SpanEnriched, SpanFailed, Warned
from llmc.models import RunReport, Span, SpanReport
from llmc.reader import StoredResult, Totals

SNIPPET_STYLE = "cyan"


def plain(text: str) -> str:
    """Return text without control, format and surrogate characters; newline and tab stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else "\ufffd"
        for char in text
    )


class RunDisplay:
    """A hook that shows a run: a live bar on a terminal, a line per span elsewhere."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._started = time.monotonic()
        self._enriched = self._failed = self._total = 0
        self._progress = Progress(
            TextColumn("{task.fields[state]}"),
            BarColumn(bar_width=None),
            _Pace(),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("", total=None, state="")

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._live:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case RunStarted(pending=pending, limit=limit):
                self._total = min(pending, limit) if limit else pending
                self._started = time.monotonic()
                self._progress.update(self._task, total=self._total or None)
                if self._live and self._total:
                    self._progress.start()
            case SpanEnriched(report=report):
                self._enriched += 1
                self._span(report)
            case SpanFailed(report=report):
                self._failed += 1
                self._span(report)
            case Warned(message=message):
                self._console.print(Text(f"warning: {plain(message)}", style="yellow"))
            case RunFinished():
                self._stop()
        self._advance()

    def _advance(self) -> None:
        left = max(0, self._total - self._enriched)
        state = f"{self._enriched} done, {self._failed} failed, {left} left"
        self._progress.update(self._task, completed=self._enriched, state=state)

    def _span(self, report: SpanReport) -> None:
        if self._live and report.success and not self._verbose:
            return
        self._console.print(span_line(report, self._enriched, self._total), soft_wrap=True)
        if not self._live:
            self._pace_line()

    def _pace_line(self) -> None:
        """Say how far it is, every tenth span: a log has no bar."""
        settled = self._enriched + self._failed
        left = self._total - self._enriched
        if settled % 10 or left <= 0:
            return
        per_span = (time.monotonic() - self._started) / settled
        self._console.print(
            f"{self._enriched} done, {self._failed} failed, {left} left, "
            f"{60 / per_span:.1f} spans/min, {duration(per_span * left)} left"
        )


class _Pace(ProgressColumn):
    """Spans per minute and time left."""

    def render(self, task: Task) -> Text:
        if not task.speed or task.remaining is None:
            return Text("-- spans/min")
        return Text(
            f"{task.speed * 60:.1f} spans/min, {duration(task.remaining / task.speed)} left"
        )


def duration(seconds: float) -> str:
    """Return a duration as people write it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def span_line(report: SpanReport, number: int, total: int) -> Text:
    """Return one line about a settled span; a failed one says why."""
    span, last = report.span, report.last
    if report.success:
        text = Text(f"{number:>{len(str(total))}}/{total} ok    ", style="green")
        text.append(f"{_where(span)}  {report.tier}  {report.wall_sec:.1f} s", style="default")
        if len(report.outcomes) > 1:
            text.append(f"  {len(report.outcomes)} attempts", style="yellow")
        if last.cut_lines:
            text.append(f"  {last.cut_lines} lines cut to fit the model", style="yellow")
        return text
    text = Text("failed  ", style="red")
    text.append(f"{_where(span)}  after {len(report.outcomes)} attempts: ", style="default")
    text.append(plain(last.detail or last.failure_type or "")[:400])
    return text


def run_summary(report: RunReport) -> Text:
    """Return the closing line of a run."""
    failed = sum(report.failed.values())
    text = Text(f"{report.enriched} enriched", style="bold")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.failed.items()))
    text.append(f", {failed} failed" + (f" ({kinds})" if failed else ""))
    text.append(f", {report.left} left, {duration(report.wall_sec)}")
    if report.enriched and report.wall_sec > 0:
        text.append(f", {report.enriched / report.wall_sec * 60:.1f} spans/min")
    if report.interrupted:
        text.append("; interrupted: run it again to go on from here", style="yellow")
    return text


def status_view(totals: Totals) -> RenderableType:
    """Return an index's status as a screen."""
    failed = sum(totals.failed.values())
    head = Text(f"{totals.files} files, {totals.spans} spans: ", style="bold")
    head.append(f"{totals.enriched} enriched, {totals.pending} pending, {failed} failed")
    parts: list[RenderableType] = [head]
    if totals.twins:
        parts.append(Text(f"{totals.twins} further places with the same text share a span"))
    languages = _table("language", "files", "spans", "enriched")
    for language, counts in totals.by_language.items():
        languages.add_row(plain(language), *map(str, counts))
    parts.append(languages)
    if totals.by_model:
        models = _table("model", "tier", "enriched")
        for (model, tier), count in totals.by_model.items():
            models.add_row(plain(str(model)), plain(tier), str(count))
        parts.append(models)
    if totals.failed:
        failures = _table("failed", "spans")
        for kind, count in totals.failed.items():
            failures.add_row(plain(kind), str(count))
        parts.append(failures)
    if totals.prompt_tokens or totals.completion_tokens:
        parts.append(
            Text(
                f"tokens: {totals.prompt_tokens:,} read, {totals.completion_tokens:,} written "
                "for the spans in the index"
            )
        )
    return Group(*parts)


def results_view(results: Iterable[StoredResult]) -> RenderableType:
    """Return spans with their enrichments as a screen."""
    return Group(*(_result(result) for result in results))


def _result(result: StoredResult) -> RenderableType:
    head = Text(_where(result.span), style="bold")
    head.append(f"  {result.span.kind}", style="dim")
    if result.twin_of:
        head.append(f"  same text as {plain(result.twin_of)}", style="dim")
    found = result.enrichment
    if found is None:
        return Group(head, Padding(_missing(result), (0, 0, 1, 2)))
    body: list[RenderableType] = [Text(plain(result.summary or "(no summary)"))]
    for name in ("inputs", "outputs", "side_effects", "pitfalls"):
        if found[name]:
            body.append(Text(name.replace("_", " "), style="dim"))
            body += [Padding(Text(f"- {plain(str(entry))}"), (0, 0, 0, 2)) for entry in found[name]]
    if found["usage_snippet"]:
        body.append(Text("usage", style="dim"))
        snippet = Text(plain(found["usage_snippet"]), style=SNIPPET_STYLE)
        body.append(Padding(snippet, (0, 0, 0, 2)))
    tier = f", {result.outcome.tier}" if result.outcome else ""
    body.append(Text(f"by {plain(str(found['model']))}{plain(tier)}", style="dim"))
    return Group(head, Padding(Group(*body), (0, 0, 1, 2)))


def _missing(result: StoredResult) -> Text:
    outcome = result.outcome
    if outcome is None or outcome.result != "fail":
        return Text("not enriched yet", style="dim")
    return Text(f"failed ({plain(outcome.reason)}): {plain(outcome.detail or '')}", style="red")


def result_record(result: StoredResult) -> dict[str, Any]:
    """Return a span with its enrichment as a JSON object."""
    span, outcome = result.span, result.outcome
    return {
        "path": span.path,
        "lang": span.lang,
        "symbol": span.symbol,
        "kind": span.kind,
        "lines": [span.start_line, span.end_line],
        "span_hash": span.span_hash,
        "twin_of": result.twin_of,
        "enrichment": result.enrichment,
        "failure": (
            {"reason": outcome.reason, "detail": outcome.detail, "attempts": outcome.attempts}
            if outcome and outcome.result == "fail" and not result.enrichment
            else None
        ),
    }


def status_record(totals: Totals) -> dict[str, Any]:
    """Return an index's status as a JSON object."""
    return {
        "files": totals.files,
        "spans": totals.spans,
        "enriched": totals.enriched,
        "pending": totals.pending,
        "failed": sum(totals.failed.values()),
        "failed_by_kind": totals.failed,
        "twins": totals.twins,
        "languages": {
            language: dict(zip(("files", "spans", "enriched"), counts, strict=True))
            for language, counts in totals.by_language.items()
        },
        "models": [
            {"model": model, "tier": tier, "enriched": count}
            for (model, tier), count in totals.by_model.items()
        ],
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
    }


def doctor_view(report: Report) -> RenderableType:
    """Return an examination as a screen: a line per finding, advice on a line of its own."""
    parts: list[RenderableType] = []
    section = ""
    for finding in report.findings:
        if finding.section != section:
            section = finding.section
            parts.append(Text(plain(section), style="bold"))
        parts.append(_finding(finding))
        if finding.advice:
            parts.append(Padding(Text(f"-> {plain(finding.advice)}", style="cyan"), (0, 0, 0, 8)))
    problems, warnings = report.count("fail"), report.count("warn")
    verdict = "a run would work" if report.works else f"a run would not work: {problems} failed"
    text = Text(verdict, style="bold green" if report.works else "bold red")
    if warnings:
        text.append(f", {warnings} warning{'s' if warnings > 1 else ''}", style="yellow")
    return Group(*parts, text)


_STATES = {"ok": "green", "warn": "yellow", "fail": "red", "info": "dim"}


def _finding(finding: Finding) -> RenderableType:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=4)
    row.add_column(width=13)
    row.add_column(overflow="fold")
    mark = "" if finding.state == "info" else finding.state
    detail = Text(plain(finding.detail))
    row.add_row(Text(mark, style=_STATES[finding.state]), Text(plain(finding.name)), detail)
    return Padding(row, (0, 0, 0, 2), expand=False)


def doctor_record(report: Report) -> dict[str, Any]:
    """Return an examination as a JSON object."""
    return {
        "works": report.works,
        "findings": [asdict(finding) for finding in report.findings],
    }


def _where(span: Span) -> str:
    return plain(f"{span.path}:{span.start_line}-{span.end_line} {span.symbol}").replace("\n", " ")


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="left" if name == "tier" else "right")
    return table
