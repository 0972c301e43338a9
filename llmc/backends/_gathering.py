"""What comes of a reply in OpenAI's form, part by part: its text, where else an answer may stand,
and why it ended.

Servers disagree on where a reply goes: its text may be a list of parts, the answer may stand among
the thoughts, which have three names, or in the arguments of a tool that nobody offered.
"""

from __future__ import annotations

import json
from typing import Any

from llmc.backends._stream import MAX_CHARS, Guard, find_answer, pick_answer
from llmc.enrichment.reply import TRUNCATED_REASONS
from llmc.errors import Failure
from llmc.models import CallTimes

_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thinking_content", "reasoning_details")
_FILTERS = ("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii")


class Aside:
    """What stands beside the text, up to the bound that holds for a text."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = MAX_CHARS

    def keep(self, said: object) -> None:
        """Keep more of it: a text, a list of parts, or an object."""
        if said and self._room > 0:
            text = _spoken(said)[: self._room]
            self._room -= len(text)
            self._parts.append(text)

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def find_answer(self) -> str:
        """Return the answer that stands here, empty if none does."""
        return find_answer(self.text)


class Gathered:
    """A reply as far as it has come.

    `finish` is the server's reason to end it, empty while it goes on; `usage` are its counts,
    `times` those of a call that is over.
    """

    def __init__(self) -> None:
        self.guard = Guard()
        self.finish = ""
        self.usage: dict[str, Any] = {}
        self.times: CallTimes | None = None
        self._thoughts, self._arguments, self._refusal = Aside(), Aside(), Aside()

    def take(self, part: dict[str, Any]) -> str | None:
        """Take a chunk of a stream, or a whole answer; return why it should be read no further."""
        self.usage = read_mapping(part.get("usage")) or self.usage
        choice = _first(part.get("choices"))
        message = read_mapping(choice.get("delta")) or read_mapping(choice.get("message"))
        reason = choice.get("finish_reason")
        if reason:
            self.finish = str(reason)[:40].lower()
        said = message.get("content", choice.get("text"))
        text = _content(said)
        if isinstance(said, list):
            for piece in said:
                self._thoughts.keep(read_mapping(piece).get("thinking"))
        if len(message) > ("role" in message) + ("content" in message):
            self._take_aside(message)
        return self.guard.feed(text)

    def _take_aside(self, message: dict[str, Any]) -> None:
        # Servers that change the name send the same under the old and the new one.
        self._thoughts.keep(next(filter(None, map(message.get, _THOUGHTS)), None))
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            self._arguments.keep(read_mapping(read_mapping(call).get("function")).get("arguments"))
        self._arguments.keep(read_mapping(message.get("function_call")).get("arguments"))
        self._refusal.keep(message.get("refusal"))

    @property
    def text(self) -> str:
        """The reply, wherever it stands; blank if there is none."""
        text = pick_answer(self.guard.text)
        if self.guard.complete or "{" in text:
            return text
        for aside in (self._arguments, self._thoughts):
            if answer := aside.find_answer():
                return answer
        return text

    def explain(self) -> Failure | None:
        """Return why there is no reply; None if nothing is known of that."""
        if refusal := self._refusal.text:
            return "validation", f"the model refused: {refusal[:300]}", refusal
        ended = f"(finish_reason {self.finish!r})"
        if self.finish.startswith(_FILTERS):
            return "validation", f"the server's filter withheld the reply {ended}", self.guard.text
        if self.finish in TRUNCATED_REASONS:
            detail = f"the bound on tokens was reached before any reply {ended}"
            return "truncation", detail, self._thoughts.text or self.guard.text
        return None


def read_mapping(value: object) -> dict[str, Any]:
    """Return an object as such, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _first(value: object) -> dict[str, Any]:
    return read_mapping(value[0]) if isinstance(value, list) and value else {}


def _content(content: object) -> str:
    """Return a message's text; some servers send it as a list of parts, or as the object it is."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (
            part if isinstance(part, str) else read_mapping(part).get("text") for part in content
        )
        return "".join(map(_content, parts))
    return json.dumps(content) if isinstance(content, dict) and content else ""


def _spoken(said: object) -> str:
    """Return what stands beside the text, which comes in more forms than the text itself."""
    if isinstance(said, list):
        return "".join(map(_spoken, said))
    inner = read_mapping(said)
    for name in ("text", "content", "summary"):
        if isinstance(inner.get(name), str | list):
            return _spoken(inner[name])
    return _content(said)
