"""What was proven of a span, as a person and as a program see it: it needs no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from llmc.facts.codec import decode_facts
from llmc.facts.values import Facts, Parameter, Raise
from llmc.redaction.text import make_one_line
from llmc.store.results import StoredResult

_MARKS = {"rest": "*", "keywords": "**"}
_RETURNS = {
    "value": "returns a value",
    "nothing": "returns nothing",
    "both": "returns a value or nothing",
    "yields": "yields",
}
_HOW = {
    "raises": "raises {}",
    "panics": "panics",
    "returns": "returns {}",
    "exits": "ends the process with {}",
}
_SHOWN_CALLS = 12
"""Calls that a person is shown; JSON has all that are kept."""


def view_facts(result: StoredResult) -> RenderableType:
    """Return the facts of a span as lines, none where none are known."""
    facts = decode_facts(result.facts)
    if facts is None:
        return Group()
    lines = list(_lines(facts, result.span.symbol, result.span.start_line))
    if not lines:
        return Group()
    texts = [Text(f"  {make_one_line(line)}", style="green") for line in lines]
    return Group(Text("proven by the parser", style="dim"), *texts)


def make_facts_record(result: StoredResult) -> dict[str, Any] | None:
    """Return the facts of a span as a JSON object; its lines are those of the file."""
    facts = decode_facts(result.facts)
    if facts is None:
        return None
    first = result.span.start_line
    record = facts._asdict()
    record["signature"] = describe_signature(facts, result.span.symbol)
    returns = facts.returns._asdict()
    record["returns"] = returns.pop("what")
    record |= {name: [line + first for line in lines] for name, lines in returns.items()}
    for name in ("parameters", "raises", "calls", "touches"):
        if record[name] is not None:
            record[name] = [entry._asdict() for entry in record[name]]
    for name in ("raises", "calls", "touches"):
        for entry in record[name]:
            entry["line"] += first
    return record


def describe_signature(facts: Facts, symbol: str) -> str | None:
    """Return a span's signature on one line, the same way in every language; None without one."""
    name = symbol.rpartition(".")[2].partition("(")[0]
    if facts.parameters is None:
        return f"{name}({', '.join(facts.bases)})" if facts.bases else None
    parts = list(_signature(facts.parameters))
    parts += ["..."] if "parameters" in facts.more else []
    result = f" -> {facts.result}" if facts.result else ""
    return f"{'async ' if facts.is_async else ''}{name}({', '.join(parts)}){result}"


def _signature(parameters: tuple[Parameter, ...]) -> Iterator[str]:
    """Yield parameters; a bare * stands before those that are given by name alone."""
    starred = False
    for parameter in parameters:
        if parameter.kind == "keyword" and not starred:
            yield "*"
        starred |= parameter.kind in ("rest", "keyword")
        yield _describe_parameter(parameter)


def _describe_parameter(parameter: Parameter) -> str:
    if parameter.name == "...":
        return parameter.name
    annotation = f": {parameter.annotation}" if parameter.annotation else ""
    equals = " = " if annotation else "="
    default = f"{equals}{parameter.default}" if parameter.default else ""
    left_out = "?" if parameter.optional and not parameter.default else ""
    return f"{_MARKS.get(parameter.kind, '')}{parameter.name}{left_out}{annotation}{default}"


def _lines(facts: Facts, symbol: str, first: int) -> Iterator[str]:
    if signature := describe_signature(facts, symbol):
        yield signature
    if facts.decorators:
        yield f"decorated with {_listed(facts, 'decorators')}"
    if facts.members:
        yield f"has {_listed(facts, 'members')}"
    back = facts.returns
    if back.what != "unknown":
        rows = back.yields or back.valued or back.bare
        yield f"{_RETURNS[back.what]}{_at([row + first for row in rows[:3]])}"
    if facts.declared:
        yield f"declares {_listed(facts, 'declared')}"
    yield from (_raised(entry, first) for entry in facts.raises)
    if "raises" in facts.more:
        yield "raises more"
    if facts.writes:
        yield f"writes {_listed(facts, 'writes')}"
    for touch in facts.touches:
        yield f"touches {touch.resource}: {touch.name}{_at([touch.line + first])}"
    if facts.calls:
        names = list(dict.fromkeys(call.name for call in facts.calls))
        more = ", ..." if len(names) > _SHOWN_CALLS or "calls" in facts.more else ""
        yield f"calls {', '.join(names[:_SHOWN_CALLS])}{more}"
    if not facts.sound:
        yield "there may be more: the syntax is damaged"


def _listed(facts: Facts, name: str) -> str:
    return ", ".join(getattr(facts, name)) + (", ..." if name in facts.more else "")


def _raised(entry: Raise, first: int) -> str:
    what = _HOW[entry.how].format(entry.error or "an error").removesuffix(" with an error")
    guard = f" under: {entry.guard}" if entry.guard else ""
    message = f' "{entry.message}"' if entry.message else ""
    return f"{what}{message}{_at([entry.line + first])}{guard}"


def _at(lines: list[int]) -> str:
    if not lines:
        return ""
    return f" (line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))})"
