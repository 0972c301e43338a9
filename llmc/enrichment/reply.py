"""Model text becomes a validated enrichment, or is refused with a reason.

Every reply from every backend comes through `read_reply`: find the JSON, normalise what models
commonly get slightly wrong, fill in the citations the program knows better, then check against the
one pydantic model. What fails is refused as parse, truncation or validation; nothing else can come
out.
Replies are hostile data: no input may raise anything but `BackendError`.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from pydantic import ValidationError

from llmc.enrichment.answers import ASKED
from llmc.enrichment.asking import find_question
from llmc.errors import make_refusal
from llmc.models import (
    EVIDENCE_FIELDS,
    MAX_SNIPPET_CHARS,
    MAX_SNIPPET_LINES,
    MAX_SUMMARY_CHARS,
    MAX_SUMMARY_WORDS,
    Enrichment,
)

TRUNCATED_REASONS = frozenset({"length", "max_tokens", "token_limit"})
FIELDS = frozenset(Enrichment.model_fields)
LIST_FIELDS = ("inputs", "outputs", "side_effects", "pitfalls", "tags")
PROMPTED_FIELDS = EVIDENCE_FIELDS
"""What a model is asked for; evidence, tags and schema names the program knows itself."""

_PROMPTED = frozenset(PROMPTED_FIELDS)
_ANY = _PROMPTED.union(ASKED)

Translate = Callable[[dict[str, Any]], dict[str, Any]]

_THOUGHTS = r"(?:\w+:)?(?:think|thinking|thoughts?|reasoning|reflection)>"
_THOUGHTS_BEGIN = re.compile(
    rf"\s*(?:<{_THOUGHTS}|\[THINK\]|◁think▷|<\|channel\|>analysis|<\|channel>thought"
    r"|<\|begin_of_thought\|>|<\|start_thinking\|>)",
    re.IGNORECASE,
)
_THOUGHTS_END = re.compile(
    rf"</{_THOUGHTS}|\[/THINK\]|◁/think▷|<channel\|>|<\|end_of_thought\|>|<\|end_thinking\|>"
    r"|<\|channel\|>final\b[^{}]{0,60}?<\|message\|>",
    re.IGNORECASE,
)
"""Where models that think aloud stop doing so. A template may have opened the thoughts itself, so
what opens them need not stand in the reply."""

_PARTS_OF_MARKS = ("</", "[/", "◁", "|>")

MAX_USUAL_CHARS = 20_000
"""Several times the longest reply that a model gives when all is well."""

MAX_VALUES = 500_000
"""Values that are read of a reply at all: a bound on memory, a thousand times what any needs."""


def read_reply(
    text: str,
    lines: Sequence[int],
    *,
    done_reason: object = None,
    eval_count: object = None,
    require_summary: bool = False,
    translate: Translate | None = None,
) -> Enrichment:
    """Read one reply about a span whose `lines` are (first, last), 1-based and inclusive.

    `done_reason` and `eval_count` are what the server said of the generation, if anything.
    `require_summary` asks more than the batch driver's contract allows: an empty summary is
    refused, U+FFFD takes the place of NUL, at which other readers of the index would stop, what a
    model thought aloud is no part of its reply, and a refusal names the server's reason to end.
    `translate` makes the established form of what was asked for in another.

    Raises BackendError with `failure` = (parse | truncation | validation, detail, text).
    """
    said, ended = text, ""
    if require_summary:
        names = _ANY if translate else _PROMPTED
        text, ended = drop_thoughts(text, names), _why_it_ended(done_reason)
    try:
        with _uncollected(len(text)):
            return _accepted(text, lines, require_summary, translate)
    except ValidationError as error:
        kind, detail = "validation", _first_problem(error)
    except _InvalidError as error:
        kind, detail = "validation", str(error)
    except (ValueError, RecursionError) as error:
        kind, detail = "parse", f"no readable JSON object in the reply: {error}{ended}"
        if _is_truncated(text, done_reason, eval_count):
            kind = "truncation"
            detail = f"the reply stops before its JSON ends ({len(text)} chars){ended}"
    # Out here, so that the error does not hold on to what was read through its context.
    raise make_refusal(kind, detail, said)


def drop_thoughts(text: str, names: frozenset[str] = _ANY) -> str:
    """Return a reply, which has some of these fields, without what a model thought aloud before it.

    The mark that ends thoughts may also stand in an answer, which is about code after all.
    """
    if not any(part in text for part in _PARTS_OF_MARKS):
        return text
    marks = list(_THOUGHTS_END.finditer(text))
    for mark in marks:
        if is_answer(text[mark.end() :], names):
            return text[mark.end() :]
    for mark in marks[:1]:
        head = text[: mark.start()]
        opened = _THOUGHTS_BEGIN.match(head)
        if opened or not any(f'"{name}"' in head for name in names):
            return text[mark.end() :]
    return text


def is_thinking(text: str) -> bool:
    """Tell whether a reply began with thoughts and has not come to their end."""
    return bool(_THOUGHTS_BEGIN.match(text)) and not _THOUGHTS_END.search(text)


def is_answer(text: str, names: frozenset[str] = _ANY) -> bool:
    """Tell whether a text holds the reply, which has some of these fields.

    Braces may also stand in prose, or in a model's thoughts.
    """
    text = text[text.find("{") : text.rfind("}") + 1]
    if '"' not in text:
        return False
    try:
        found: object = _object(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not names.isdisjoint(found)


@cache
def build_schema(*, brief: bool = False) -> dict[str, Any]:
    """Return the JSON schema for a model's reply: `Enrichment` without what the program fills in.

    The bounds keep a reply constrained by it short enough to be finished and, except for a summary
    of blanks or of very short words, acceptable to `read_reply`. `brief` takes a third, for a model
    so small that it only rambles on when it is given room.
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


