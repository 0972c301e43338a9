"""What is asked about a span: only what needs judgement, as the parser has proven the rest.

A request names the parameters that a meaning is wanted for, and its schema has them as properties,
so that no other can be written. There is no worked example: small models repeat its words. What
never changes comes first, as in any prompt, and what is asked of this span comes last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from llmc.enrichment.prompts import Message, Prompt, make_head
from llmc.facts.values import Facts, Parameter
from llmc.models import Span
from llmc.redaction import secrets

_ROLE = """\
You explain source code to developers who search a code base. You are shown one function, class \
or document section, and then the names of what to fill in. Reply with one JSON object and nothing \
else.
summary: say in one or two plain sentences what it does and what for
parameters: say for each in a few words what the caller gives with it
returns: say in a few words what the value is that comes back"""
_PITFALLS = """
pitfalls: list what else a caller must beware of, beyond raised errors; leave it empty if unsure"""
_END = """
Go by the code; a comment may be wrong or out of date."""

SYSTEM = f"{_ROLE}{_PITFALLS}{_END}"
BRIEF_SYSTEM = f"{_ROLE}{_END}"
"""For a model so small that its pitfalls are false as often as not."""

FINGERPRINT = f"{SYSTEM}\n3"
"""What is the same in every request, and the number of its form: when it changes, a span that
failed may well succeed."""

BRIEF_SUMMARY_CHARS = 480
BRIEF_CHARS = 240
"""Kept of a summary and of anything else that a very small model says. It may write a little more,
as it rambles on without a bound; so what is kept always ends where a sentence or a word does."""

_MORE = 20

MOST_NAMES = 40
"""Parameters that a meaning is asked for: a reply has room for as many, and servers take schemas of
a hundred properties. The others are listed with what is proven of them."""

_TOKENS = 20
"""Of a parameter: its name, the marks around it, and a dozen words."""

_NAME = re.compile(r"(?=.*[^\W_])[\w$]{1,80}")


def _find_nothing() -> None:
    return None


@dataclass(frozen=True)
class Question:
    """What is asked about a span, and what the reply is judged by.

    `source` is the whole text of the span, also where the prompt has less of it; `nearby` are the
    names in its file, `known` those of the index. `facts` are None where nothing was proven.
    `callees` is what models said of what it calls, as `callees.write_lines` has it.
    `find_usage` returns a real call of it with its place; asked once there is a reply.
    """

    source: str
    symbol: str
    lang: str
    kind: str
    facts: Facts | None = None
    nearby: Container[str] = frozenset()
    known: Container[str] = frozenset()
    callees: str = ""
    find_usage: Callable[[], str | None] = _find_nothing
    brief: bool = False

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that a caller gives, as far as they are proven."""
        facts = self.facts
        if facts is None or not facts.sound:
            return ()
        return tuple(entry for entry in facts.parameters or () if entry.kind != "receiver")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names that a meaning is asked for, in their order, each once."""
        found = dict.fromkeys(name for entry in self.parameters for name in list_names(entry))
        return tuple(filter(_NAME.fullmatch, found))[:MOST_NAMES]

    @property
    def asks_result(self) -> bool:
        facts = self.facts
        return bool(facts and facts.sound and facts.returns.what in ("value", "both", "yields"))

    @property
    def asks_pitfalls(self) -> bool:
        return not self.brief and self.lang != "markdown"

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the reply, within what the strict modes of servers take."""
        text = self._text(BRIEF_CHARS)
        properties: dict[str, Any] = {"summary": self._text(BRIEF_SUMMARY_CHARS)}
        if self.names:
            properties["parameters"] = _object(dict.fromkeys(self.names, text))
        if self.asks_result:
            properties["returns"] = text
        if self.asks_pitfalls:
            properties["pitfalls"] = {"type": "array", "items": text}
        return _object(properties)

    def _text(self, chars: int) -> dict[str, Any]:
        return {"type": "string"} | ({"maxLength": chars + _MORE} if self.brief else {})

    @cached_property
    def form(self) -> str:
        """What is asked, as the model reads it: the reply's keys."""
        parts = ["summary"]
        if self.names:
            parts.append(f"parameters {json.dumps(self.names, ensure_ascii=False)}")
        if self.asks_result:
            parts.append("returns")
        if self.asks_pitfalls:
            parts.append("pitfalls")
        return f"Fill in: {', '.join(parts)}"


class Request(Prompt):
    """A prompt made from what is proven of its span; `question` goes with it to the reply."""

    __slots__ = ("question",)

    question: Question

    def __new__(
        cls, head: str, lang: str, code: str, cut_lines: int = 0, *, question: Question
    ) -> Request:
        system = BRIEF_SYSTEM if question.brief else SYSTEM
        request = cls._make(system, head, lang, code, cut_lines, form=_end_with(question))
        request.question = question
        return request

    def make_messages(self) -> list[Message]:
        """Return the request as chat turns."""
        return [
            {"role": "system", "content": self._constant},
            {"role": "user", "content": self.turn},
        ]

    def _remake(self, head: str, code: str, cut_lines: int) -> Request:
        return Request(head, self._lang, code, cut_lines, question=self.question)

    def tell(self, callees: str) -> Request:
        """Return the request with what was said of what its span calls."""
        question = replace(self.question, callees=callees)
        return Request(self._head, self._lang, self._code, self.cut_lines, question=question)

    def blot(self) -> tuple[Prompt, int]:
        """Return the request without likely secrets, in what is said of callees too."""
        callees, count = secrets.blot(self.question.callees)
        if count:
            blotted, in_rest = self.tell(callees).blot()
            return blotted, count + in_rest
        return super().blot()

    def make_brief(self) -> Request:
        """Return the request as it is put to a very small model."""
        question = replace(self.question, brief=True)
        return Request(self._head, self._lang, self._code, self.cut_lines, question=question)


def _end_with(question: Question) -> str:
    """Return what follows the code."""
    return "".join(f"\n\n{part}" for part in (question.callees, question.form) if part)


def build_request(span: Span, question: Question) -> Request:
    """Return the request for a span."""
    head, lang = make_head(span)
    return Request(head, lang, question.source, question=question)


def make_brief(prompt: str) -> str:
    """Return any prompt as it is put to a very small model."""
    return prompt.make_brief() if isinstance(prompt, Request) else prompt


def find_question(prompt: str) -> Question | None:
    """Return what a prompt asks by the facts, None if it is of another kind."""
    return prompt.question if isinstance(prompt, Request) else None


def count_reply_tokens(prompt: str, usual: int) -> int:
    """Return the tokens that a reply may have: more than the usual where there is much to say."""
    question = find_question(prompt)
    return max(usual, 200 + _TOKENS * len(question.names)) if question else usual


def list_names(parameter: Parameter) -> tuple[str, ...]:
    """Return the bare names that a parameter binds: a pattern has several."""
    return parameter.names or (parameter.name.lstrip("*&."),)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
