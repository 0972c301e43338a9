"""The contract for replies once more, written for the tests alone.

Nothing of `llmc.enrichment.reply` is used. `reading` says what must become of a
reply; `breaches` looks at a result by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LISTS = ("inputs", "outputs", "side_effects", "pitfalls")
CITABLE = ("summary_120w", *LISTS, "usage_snippet")
NAMES = ("model", "schema_version")
FIELDS = {*CITABLE, *NAMES, "tags", "evidence"}
ASKED = CITABLE

DEEP = 700
"""From here on, it depends on the room left for recursion whether JSON can be read at all."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply and what is known of it; `strict` reads as the `llmc` command does."""

    text: str
    lines: tuple[int, int] = (10, 20)
    done_reason: object = None
    eval_count: object = None
    strict: bool = False


def reading(said: Said) -> tuple[str, dict[str, Any]]:
    """Return (accepted | parse | truncation | validation, the fields of what is accepted)."""
    if said.strict:
        said = replace(said, text=after_thoughts(said.text))
    begin, end = said.text.find("{"), said.text.rfind("}")
    try:
        reply = json.loads(said.text[begin : end + 1] if 0 <= begin < end else "")
    except (ValueError, RecursionError):
        return ("truncation" if cut_off(said) else "parse"), {}
    if reply.keys() - FIELDS:
        return "validation", {}
    try:
        fields = normalised(reply, said.lines)
    except RecursionError:  # too deep for Python's str(), so too long as well
        return "validation", {}
    if said.strict:
        fields = without_nul(fields)
    if said.strict and not fields["summary_120w"]:
        return "validation", {}
    return ("validation" if any(breaches(fields, said.lines)) else "accepted"), fields


def after_thoughts(text: str) -> str:
    """Return what a model says once it has thought: behind the first mark with an answer there.

    Where no mark has an answer behind it, the first one ends thoughts if they were opened, or if
    no field of an answer stands before it.
    """
    names = r"(\w+:)?(think|thinking|thoughts?|reasoning|reflection)>"
    closing = (
        rf"(?i)</{names}|\[/THINK\]|◁/think▷|<channel\|>|<\|end_of_thought\|>|<\|end_thinking\|>"
        r"|<\|channel\|>final\b[^{}]{0,60}?<\|message\|>"
    )
    opening = (
        rf"(?i)<{names}|\[THINK\]|◁think▷|<\|channel\|>analysis|<\|channel>thought"
        r"|<\|begin_of_thought\|>|<\|start_thinking\|>"
    )
    marks = [(mark.start(), mark.end()) for mark in re.finditer(closing, text)]
    for _, end in marks:
        if answers(text[end:]):
            return text[end:]
    if not marks:
        return text
    before, behind = text[: marks[0][0]], text[marks[0][1] :]
    opened = re.match(opening, before.lstrip()) is not None
    return behind if opened or not any(f'"{name}"' in before for name in ASKED) else text


def answers(text: str) -> bool:
    """Tell whether the JSON of a text has a field that was asked for."""
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and any(name in found for name in ASKED)


def is_deep(text: str) -> bool:
    """Tell whether a text may be nested deeper than JSON is read on every machine."""
    return max(text.count("["), text.count("{")) > DEEP


def cut_off(said: Said) -> bool:
    """Tell whether what is no JSON counts as cut off."""
    if str(said.done_reason).lower() in ("length", "max_tokens", "token_limit"):
        return True
    if said.text.count("{") > said.text.count("}") + 1:
        return True
    last = said.text.strip()[-1:]
    if last not in ("}", "]", '"') or not last:
        return True
    return isinstance(said.eval_count, int) and said.eval_count < 1


def normalised(reply: Mapping[str, Any], lines: tuple[int, int]) -> dict[str, Any]:
    """Return all fields of a reply with known keys, brought into shape."""
    fields: dict[str, Any] = {name: strings(reply.get(name)) for name in (*LISTS, "tags")}
    fields["summary_120w"] = text(reply.get("summary_120w"))
    snippet = text(reply.get("usage_snippet"))
    if len(snippet.splitlines()) > 12:
        snippet = "\n".join(snippet.splitlines()[:12])
    fields["usage_snippet"] = snippet or None
    for name in NAMES:
        value = reply.get(name)
        fields[name] = storable(value) if isinstance(value, str) else value
    entries = reply.get("evidence")
    fields["evidence"] = [
        {"field": entry["field"], "lines": entry["lines"]}
        for entry in (entries if isinstance(entries, list) else [])
        if is_citation(entry)
    ]
    given = [entry["field"] for entry in fields["evidence"]]
    for name in CITABLE:
        if fields[name] and name not in given:
            fields["evidence"].append({"field": name, "lines": list(lines)})
    return fields


def is_citation(entry: Any) -> bool:
    """Tell whether an entry has a field that may be cited, and two integers."""
    if not isinstance(entry, dict) or not isinstance(entry.get("field"), str):
        return False
    lines = entry.get("lines")
    pair = isinstance(lines, list) and [isinstance(n, int) for n in lines] == [True, True]
    return entry["field"] in CITABLE and pair


def text(value: object) -> str:
    if value is None:
        return ""
    return storable(value if isinstance(value, str) else str(value)).strip()


def strings(value: object) -> list[str]:
    items = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [storable(i).strip() for i in items if isinstance(i, str) and storable(i).strip()]


def storable(value: str) -> str:
    """Return a text with "?" for each half of a character that came alone."""
    if value.isascii():
        return value
    return "".join("?" if "\ud800" <= char <= "\udfff" else char for char in value)


def without_nul(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with U+FFFD for NUL in every text."""
    clean = dict(fields)
    for name, value in fields.items():
        if isinstance(value, str):
            clean[name] = "\ufffd".join(value.split("\0"))
        elif name in (*LISTS, "tags"):
            clean[name] = ["\ufffd".join(item.split("\0")) for item in value]
    return clean


def breaches(fields: Mapping[str, Any], lines: tuple[int, int]) -> list[str]:
    """Return the rules that the fields of a result break."""
    summary, snippet = fields["summary_120w"], fields["usage_snippet"]
    rules = {
        "fields": set(fields) == FIELDS,
        "summary": type(summary) is str and len(summary) <= 1200,
        "words": type(summary) is str and len(summary.split()) <= 120,
        "snippet": snippet is None or (type(snippet) is str and 0 < len(snippet) <= 1200),
        "names": all(fields[name] is None or type(fields[name]) is str for name in NAMES),
        "lists": all(
            type(item) is str and item and item == item.strip()
            for name in (*LISTS, "tags")
            for item in fields[name]
        ),
        "evidence": all(
            set(entry) == {"field", "lines"} and entry["field"] in CITABLE
            for entry in fields["evidence"]
        ),
        "lines": all(
            type(line) is int and lines[0] <= line <= lines[1]
            for entry in fields["evidence"]
            for line in entry["lines"]
        ),
        "cited": {entry["field"] for entry in fields["evidence"]}
        >= {name for name in CITABLE if fields[name]},
    }
    return [rule for rule, kept in rules.items() if not kept]
