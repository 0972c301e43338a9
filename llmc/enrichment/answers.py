"""A reply in the form that was asked for becomes one in the established form.

Models that are not held to a schema write what they like: what they were asked for under its short
names, the established fields, or some of each. All are read; what is neither is refused where every
reply is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from llmc.models import MAX_SUMMARY_CHARS, MAX_SUMMARY_WORDS

ASKED = {"summary": "summary_120w", "parameters": "inputs", "returns": "outputs"}
"""The short names, and where they lead to. `pitfalls` are called so in both forms."""

_SENTENCE_END = re.compile(r"[.!?][\"'`)\]]*(?=\s|$)")
_NAME_KEYS, _MEANING_KEYS = ("name", "parameter"), ("meaning", "description")


def translate(reply: dict[str, Any]) -> dict[str, Any]:
    """Return a reply with established fields for those that were asked for.

    Where it has both, the established one counts. Takes a reply of whatever shape.
    """
    if ASKED.keys().isdisjoint(reply):
        return reply
    told = {name: value for name, value in reply.items() if name not in ASKED}
    if "summary" in reply and "summary_120w" not in told:
        summary = reply["summary"]
        told["summary_120w"] = mend_summary(summary) if isinstance(summary, str) else summary
    if "parameters" in reply and "inputs" not in told:
        told["inputs"] = list(_entries(reply["parameters"]))
    if "returns" in reply and "outputs" not in told:
        told["outputs"] = reply["returns"]
    return told


def mend_summary(text: str) -> str:
    """Return a summary that is no longer than one may be, cut after a sentence if it was."""
    return mend(text, MAX_SUMMARY_CHARS, MAX_SUMMARY_WORDS)


def mend(text: str, chars: int, words: int) -> str:
    """Return a text of at most so many characters and words, cut after a sentence if need be.

    Where its first sentence is too long already, it is cut between two words.
    """
    text = text.strip()
    if len(text) <= chars and len(text.split()) <= words:
        return text
    found = list(islice(re.finditer(r"\S+", text[:chars]), words + 1))
    if len(found) > words or not text[chars - 1 : chars + 1].strip():
        room = text[: found[words - 1 if len(found) > words else -1].end()]
    else:
        room = text[: found[-2].end()] if len(found) > 1 else text[: chars - 1]
    room = room[: chars - 1]
    ends = [match.end() for match in _SENTENCE_END.finditer(room)]
    return room[: ends[-1]] if ends else f"{room.rstrip(' ,;:')}…"


def _entries(value: Any) -> Iterator[Any]:
    """Yield "name: meaning" for each parameter of an object, or a list of whatever kind."""
    if isinstance(value, dict):
        for name, meaning in value.items():
            said = _meaning(meaning)
            if said:
                yield f"{name}: {said}"
    elif isinstance(value, list):
        for entry in value:
            if not isinstance(entry, dict):
                yield entry
            elif name := next((entry[key] for key in _NAME_KEYS if key in entry), None):
                yield f"{name}: {_meaning(entry)}"
    else:
        yield value


def _meaning(value: Any) -> str:
    if isinstance(value, dict):
        value = next((value[key] for key in _MEANING_KEYS if key in value), None)
    return value.strip() if isinstance(value, str) else ""
