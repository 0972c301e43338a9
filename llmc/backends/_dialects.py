"""What an OpenAI-compatible server was found to take, and what its refusals say of that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from llmc.backends._base import MAX_REPLY_TOKENS
from llmc.enrichment.asking import find_question
from llmc.enrichment.prompts import fit, make_chat_messages
from llmc.enrichment.reply import find_schema

_UNKNOWN = ("unsupported", "not supported", "unrecognized", "unknown", "unexpected", "extra")
"""How servers say that they don't know a parameter, as against a value they don't like."""

_FORM = re.compile(
    r"response_format|json[_ ](schema|object|mode)|schema|structured.?output|grammar|guided"
)
_SYSTEM = re.compile(
    r"\bsystem\W{0,3} ?(role|prompt|message|instruction)|roles? must alternate"
    r"|developer instruction|\brole\b.{0,60}\bsystem\b|only user and assistant roles"
)
_STREAM = re.compile(r"\bstream(ing|ed)?\b(?!_)")

_NUMBER = r"\D{0,30}?(\d[\d,]*)"
_CONTEXT = re.compile(
    r"context|too long|too large for|too many tokens|tokens? (?:count|allowed)|max_new_tokens"
    r"|must have less than|reduce the length|input length|input tokens exceed|maximum model length"
    r"|input is too long"
)
_LIMITS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\bn_ctx\b{_NUMBER}",
        r"\d > (\d[\d,]*)",
        rf"maximum (?:context|prompt|input|model)[a-z ]{{0,12}}(?:length|size|window){_NUMBER}",
        rf"\bmax(?:imum)? [a-z ]*tokens allowed{_NUMBER}",
        rf"(?:model|input|prompt|configured|total|token) (?:length|limit|size) of{_NUMBER}",
        rf"while limit is{_NUMBER}|supports (?:only|at most|up to){_NUMBER}|cannot exceed{_NUMBER}",
        r"\brange of input length should be \[\d+, ?(\d+)",
        rf"exceeds? (?:the )?maximum allowed{_NUMBER}",
        rf"context (?:length|size|window){_NUMBER}",
        rf"context{_NUMBER}",
        r">=? (\d[\d,]*) maximum",
        r"(\d[\d,]*)(?: tokens)? max(?:imum)?\b",
        rf"(?:less than|at most|<=|up to|exceeds?[a-z ]{{0,30}}limit of){_NUMBER}",
    )
)
"""How servers name the tokens that prompt and reply may have together, the clearest first."""

_MOST_TOKENS = re.compile(
    r"max_(?:completion_)?tokens['`\"]?:? (?:must|should|cannot|can't|has to) (?:be )?"
    r"(?:less than or equal to|less than|at most|no more than|exceed|<=?) ?['`\"]?(\d[\d,]*)"
    r"|max_(?:completion_)?tokens['`\"]? is too large[^.]*\. this model supports at most "
    r"(\d[\d,]*) completion"
)

_LEAST_LIMIT, _MOST_LIMIT = 64, 1 << 24


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server takes; `response_format` goes json_schema, json_object, none.

    `context` is the number of tokens for prompt and reply that it has named, 0 if it hasn't;
    `system` says whether it knows that role, `most_tokens` is the longest reply that it allows.
    """

    response_format: str = "json_schema"
    stream: bool = True
    stream_options: bool = True
    bound: str = "max_tokens"
    context: int = 0
    system: bool = True
    most_tokens: int = MAX_REPLY_TOKENS

    @property
    def reply_tokens(self) -> int:
        """The bound on the reply: it must leave room for the prompt."""
        return min(self.most_tokens, self.context // 4 or MAX_REPLY_TOKENS)

    def fit(self, prompt: str, options: Mapping[str, Any]) -> str:
        """Cut a prompt to what the server is known to take."""
        contexts = [n for n in (options.get("num_ctx"), self.context) if isinstance(n, int) and n]
        return fit(prompt, {"num_ctx": min(contexts)} if contexts else {}, self.reply_tokens)

    def put(self, prompt: str) -> list[dict[str, str]]:
        """Return the messages of a prompt; without the role, the user says what the system did."""
        messages = make_chat_messages(prompt)
        if self.system or messages[0]["role"] != "system":
            return messages
        said, first, *rest = messages
        return [{**first, "content": f"{said['content']}\n\n{first['content']}"}, *rest]

    def make_words(self, prompt: str) -> dict[str, Any]:
        """Return the part of a request that is put in this dialect."""
        words: dict[str, Any] = {"stream": self.stream, self.bound: self.reply_tokens}
        if self.stream and self.stream_options:
            words["stream_options"] = {"include_usage": True}
        if self.response_format == "json_schema":
            form = {"name": "enrichment", **_make_form(prompt)}
            words["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self.response_format == "json_object":
            words["response_format"] = {"type": "json_object"}
        return words


def _make_form(prompt: str) -> dict[str, Any]:
    """Return the schema of a reply; where it is made for strict modes, one is asked for."""
    form = {"schema": find_schema(prompt)}
    return {**form, "strict": True} if find_question(prompt) else form


def choose_dialect(url: str, *, stream: bool) -> Dialect:
    """Return what a server is asked in before anything is known of it."""
    host = urlsplit(url).hostname or ""
    theirs = host.endswith((".openai.com", ".openai.azure.com"))
    return Dialect(stream=stream, bound="max_completion_tokens" if theirs else "max_tokens")


def simplify(dialect: Dialect, complaint: str) -> Dialect | None:
    """Return a dialect without what the complaint names, None if it names nothing of ours."""
    words = complaint.lower()
    if "stream_options" in words and dialect.stream_options:
        return replace(dialect, stream_options=False)
    if (most := find_most_tokens(complaint)) and most < dialect.reply_tokens:
        return replace(dialect, most_tokens=most)
    if dialect.bound in words and any(word in words for word in _UNKNOWN):
        other = "max_completion_tokens" if dialect.bound == "max_tokens" else "max_tokens"
        return replace(dialect, bound=other)
    named = _FORM.search(words)
    if named and dialect.response_format == "json_schema":
        return replace(dialect, response_format="json_object")
    if named and dialect.response_format == "json_object":
        return replace(dialect, response_format="none")
    if dialect.system and _SYSTEM.search(words):
        return replace(dialect, system=False)
    if _STREAM.search(words) and dialect.stream:
        return replace(dialect, stream=False)
    return None


def is_about_form(complaint: str) -> bool:
    """Tell whether an error is about the form of the reply or the turns of the chat.

    Servers that fail over those call it an error of their own.
    """
    words = complaint.lower()
    return bool(_FORM.search(words) or _SYSTEM.search(words))


def find_most_tokens(complaint: str) -> int | None:
    """Return the longest reply, in tokens, that a server says it allows; None if it says nothing.

    That is another thing than the limit on prompt and reply together.
    """
    found = _MOST_TOKENS.search(complaint.lower())
    most = int((found[1] or found[2]).replace(",", "")[:12]) if found else 0
    return most if most >= _LEAST_LIMIT else None


def find_limit(complaint: str) -> int | None:
    """Return the tokens that a server says prompt and reply may have, None if it says nothing."""
    words = complaint.lower()
    if not _CONTEXT.search(words) or _MOST_TOKENS.search(words):
        return None
    for pattern in _LIMITS:
        for match in pattern.finditer(words):
            found = next(filter(None, match.groups()))
            limit = int(found.replace(",", "")[:12])
            if _LEAST_LIMIT <= limit <= _MOST_LIMIT:
                return limit
    return None
