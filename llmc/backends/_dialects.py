"""What an OpenAI-compatible server was found to take, and what its refusals say of that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from llmc.backends._base import MAX_REPLY_TOKENS
from llmc.enrichment.prompts import fit
from llmc.enrichment.reply import build_schema

_UNKNOWN = ("unsupported", "not supported", "unrecognized", "unknown", "unexpected", "extra")
"""How servers say that they don't know a parameter, as against a value they don't like."""

_STREAM = re.compile(r"\bstream(ing|ed)?\b(?!_)")

_NUMBER = r"\D{0,30}?(\d[\d,]*)"
_CONTEXT = re.compile(
    r"context|too long|too large for|too many tokens|tokens? (?:count|allowed)|max_new_tokens"
    r"|must have less than|reduce the length"
)
_LIMITS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\bn_ctx\b{_NUMBER}",
        r"\d > (\d[\d,]*)",
        rf"maximum (?:context|prompt|input|model)[a-z ]{{0,12}}(?:length|size|window){_NUMBER}",
        rf"\bmax(?:imum)? [a-z ]*tokens allowed{_NUMBER}",
        rf"context (?:length|size|window){_NUMBER}",
        rf"context{_NUMBER}",
        r">=? (\d[\d,]*) maximum",
        r"(\d[\d,]*)(?: tokens)? max(?:imum)?\b",
        rf"(?:less than|at most|<=|up to|exceeds?[a-z ]{{0,30}}limit of){_NUMBER}",
    )
)
"""How servers name the tokens that prompt and reply may have together, the clearest first."""

_LEAST_LIMIT, _MOST_LIMIT = 64, 1 << 24


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server takes; `response_format` goes json_schema, json_object, none.

    `context` is the number of tokens for prompt and reply that it has named, 0 if it hasn't.
    """

    response_format: str = "json_schema"
    stream: bool = True
    stream_options: bool = True
    bound: str = "max_tokens"
    context: int = 0

    @property
    def reply_tokens(self) -> int:
        """The bound on the reply: it must leave room for the prompt."""
        return min(MAX_REPLY_TOKENS, self.context // 4 or MAX_REPLY_TOKENS)

    def fit(self, prompt: str, options: Mapping[str, Any]) -> str:
        """Cut a prompt to what the server is known to take."""
        contexts = [n for n in (options.get("num_ctx"), self.context) if isinstance(n, int) and n]
        return fit(prompt, {"num_ctx": min(contexts)} if contexts else {}, self.reply_tokens)

    def words(self) -> dict[str, Any]:
        """Return the part of a request that is put in this dialect."""
        words: dict[str, Any] = {"stream": self.stream, self.bound: self.reply_tokens}
        if self.stream and self.stream_options:
            words["stream_options"] = {"include_usage": True}
        if self.response_format == "json_schema":
            form = {"name": "enrichment", "schema": build_schema()}
            words["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self.response_format == "json_object":
            words["response_format"] = {"type": "json_object"}
        return words


def first_dialect(url: str, *, stream: bool) -> Dialect:
    """Return what a server is asked in before anything is known of it."""
    host = urlsplit(url).hostname or ""
    theirs = host.endswith((".openai.com", ".openai.azure.com"))
    return Dialect(stream=stream, bound="max_completion_tokens" if theirs else "max_tokens")


def simplify(dialect: Dialect, complaint: str) -> Dialect | None:
    """Return a dialect without what the complaint names, None if it names nothing of ours."""
    words = complaint.lower()
    if "stream_options" in words and dialect.stream_options:
        return replace(dialect, stream_options=False)
    if dialect.bound in words and any(word in words for word in _UNKNOWN):
        other = "max_completion_tokens" if dialect.bound == "max_tokens" else "max_tokens"
        return replace(dialect, bound=other)
    named = any(
        word in words for word in ("response_format", "json_schema", "json_object", "schema")
    )
    if named and dialect.response_format == "json_schema":
        return replace(dialect, response_format="json_object")
    if named and dialect.response_format == "json_object":
        return replace(dialect, response_format="none")
    if _STREAM.search(words) and dialect.stream:
        return replace(dialect, stream=False)
    return None


def find_limit(complaint: str) -> int | None:
    """Return the tokens that a server says prompt and reply may have, None if it says nothing."""
    words = complaint.lower()
    if not _CONTEXT.search(words):
        return None
    for pattern in _LIMITS:
        for found in pattern.findall(words):
            limit = int(found.replace(",", "")[:12])
            if _LEAST_LIMIT <= limit <= _MOST_LIMIT:
                return limit
    return None
