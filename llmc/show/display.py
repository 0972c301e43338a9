"""What a person sees: an index's status, spans with their enrichments, an examination.

Everything shown comes from models and source files, so it is shown as text, never as terminal
control: `make_plain` takes control characters out, and no markup is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmc.doctor.findings import Finding, Report
from llmc.redaction.text import describe_place, make_one_line, make_plain
from llmc.show.claims import make_verdicts_record, tell_dropped, view_claims, view_legend
from llmc.show.counting import tell_count
from llmc.show.facts import make_facts_record, view_facts
from llmc.store.origins import Made, Origin
from llmc.store.provenance import Source, mark_sources
from llmc.store.results import StoredResult
from llmc.store.totals import Totals

NOT_SERVED = "people are shown them, agents aren't"
_ORIGINS: dict[Made, str] = {
    "here": "",
    "adopted": ": adopted",
    "elsewhere": ": not made here; llmc adopt takes it as yours",
}
_WITHHELD = (
    "not made by this installation, so its text is withheld; a person may look at it with "
    "llmc show, and take it over with llmc adopt"
)


def view_status(totals: Totals) -> RenderableType:
    """Return an index's status as a screen."""
    failed = sum(totals.failed.values())
    things = f"{tell_count(totals.files, 'file')}, {tell_count(totals.spans, 'span')}"
    head = Text(f"{things}: ", style="bold")
    head.append(f"{totals.enriched} enriched, {totals.pending} pending, {failed} failed")
    parts: list[RenderableType] = [head]
    if totals.claimed:
        parts.append(Text(f"{totals.claimed} {'is' if totals.claimed == 1 else 'are'} in work now"))
    if totals.twins:
        share = "places with the same text share" if totals.twins > 1 else "place shares"
        parts.append(Text(f"{totals.twins} further {share} a span with another"))
    languages = _table("language", "files", "spans", "enriched")
    for language, counts in totals.by_language.items():
        languages.add_row(make_one_line(str(language)), *map(str, counts))
    parts.append(languages)
    if totals.by_model:
        models = _table("model", "tier", "enriched")
        for (model, tier), count in totals.by_model.items():
            models.add_row(make_one_line(str(model)), make_one_line(str(tier)), str(count))
        parts.append(models)
    if elsewhere := sum(totals.elsewhere.values()):
        were = "was" if elsewhere == 1 else "were"
        text = f"{elsewhere} of them {were} made elsewhere: {NOT_SERVED}; see: llmc adopt"
        parts.append(Text(text, style="yellow"))
    if totals.adopted:
        were = "was" if totals.adopted == 1 else "were"
        parts.append(Text(f"{totals.adopted} of them {were} adopted"))
    parts += map(Text, _tell_claims(totals))
    if totals.failed:
        failures = _table("failed", "spans")
        for kind, count in totals.failed.items():
            failures.add_row(make_one_line(str(kind)), str(count))
        parts.append(failures)
    if totals.prompt_tokens or totals.completion_tokens:
        parts.append(
            Text(
                f"tokens: {totals.prompt_tokens:,} read, {totals.completion_tokens:,} written "
                "for the spans in the index"
            )
        )
    return Group(*parts)


def _tell_claims(totals: Totals) -> Iterator[str]:
    """Yield what was found of the claims of all enrichments."""
    if totals.checked:
        claims = f"claims: {totals.proven} proven by the parser, {totals.not_provable} not provable"
        yield ", ".join(filter(None, (claims, tell_dropped(totals.dropped))))
    if unchecked := totals.enriched - totals.checked:
        yield f"claims of {tell_count(unchecked, 'enrichment')} were not checked"


def view_results(results: Iterable[StoredResult]) -> RenderableType:
    """Return spans with their enrichments as a screen."""
    shown = list(results)
    views = [_result(result) for result in shown]
    legend = view_legend(shown)
    return Group(*views, legend) if legend else Group(*views)


def _result(result: StoredResult) -> RenderableType:
    head = Text(describe_place(result.span), style="bold")
    head.append(f"  {make_one_line(str(result.span.kind))}", style="dim")
    if result.twin_of:
        head.append(f"  same text as {make_one_line(result.twin_of)}", style="dim")
    found, facts = result.enrichment, view_facts(result)
    if found is None:
        return Group(head, _indent(Group(_missing(result), facts), below=1))
    body = list(view_claims(result))
    tier = f", {result.outcome.tier}" if result.outcome else ""
    line = Text(make_one_line(f"by {found['model']}{tier}"), style="dim")
    if result.origin:
        style = "dim" if result.origin.servable else "yellow"
        line.append(_ORIGINS[result.origin.made], style=style)
    body += [line, facts]
    return Group(head, _indent(Group(*body), below=1))


def _indent(view: RenderableType, *, below: int = 0) -> Padding:
    """Indent a view, with so many empty lines below; what is right of it stays empty."""
    return Padding(view, (0, 0, below, 2), expand=False)


def _missing(result: StoredResult) -> Text:
    failure = result.failure
    if failure is None:
        return Text("not enriched yet", style="dim")
    times = "" if failure.count == 1 else f" {failure.count} times"
    text = Text(
        make_one_line(f"failed{times} ({failure.kind}): {failure.detail or ''}"), style="red"
    )
    if failure.retry_at > time.time():
        text.append(f"\nleft alone until {_clock(failure.retry_at)}", style="dim")
    if failure.excerpt:
        text.append(f"\nthe reply began: {make_one_line(str(failure.excerpt))[:200]}", style="dim")
    return text