def find_schema(prompt: str, *, brief: bool = False) -> dict[str, Any]:
    """Return the JSON schema for the reply to a prompt: its own, if it is made from facts."""
    question = find_question(prompt)
    return question.schema if question else build_schema(brief=brief)


class _InvalidError(Exception):
    """A rule that the pydantic model cannot express is broken."""


@contextmanager
def _uncollected(size: int) -> Iterator[None]:
    """Hold back the garbage collector while a big reply is read.

    JSON makes no cycles, yet thousands of new objects bring on full collections of the whole
    program, each of which takes longer than the reading.
    """
    held = size > MAX_USUAL_CHARS and gc.isenabled()
    if held:
        gc.disable()
    try:
        yield
    finally:
        if held:
            gc.enable()


def _why_it_ended(done_reason: object) -> str:
    """Return what a refusal adds if the server named an end other than the reply's own."""
    if not isinstance(done_reason, str) or done_reason.lower() in ("", "stop"):
        return ""
    return f"; the server ended it with {done_reason[:40]!r}"


def _is_truncated(text: str, done_reason: object, eval_count: object) -> bool:
    if isinstance(done_reason, str) and done_reason.lower() in TRUNCATED_REASONS:
        return True
    if text.count("{") - text.count("}") >= 2:
        return True
    if not text.rstrip().endswith(("}", "]", '"')):
        return True
    return isinstance(eval_count, int) and eval_count <= 0


def _accepted(
    text: str, span_lines: Sequence[int], require_summary: bool, translate: Translate | None
) -> Enrichment:
    found = _object(text)
    reply = _normalised(translate(found) if translate else found, span_lines)
    if require_summary and "\\u0000" in text:
        _replace_nul(reply)
    enrichment = Enrichment.model_validate(reply)
    words = len(enrichment.summary_120w.split())
    if words > MAX_SUMMARY_WORDS:
        raise _InvalidError(f"summary_120w has {words} words; at most {MAX_SUMMARY_WORDS} fit")
    if require_summary and not enrichment.summary_120w:
        raise _InvalidError("summary_120w is empty")
    return enrichment


def _object(text: str) -> dict[str, Any]:
    """Return the object from the first to the last brace. Raises ValueError, RecursionError."""
    text = text[text.find("{") : text.rfind("}") + 1]
    if len(text) > MAX_VALUES and _has_too_many_values(text):
        raise ValueError(f"more than {MAX_VALUES} values")
    found: dict[str, Any] = json.loads(text)
    return found


