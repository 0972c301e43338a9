"""What `llmc ledger check` shows: lines for a person, or a JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

from llmc.models import Span
from llmc.records.audit import Audit, Damage, Gap
from llmc.redaction.text import make_one_line
from llmc.show.counting import tell_count
from llmc.store.provenance import mark_sources

SHOWN = 20
"""Of a long list, so many entries are shown; the JSON object has all."""


def tell_audit(audit: Audit) -> Iterator[str]:
    """Yield an audit as lines of plain text."""
    elsewhere = f", {audit.elsewhere} enrichments without one" if audit.elsewhere else ""
    yield f"index     {audit.outcomes} outcomes of runs{elsewhere}"
    yield f"logs      {audit.lines} lines"
    if audit.gaps:
        advice = f"; {audit.rebuilt} rebuilt" if audit.rebuilt else "; --rebuild writes them"
        yield f"missing   the lines of {len(audit.gaps)} outcomes{advice}"
        yield from _shown(map(_gap, audit.gaps), len(audit.gaps))
    if audit.lost:
        lost = tell_count(len(audit.lost), "span")
        yield f"lost      {lost} passed, and no enrichment is there; run: llmc enrich"
        yield from _shown(map(_place, audit.lost), len(audit.lost))
    if audit.unknown:
        unknown = tell_count(len(audit.unknown), "span")
        yield (
            f"unknown   {unknown} passed, and this index has no result: "
            "another index has it, or it was removed"
        )
        yield from _shown(map(_place, audit.unknown), len(audit.unknown))
    if audit.twice:
        yield (
            f"twice     {tell_count(len(audit.twice), 'span')} passed twice at the same time: "
            "paid twice, or a line was copied"
        )
        yield from _shown(audit.twice, len(audit.twice))
    if audit.damaged:
        count = sum(damage.count for damage in audit.damaged)
        yield f"damaged   {count} lines are no JSON object, as a crash leaves them"
        yield from _shown(map(_damage, audit.damaged), len(audit.damaged))
    yield "logs and index agree" if audit.agrees else "logs and index do not agree"


def record_audit(audit: Audit) -> dict[str, Any]:
    """Return an audit as a JSON object."""
    record = {
        "agrees": audit.agrees,
        "outcomes": audit.outcomes,
        "enriched_elsewhere": audit.elsewhere,
        "lines": audit.lines,
        "rebuilt": audit.rebuilt,
        "missing": [asdict(gap) for gap in audit.gaps],
        "lost": list(map(_span, audit.lost)),
        "unknown": list(map(_span, audit.unknown)),
        "twice": list(audit.twice),
        "damaged": [
            {"log": str(damage.log), "count": damage.count, "lines": list(damage.lines)}
            for damage in audit.damaged
        ],
    }
    return mark_sources(
        record,
        {
            "missing": "repository",
            "lost": "repository",
            "unknown": "repository",
            "twice": "repository",
        },
    )


def _shown(entries: Iterable[str], count: int) -> Iterator[str]:
    yield from (f"          {make_one_line(entry)}" for entry in islice(entries, SHOWN))
    if count > SHOWN:
        yield f"          and {count - SHOWN} more; --json names all"


def _place(span: Span) -> str:
    return f"{span.path}:{span.start_line} {span.symbol}"


def _span(span: Span) -> dict[str, Any]:
    return {
        "span_hash": span.span_hash,
        "path": span.path,
        "line": span.start_line,
        "symbol": span.symbol,
    }


def _gap(gap: Gap) -> str:
    logs = " and ".join(name for name in ("metrics", "ledger") if getattr(gap, name))
    return f"{gap.path}:{gap.line} {gap.result}: no {logs} line"


def _damage(damage: Damage) -> str:
    more = damage.count - len(damage.lines)
    numbers = ", ".join(map(str, damage.lines))
    return f"{damage.log}: line {numbers}" + (f" and {more} more" if more else "")
