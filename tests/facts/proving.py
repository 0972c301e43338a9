"""Cuts a source as the indexer does, and returns what is proven of its spans."""

from __future__ import annotations

import tempfile
from pathlib import Path

from llmc.facts.codec import decode_facts
from llmc.facts.values import Facts
from llmc.indexer.parsing import parse_file


def prove_all(name: str, source: str | bytes) -> dict[str, Facts]:
    """Return the facts of each span of a file, by its symbol."""
    code = source if isinstance(source, bytes) else source.encode()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(code)
        spans = parse_file(Path(folder), name).spans
    found = {span.symbol: decode_facts(span.facts) for span in spans}
    return {symbol: facts for symbol, facts in found.items() if facts is not None}


def prove(name: str, source: str | bytes) -> Facts:
    """Return the facts of a file's first span."""
    return next(iter(prove_all(name, source).values()))