def _has_too_many_values(text: str) -> bool:
    text = text.replace("\\\\", "").replace('\\"', "")
    if text.count('"') > 2 * MAX_VALUES:
        return True
    outside_strings = text.split('"')[::2]
    return sum(part.count(mark) for part in outside_strings for mark in "{[,") > MAX_VALUES


def _normalised(reply: dict[str, Any], span_lines: Sequence[int]) -> dict[str, Any]:
    unknown = next((key for key in reply if key not in FIELDS), None)
    if unknown is not None:
        raise _InvalidError(f"{unknown[:100]!r} is none of the fields of an enrichment")
    for name in LIST_FIELDS:
        reply[name] = _strings(reply.get(name))
    reply["summary_120w"] = _text(reply.get("summary_120w"), MAX_SUMMARY_CHARS)
    snippet = _text(reply.get("usage_snippet"), MAX_SNIPPET_CHARS)
    reply["usage_snippet"] = _first_lines(snippet) or None
    reply["evidence"] = _evidence(reply, span_lines)
    for name in ("model", "schema_version"):
        if isinstance(reply.get(name), str):
            reply[name] = _storable(reply[name])
    return reply


def _text(value: object, limit: int) -> str:
    """Return a value as trimmed text. Raises _InvalidError if that has more than `limit` chars.

    Whether it has is told from the number of values, before a big one is spelled out: each takes
    a character at least, a container two.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return _storable(value).strip()
    size, containers = 0, [value]
    while containers:
        inner = containers.pop()
        if isinstance(inner, dict | list):
            size += 1 + len(inner)
            if size > limit:
                raise _InvalidError(f"an object or list in place of a text of {limit} characters")
            containers += inner.values() if isinstance(inner, dict) else inner
    return str(value)


def _first_lines(text: str) -> str:
    """Cut a snippet to its first lines; one that is too long all the same is only made shorter."""
    head = text[: MAX_SNIPPET_CHARS + 3 * MAX_SNIPPET_LINES]
    lines = head.splitlines()
    if len(lines) <= MAX_SNIPPET_LINES:
        return head
    return "\n".join(lines[:MAX_SNIPPET_LINES])


def _strings(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    strings = [item for item in items if isinstance(item, str)]
    try:
        "".join(strings).encode()
    except UnicodeEncodeError:
        strings = [_storable(item) for item in strings]
    return list(filter(None, map(str.strip, strings)))


def _storable(text: str) -> str:
    """Replace lone surrogates, which JSON can spell and no UTF-8 store can hold, by "?"."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _replace_nul(reply: dict[str, Any]) -> None:
    for name, value in reply.items():
        if isinstance(value, str):
            reply[name] = value.replace("\0", "\ufffd")
        elif name in LIST_FIELDS:
            reply[name] = [item.replace("\0", "\ufffd") for item in value]


def _evidence(reply: Mapping[str, Any], span_lines: Sequence[int]) -> list[dict[str, Any]]:
    given = reply.get("evidence")
    first, last = span_lines[0], span_lines[1]
    kept: list[dict[str, Any]] = []
    for entry in given if isinstance(given, list) else ():
        if not entry or not isinstance(entry, dict) or entry.get("field") not in EVIDENCE_FIELDS:
            continue
        lines = entry.get("lines")
        if not isinstance(lines, list) or len(lines) != 2:
            continue
        one, other = lines
        if isinstance(one, int) and isinstance(other, int):
            if not (first <= one <= last and first <= other <= last) or bool in map(type, lines):
                raise _InvalidError(
                    f"evidence for {entry['field']} cites lines {lines!s:.100}, "
                    f"the span has {first}-{last}"
                )
            kept.append({"field": entry["field"], "lines": lines})
    cited = {entry["field"] for entry in kept}
    return kept + [
        {"field": name, "lines": [first, last]}
        for name in EVIDENCE_FIELDS
        if reply[name] and name not in cited
    ]


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where!r}: {problem['msg']}"
