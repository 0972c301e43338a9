"""What an index is made of: files cut into spans, as the indexer hands them to the store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParsedSpan:
    """A span as cut from a file, not yet stored.

    Lines are 1-based and inclusive; bytes are the half-open range [byte_start, byte_end). `facts`
    is what the parser proved of it, as `facts.codec` writes it.
    """

    symbol: str
    kind: str
    start_line: int
    end_line: int
    byte_start: int
    byte_end: int
    span_hash: str
    doc_hint: str | None = None
    facts: str = ""


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """One file, cut into spans. `path` is relative to the repository, with "/".

    `facts_version` is that of its spans' facts, 0 without any.
    """

    path: str
    lang: str
    file_hash: str
    size: int
    mtime: float
    spans: tuple[ParsedSpan, ...]
    facts_version: int = 0
