"""What an enrichment says, each claim behind a mark of what is proven of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmc.models import EVIDENCE_FIELDS
from llmc.redaction.text import make_one_line, make_plain
from llmc.store.results import StoredResult
from llmc.store.tables.values import is_whole
from llmc.store.verdicts import Checked

PROVEN, UNPROVABLE, UNCHECKED = "✓", "·", "-"
_ASCII = str.maketrans({PROVEN: "+", UNPROVABLE: "."})
_STYLES = {PROVEN: "green", UNPROVABLE: "dim", UNCHECKED: "dim"}
_SNIPPET_STYLE = "cyan"
_HEADS = {"usage_snippet": "usage"}
_LISTS = ("inputs", "outputs", "side_effects", "pitfalls")
_LINE_OF_IT = re.compile(r"\bline (\d{1,9}) of it\b")
_SHOWN_RANGES = 5


@dataclass(frozen=True, slots=True)
class _Claim:
    """A claim as it is shown, behind a mark if it has one; `note` says what of it is proven."""

    text: str
    mark: str
    note: str = ""


class _Spelled:
    """A line, or a claim behind its mark, in what the terminal can show: only ASCII, or more."""

    def __init__(self, make: Callable[[Callable[[str], str]], RenderableType]) -> None:
        self._make = make

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._make(_spell_ascii if options.ascii_only else str)


def view_claims(result: StoredResult) -> Iterator[RenderableType]:
    """Yield the parts of an enrichment, each with the lines that bear it out."""
    for name, claims in _list_fields(result):
        lines = _tell_evidence(result, name)
        if name != "summary_120w":
            yield Text(f"{_HEADS.get(name, name.replace('_', ' '))}{lines}", style="dim")
        style = _SNIPPET_STYLE if name == "usage_snippet" else ""
        views = [_view(claim, style) for claim in claims]
        if name != "summary_120w":
            yield Padding(Group(*views), (0, 0, 0, 2), expand=False)
            continue
        yield from views
        if lines:
            yield Text(lines.strip(), style="dim")
    if text := tell_dropped(_count_dropped(result)):
        yield Text(f"claims: {text}", style="yellow")


def view_legend(results: Iterable[StoredResult]) -> RenderableType | None:
    """Return a line that says what the marks of some results mean, None if they have none."""
    marks: set[str] = set()
    models: set[str] = set()
    for result in results:
        found = {claim.mark for _, claims in _list_fields(result) for claim in claims}
        marks |= found
        if UNPROVABLE in found and result.enrichment:
            models.add(make_one_line(str(result.enrichment["model"] or "a model")))
    who = models.pop() if len(models) == 1 else "a model"
    meanings = {
        PROVEN: "proven by the parser, as the brackets say",
        UNPROVABLE: f"said by {who}, not provable",
        UNCHECKED: "not checked",
    }
    parts = [(mark, meaning) for mark, meaning in meanings.items() if mark in marks]
    if not parts:
        return None
    return _Spelled(
        lambda spell: Text(
            "; ".join(f"{spell(mark)} {meaning}" for mark, meaning in parts), style="dim"
        )
    )


def make_verdicts_record(result: StoredResult) -> list[dict[str, Any]] | None:
    """Return the verdicts on an enrichment as JSON, whose lines are those of the file."""
    if result.verdicts is None:
        return None
    return [
        {
            "field": verdict.field,
            "entry": verdict.place if verdict.claim and verdict.field in _LISTS else None,
            "claim": verdict.claim,
            "ruling": verdict.ruling,
            "kind": verdict.kind,
            "reason": _place_lines(verdict.reason, result),
        }
        for verdict in result.verdicts
    ]


def tell_dropped(kinds: Mapping[str, int]) -> str:
    """Say how many claims were dropped, by kind, to be read after the word; nothing if none."""
    if not kinds:
        return ""
    counts = ", ".join(f"{count} {make_one_line(kind)}" for kind, count in sorted(kinds.items()))
    return f"{sum(kinds.values())} refuted and dropped ({counts})"


def _spell_ascii(mark: str) -> str:
    return mark.translate(_ASCII)


def _count_dropped(result: StoredResult) -> Counter[str]:
    return Counter(found.kind for found in result.verdicts or () if found.ruling == "refuted")


def _view(claim: _Claim, style: str) -> RenderableType:
    text = Text(make_plain(claim.text), style=style)
    if claim.note:
        between = "\n" if style else " "  # code has brackets of its own
        text.append(f"{between}({claim.note})", style="dim")
    if not claim.mark:
        return text

    def make(spell: Callable[[str], str]) -> RenderableType:
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(width=1)
        row.add_column(overflow="fold")
        row.add_row(Text(spell(claim.mark), style=_STYLES[claim.mark]), text)
        return row

    return _Spelled(make)


def _list_fields(result: StoredResult) -> Iterator[tuple[str, list[_Claim]]]:
    """Yield the fields of an enrichment that say something, with their claims in order."""
    found = result.enrichment
    if not found:
        return
    yield "summary_120w", list(_read_summary(result))
    for name in EVIDENCE_FIELDS[1:]:
        if not (value := found[name]):
            continue
        ruled = {one.place: one for one in result.verdicts or () if one.field == name and one.claim}
        entries = value if name in _LISTS else [value]
        claims = [_judge(result, str(entry), ruled.get(i)) for i, entry in enumerate(entries)]
        if name not in _LISTS and result.verdicts is None:
            claims = [replace(claim, mark="") for claim in claims]
        yield name, claims


def _read_summary(result: StoredResult) -> Iterator[_Claim]:
    """Yield the summary in pieces, cut where what is proven changes."""
    text = str(result.summary or "(no summary)")
    if result.verdicts is None:
        yield _Claim(text, "")
        return
    pieces: list[_Claim] = []
    at = 0
    for one in result.verdicts:
        if one.field == "summary_120w" and one.claim:
            pieces.append(_Claim(text[at : one.place].strip(), UNCHECKED))
            pieces.append(_judge(result, one.claim, one))
            at = one.place + len(one.claim)
    pieces.append(_Claim(text[at:].strip(), UNCHECKED))
    said = (piece for piece in pieces if piece.text)
    for (mark, note), group in groupby(said, key=lambda piece: (piece.mark, piece.note)):
        yield _Claim(" ".join(piece.text for piece in group), mark, note)


def _judge(result: StoredResult, text: str, verdict: Checked | None) -> _Claim:
    if verdict is None:
        return _Claim(text, UNCHECKED)
    proven = verdict.ruling == "proven"
    note = make_one_line(_place_lines(verdict.reason, result)) if proven else ""
    return _Claim(text, PROVEN if proven else UNPROVABLE, note)


def _place_lines(reason: str, result: StoredResult) -> str:
    """Return a reason with lines of the file for those of the span."""
    before = result.span.start_line - 1
    return _LINE_OF_IT.sub(lambda found: f"line {int(found[1]) + before}", reason)


def _tell_evidence(result: StoredResult, name: str) -> str:
    """Return the lines that an enrichment cites for a field; all of the span's say nothing."""
    ranges: set[tuple[int, int]] = set()
    for entry in (result.enrichment or {}).get("evidence", ()):
        if isinstance(entry, dict) and entry.get("field") == name:
            match entry.get("lines"):
                case [int(first), int(last)] if is_whole(first, 1) and is_whole(last, first):
                    ranges.add((first, last))
    ranges.discard((result.span.start_line, result.span.end_line))
    if not ranges:
        return ""
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in sorted(ranges)]
    more = ", ..." if len(parts) > _SHOWN_RANGES else ""
    word = "line" if parts == [part for part in parts[:1] if "-" not in part] else "lines"
    return f" ({word} {', '.join(parts[:_SHOWN_RANGES])}{more})"
