"""Model text becomes a validated enrichment, or is refused with a reason.

Every reply from every backend comes through `read`: find the JSON, normalise what models commonly
get slightly wrong, fill in the citations the program knows better, then check against the one
pydantic model. What fails is refused as parse, truncation or validation; nothing else can come out.
Replies are hostile data: no input may raise anything but `BackendError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

from pydantic import ValidationError

from llmc.errors import BackendError
from llmc.models import (
    EVIDENCE_FIELDS,
    MAX_SNIPPET_LINES,
    MAX_SUMMARY_WORDS,
    Enrichment,
)

TRUNCATED_REASONS = frozenset({"length", "max_tokens", "token_limit"})
LIST_FIELDS = ("inputs", "outputs", "side_effects", "pitfalls", "tags")
PROMPTED_FIELDS = EVIDENCE_FIELDS
"""What a model is asked for; evidence, tags and schema names the program knows itself."""


def read(
    text: str,
    lines: Sequence[int],
    *,
    done_reason: object = None,
    eval_count: object = None,
    require_summary: bool = False,
) -> Enrichment:
    """Read one reply about a span whose `lines` are (first, last), 1-based and inclusive.

    `done_reason` and `eval_count` are what the server said of the generation, if anything.
    `require_summary` also refuses an empty summary, which the batch driver's contract allows.

    Raises BackendError with `failure` = (parse | truncation | validation, detail, text).
    """
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
        return _validated(_normalised(found, lines), lines, require_summary)
    except ValidationError as error:
        _refuse("validation", _first_problem(error), text)
    except _InvalidError as error:
        _refuse("validation", str(error), text)
    except (ValueError, RecursionError) as error:
        if _is_truncated(text, done_reason, eval_count):
            _refuse("truncation", f"the reply stops before its JSON ends ({len(text)} chars)", text)
        _refuse("parse", f"no readable JSON object in the reply: {error}", text)


@cache
def schema(*, brief: bool = False) -> dict[str, Any]:
    """Return the JSON schema for a model's reply: `Enrichment` without what the program fills in.

    The bounds keep a reply constrained by it short enough to be finished and, except for a summary
    of blanks or of very short words, acceptable to `read`. `brief` takes a third, for a model so
    small that it only rambles on when it is given room.
    """
    full = Enrichment.model_json_schema()
    properties = {name: dict(full["properties"][name]) for name in PROMPTED_FIELDS}
    for entry in properties.values():
        entry.pop("default", None)
        entry.pop("title", None)
    share = 3 if brief else 1
    properties["summary_120w"] |= {"minLength": 20, "maxLength": 600 // share}
    for name in PROMPTED_FIELDS[1:5]:
        items = {"type": "string", "maxLength": 160 // share}
        properties[name] |= {"maxItems": 6 // share, "items": items}
    snippet = {"type": "string", "maxLength": 400 // share}
    properties["usage_snippet"]["anyOf"] = [snippet, {"type": "null"}]
    return {
        "type": "object",
        "properties": properties,
        "required": list(PROMPTED_FIELDS),
        "additionalProperties": False,
    }


class _InvalidError(Exception):
    """A rule that the pydantic model cannot express is broken."""


def _refuse(kind: str, detail: str, text: str) -> NoReturn:
    raise BackendError(
        f"reply refused ({kind}): {detail}", failure_type=kind, failure=(kind, detail, text)
    ) from None


def _is_truncated(text: str, done_reason: object, eval_count: object) -> bool:
    if isinstance(done_reason, str) and done_reason.lower() in TRUNCATED_REASONS:
        return True
    if text.count("{") - text.count("}") >= 2:
        return True
    if not text.rstrip().endswith(("}", "]", '"')):
        return True
    return isinstance(eval_count, int) and eval_count <= 0


def _normalised(found: dict[str, Any], span_lines: Sequence[int]) -> dict[str, Any]:
    reply = dict(found)
    for name in LIST_FIELDS:
        reply[name] = _strings(reply.get(name))
    reply["summary_120w"] = _text(reply.get("summary_120w"))
    snippet = _text(reply.get("usage_snippet"))
    lines = snippet.splitlines()
    if len(lines) > MAX_SNIPPET_LINES:
        snippet = "\n".join(lines[:MAX_SNIPPET_LINES])
    reply["usage_snippet"] = snippet or None
    reply["evidence"] = _evidence(reply, span_lines)
    for name in ("model", "schema_version"):
        if isinstance(reply.get(name), str):
            reply[name] = _storable(reply[name])
    return reply


def _text(value: object) -> str:
    if value is None:
        return ""
    return _storable(value if isinstance(value, str) else str(value)).strip()


def _strings(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    trimmed = (_storable(item).strip() for item in items if isinstance(item, str))
    return [item for item in trimmed if item]


def _storable(text: str) -> str:
    """Replace lone surrogates, which JSON can spell and no UTF-8 store can hold, by "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _evidence(reply: Mapping[str, Any], span_lines: Sequence[int]) -> list[dict[str, Any]]:
    given = reply.get("evidence")
    kept = [
        {"field": entry["field"], "lines": entry["lines"]}
        for entry in (given if isinstance(given, list) else [])
        if isinstance(entry, dict)
        and entry.get("field") in EVIDENCE_FIELDS
        and _is_line_pair(entry.get("lines"))
    ]
    cited = {entry["field"] for entry in kept}
    whole = [span_lines[0], span_lines[1]]
    return kept + [
        {"field": name, "lines": whole}
        for name in EVIDENCE_FIELDS
        if reply[name] and name not in cited
    ]


def _is_line_pair(lines: object) -> bool:
    return isinstance(lines, list) and len(lines) == 2 and all(isinstance(n, int) for n in lines)


def _validated(
    reply: dict[str, Any], span_lines: Sequence[int], require_summary: bool
) -> Enrichment:
    enrichment = Enrichment.model_validate(reply)
    words = len(enrichment.summary_120w.split())
    if words > MAX_SUMMARY_WORDS:
        raise _InvalidError(f"summary_120w has {words} words; at most {MAX_SUMMARY_WORDS} fit")
    if require_summary and not enrichment.summary_120w:
        raise _InvalidError("summary_120w is empty")
    for entry in enrichment.evidence:
        if not all(span_lines[0] <= line <= span_lines[1] for line in entry.lines):
            raise _InvalidError(
                f"evidence for {entry.field} cites lines {entry.lines}, "
                f"the span has {span_lines[0]}-{span_lines[1]}"
            )
    return enrichment


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where!r}: {problem['msg']}"