def _clock(seconds: float) -> str:
    """Return an epoch time as people here write it; one that no clock shows is far away."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "some distant day"


def record_result(result: StoredResult, *, withhold: bool = True) -> dict[str, Any]:
    """Return a span with its enrichment as a JSON object, which agents may read.

    What was made elsewhere is withheld from it, unless it is asked for.
    """
    origin = result.origin
    hidden = withhold and origin is not None and not origin.servable
    result = result.for_agents() if withhold else result
    span = result.span
    record = {
        "path": span.path,
        "lang": span.lang,
        "symbol": span.symbol,
        "kind": span.kind,
        "lines": [span.start_line, span.end_line],
        "span_hash": span.span_hash,
        "twin_of": result.twin_of,
        "origin": asdict(origin) if origin else None,
        "facts": make_facts_record(result),
        "enrichment": result.enrichment,
        "verdicts": make_verdicts_record(result),
        "failure": _failure_record(result),
    }
    return mark_sources(record | ({"note": _WITHHELD} if hidden else {}), _sources(origin))


def _sources(origin: Origin | None) -> dict[str, Source]:
    """Say whose words a span's record holds; what was made elsewhere may be the repository's."""
    by_its_authors: tuple[str, ...] = ("path", "lang", "symbol", "kind", "twin_of", "facts")
    if origin and not origin.servable:
        return dict.fromkeys((*by_its_authors, "enrichment", "failure"), "repository")
    sources: dict[str, Source] = dict.fromkeys(by_its_authors, "repository")
    said: dict[str, Source] = dict.fromkeys(("enrichment", "verdicts", "failure.reply"), "model")
    return sources | said | {"failure.detail": "host"}


def _failure_record(result: StoredResult) -> dict[str, Any] | None:
    failure, outcome = result.failure, result.outcome
    if failure is None:
        return None
    return {
        "reason": failure.kind,
        "detail": failure.detail,
        "attempts": outcome.attempts if outcome else None,
        "runs": failure.count,
        "reply": failure.excerpt,
        "failed_at": failure.failed_at,
        "retry_at": failure.retry_at,
    }


def record_status(totals: Totals) -> dict[str, Any]:
    """Return an index's status as a JSON object, without names of models from elsewhere."""
    elsewhere = sum(totals.elsewhere.values())
    models = [
        {"model": model, "tier": tier, "enriched": count - totals.elsewhere.get((model, tier), 0)}
        for (model, tier), count in totals.by_model.items()
    ]
    if elsewhere:
        models.append({"model": "-", "tier": "-", "enriched": elsewhere})
    record = {
        "files": totals.files,
        "spans": totals.spans,
        "enriched": totals.enriched,
        "pending": totals.pending,
        "failed": sum(totals.failed.values()),
        "failed_by_kind": totals.failed,
        "claimed": totals.claimed,
        "twins": totals.twins,
        "made_elsewhere": elsewhere,
        "adopted": totals.adopted,
        "languages": {
            language: dict(zip(("files", "spans", "enriched"), counts, strict=True))
            for language, counts in totals.by_language.items()
        },
        "models": [entry for entry in models if entry["enriched"]],
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "claims": {
            "proven": totals.proven,
            "not_provable": totals.not_provable,
            "dropped": sum(totals.dropped.values()),
            "dropped_by_kind": dict(totals.dropped),
        },
        "not_checked": totals.enriched - totals.checked,
    }
    # The index says so, and an index may be the repository's.
    return mark_sources(
        record,
        {
            "failed_by_kind": "repository",
            "languages": "repository",
            "models[].model": "model",
            "models[].tier": "repository",
        },
    )


def view_report(report: Report) -> RenderableType:
    """Return an examination as a screen: a line per finding, advice on a line of its own."""
    parts: list[RenderableType] = []
    section = ""
    for finding in report.findings:
        if finding.section != section:
            section = finding.section
            parts.append(Text(make_one_line(section), style="bold"))
        parts.append(_finding(finding))
        if finding.advice:
            parts.append(
                Padding(
                    Text(f"-> {make_plain(finding.advice)}", style="cyan"),
                    (0, 0, 0, 8),
                    expand=False,
                )
            )
    text = _verdict(report)
    if warnings := report.count("warn"):
        text.append(f", {warnings} warning{'s' if warnings > 1 else ''}", style="yellow")
    return Group(*parts, text)


def _verdict(report: Report) -> Text:
    """Say whether a run would work; that one would takes a reply from a model to know."""
    if not report.works:
        return Text(f"a run would not work: {report.count('fail')} failed", style="bold red")
    if not report.unproved:
        return Text("a run would work", style="bold green")
    tried = any(f.name == "trial" and f.state != "info" for f in report.findings)
    text = Text("nothing is in the way of a run", style="bold green")
    said = "no model gave a usable reply" if tried else "no model was asked for a reply"
    return text.append(f", but {said} at {', '.join(report.unproved)}", style="yellow")


_STATES = {"ok": "green", "warn": "yellow", "fail": "red", "info": "dim"}


def _finding(finding: Finding) -> RenderableType:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=4)
    row.add_column(width=13)
    row.add_column(overflow="fold")
    mark = "" if finding.state == "info" else finding.state
    detail = Text(make_plain(finding.detail))
    row.add_row(Text(mark, style=_STATES[finding.state]), Text(make_one_line(finding.name)), detail)
    return Padding(row, (0, 0, 0, 2), expand=False)


def record_report(report: Report) -> dict[str, Any]:
    """Return an examination as a JSON object."""
    return mark_sources(
        {
            "works": report.works,
            "unproved": list(report.unproved),
            "findings": [asdict(finding) for finding in report.findings],
        },
        {"findings[].name": "repository", "findings[].detail": "host"},
    )


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="left" if name == "tier" else "right")
    return table
