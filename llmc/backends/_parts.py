"""The objects that an answer of Ollama is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmc.backends._base import count
from llmc.backends._gathering import Aside, as_mapping


def read_meta(last: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the last object of an answer says, other than the reply."""
    dropped = ("response", "message", "model", "context")
    return {key: value for key, value in last.items() if key not in dropped}


def find_worked_sec(last: Mapping[str, Any]) -> float | None:
    """Return the seconds that the server says it worked on a reply, its queue and loads aside."""
    reading, writing = count(last, "prompt_eval_duration"), count(last, "eval_duration")
    return None if writing is None else ((reading or 0) + writing) / 1e9


def keep_aside(part: Mapping[str, Any], aside: Aside) -> None:
    """Keep what a part says in places where an answer may stand by mistake."""
    message = as_mapping(part.get("message"))
    aside.keep(message.get("thinking") or part.get("thinking"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        aside.keep(as_mapping(as_mapping(call).get("function")).get("arguments"))


def read_text(part: Mapping[str, Any]) -> str:
    """Return the text in a part, empty if there is none."""
    text = part.get("response")
    if isinstance(text, str) and text:
        return text
    message = part.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    return text if isinstance(text, str) else ""
