"""Table llmc_facts: what each installation proved of a file's spans, under its seal.

A row for a file: one seal and one compressed text of all its spans take a fraction of the time and
of the room that a row for a span takes. In it each span has a line: the hash of its text, and its
facts. Facts that another installation stored, or says to have, stay where they are and are never
read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from llmc.store.parsed import ParsedSpan

PUT_FACTS = (
    "INSERT OR REPLACE INTO llmc_facts (file_id, installation, version, file_hash, facts, mac) "
    "SELECT id, ?, ?, ?, ?, ? FROM files WHERE path = ?"
)
FACTS_OF = (
    "SELECT l.facts, l.mac FROM spans s JOIN llmc_facts l ON l.file_id = s.file_id "
    "WHERE s.span_hash = ? AND l.installation = ?"
)
FILES_WITHOUT_FACTS = (
    "SELECT f.path FROM files f LEFT JOIN llmc_facts l ON l.file_id = f.id AND l.installation = ? "
    "WHERE l.version IS NOT ? OR l.file_hash IS NOT f.file_hash"
)
_HASH_CHARS = 32
"""Kept of a hash: as many as make it as good as impossible to find two texts of the same."""

_LEVEL = 1
"""Of compression: the highest makes it a seventh smaller, in five times the time."""


def write_facts(spans: Iterable[ParsedSpan]) -> bytes:
    """Return the facts of a file's spans as they are stored."""
    lines = [f"{span.span_hash[:_HASH_CHARS]} {span.facts}\n" for span in spans if span.facts]
    return zlib.compress("".join(lines).encode("utf-8", "replace"), _LEVEL)


def read_facts(stored: bytes) -> Mapping[str, str]:
    """Return the facts that `write_facts` wrote, by their span's key: see `make_key`; of what
    something else has written, none."""
    try:
        lines = zlib.decompress(stored).decode().split("\n")[:-1]
    except (zlib.error, ValueError):
        return {}
    return {line[:_HASH_CHARS]: line[_HASH_CHARS + 1 :] for line in lines}


def make_key(span_hash: str) -> str:
    """Return what a span's facts are found by."""
    return span_hash[:_HASH_CHARS]
