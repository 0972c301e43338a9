"""Read one file and cut it into spans.

tree-sitter always gives a tree, however broken the text, so "nothing in here" and "could not be
parsed" must be told apart. A file whose tree has errors and yields no span could not be parsed:
that is an `IndexingError`, and what is known of the file stays as it is. A file with errors and
some sound spans gives those. A sound file with code but no definition (a script, a header, a
settings module) is one span of kind `module`; one with nothing but comments has none.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import resource
import stat
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath

from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

from llmc import languages
from llmc.errors import IndexingError
from llmc.facts.codec import VERSION, encode_facts
from llmc.facts.collecting import collect_facts
from llmc.facts.frames import Place
from llmc.files.ignorefile import open_file
from llmc.indexer import definitions, encodings, sections
from llmc.indexer.comments import find_first_line
from llmc.indexer.definitions import Piece
from llmc.indexer.encodings import Source
from llmc.indexer.tree import MAX_FILE_BYTES
from llmc.languages import Language
from llmc.models import hash_span
from llmc.store.parsed import ParsedFile, ParsedSpan

MAX_PARSE_SECONDS = 15.0
"""A file of the largest size parses in two; only damage makes tree-sitter search for long."""

MAX_PARSE_BYTES = 1024**3
"""Memory that the parsing of one file may take, twice that of the densest sound file."""

MAX_MEAN_LINE = 400
"""Bytes a line, on average over a file of code: beyond it no person wrote the file."""

_MINIFIED_FROM = 4096
"""Bytes; a smaller file of long lines is read as it is."""

_CHUNK = 4096
_BOM = b"\xef\xbb\xbf"


def parse_file(repo: Path, path: str, *, prove: bool = True) -> ParsedFile:
    """Read one file of the repository and cut it into spans, ordered by their first byte.

    `path` is relative to `repo`, with "/". The spans have no facts unless they are to be proven.
    Raises IndexingError, with the file and the reason, if it is no regular file inside the
    repository, unreadable, larger than MAX_FILE_BYTES, binary, neither UTF-8 nor in an encoding
    that it names, in no known language, minified, or cannot be parsed; also if its name is not
    UTF-8.
    """
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    if name != path:
        raise IndexingError(f"'{name}': has a name that is not UTF-8; rename it")
    try:
        return _parse(repo, path, prove=prove)
    except IndexingError as exc:
        raise IndexingError(f"{path!r}: {exc}") from exc.__cause__
    except OSError as exc:
        raise IndexingError(f"{path!r}: cannot be read: {exc.strerror or exc}") from exc


def _parse(repo: Path, path: str, *, prove: bool) -> ParsedFile:
    raw, status = _read(repo, path)
    language = languages.find_language(path, raw)
    if language is None:
        raise IndexingError("is in no known language (llmc.languages lists them)")
    source = _readable(raw)
    _refuse_what_is_not_written_by_hand(source.text, language)
    root = make_tree(source.text, language)
    pieces = [
        _trimmed(piece, source.text)
        for piece in _pieces(root, source.text, language, PurePosixPath(path).stem)
    ]
    places = source.find_places(place for piece in pieces for place in (piece.start, piece.end))
    newlines = [match.start() for match in re.finditer(b"\n", source.text)]
    found = [""] * len(pieces)
    if prove:
        found = _facts(root, source.text, language, pieces, newlines)
    spans = [
        _span(piece, source, places, newlines, language, facts)
        for piece, facts in zip(pieces, found, strict=True)
    ]
    return ParsedFile(
        path=path,
        lang=language.name,
        file_hash=hashlib.sha256(raw).hexdigest(),
        size=status.st_size,
        mtime=status.st_mtime,
        spans=tuple(sorted(spans, key=lambda span: (span.byte_start, -span.byte_end))),
        facts_version=VERSION if prove else 0,
    )


def _read(repo: Path, path: str) -> tuple[bytes, os.stat_result]:
    """Return a file's bytes, with the size and time that belong to those very bytes."""
    full = Path(os.path.realpath(repo), path)
    if PurePosixPath(path).is_absolute() or os.path.realpath(full) != str(full):
        raise IndexingError("is reached through a symbolic link or outside the repository")
    with open_file(full) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise IndexingError("is not a regular file")
        source = file.read(MAX_FILE_BYTES + 1)
    if len(source) > MAX_FILE_BYTES:
        raise IndexingError(
            f"has {max(status.st_size, len(source))} bytes, more than {MAX_FILE_BYTES}: files of"
            " that size are generated or data; name it in .ragignore to leave it out for good"
        )
    return source, status


def _readable(raw: bytes) -> Source:
    """Return a file's text for the parser, whatever encoding it says it is in."""
    encoding, _ = encodings.find_declared(raw[: encodings.HEAD_BYTES])
    if b"\0" in raw and not encoding.startswith("utf-16"):
        raise IndexingError("is binary: it has a NUL byte")
    try:
        source = encodings.make_source(raw)
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise IndexingError(
            f"is not {encoding.upper()} (byte {exc.start}, line {line}); save it as UTF-8, or name"
            " its encoding in a comment at the top"
        ) from exc
    except UnicodeError as exc:
        raise IndexingError(f"{exc}; save it as UTF-8") from exc
    if b"\0" in source.text:
        raise IndexingError("is binary: it has a NUL character")
    return source


def _refuse_what_is_not_written_by_hand(source: bytes, language: Language) -> None:
    if language.document or len(source) < _MINIFIED_FROM:
        return
    mean = len(source) // (source.count(b"\n") + 1)
    if mean > MAX_MEAN_LINE:
        raise IndexingError(
            f"looks minified or generated: {mean} bytes a line on average, more than"
            f" {MAX_MEAN_LINE}; name it in .ragignore to leave it out for good"
        )


def _pieces(root: Node, source: bytes, language: Language, stem: str) -> list[Piece]:
    if language.document:
        return sections.cut(root, source, stem)
    pieces = definitions.cut(root, language)
    if pieces:
        return pieces
    if not definitions.is_sound(root, language):
        raise IndexingError(
            f"cannot be parsed as {language.name}: the first error is in line {_error_line(root)}"
        )
    module = definitions.cut_whole(root, language, stem)
    return [module] if module is not None else []


def _facts(
    root: Node, source: bytes, language: Language, pieces: list[Piece], newlines: list[int]
) -> list[str]:
    """Return what is proven of each piece, as it is stored."""
    places = [
        Place(piece.start, piece.end, piece.symbol.rpartition(".")[2], piece.kind, piece.doc)
        for piece in pieces
    ]
    grammar = _grammar(language.name)
    with _no_collections():
        found = collect_facts(root, source, language, grammar, places, newlines)
        return [encode_facts(facts) for facts in found]


@contextmanager
def _no_collections() -> Iterator[None]:
    """Let nothing look for garbage in cycles meanwhile: thousands of nodes are made, in none.

    Looking through them again and again takes a fifth of the time that they are made in.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_text(repo: Path, path: str) -> bytes:
    """Return a file's text in UTF-8, read with the same care as `parse_file`.

    Its lines are the file's. Raises IndexingError.
    """
    try:
        return _readable(_read(repo, path)[0]).text
    except (OSError, ValueError) as exc:
        raise IndexingError(f"{path!r}: cannot be read: {exc}") from exc


def make_tree(source: bytes, language: Language) -> Node:
    """Return the syntax tree of a text. Raises IndexingError if it takes too much."""
    if language.noise is not None:  # blanks of the same length, so that every offset holds
        source = language.noise.sub(lambda match: b" " * len(match[0]), source)
    deadline = time.monotonic() + MAX_PARSE_SECONDS
    roomy = _peak_bytes() + MAX_PARSE_BYTES

    def read(offset: int, _point: object) -> bytes:
        return source[offset : offset + _CHUNK]

    def too_much(_offset: int, _has_error: bool) -> bool:
        return time.monotonic() > deadline or _peak_bytes() > roomy

    try:
        return Parser(_grammar(language.name)).parse(read, progress_callback=too_much).root_node
    except ValueError as exc:  # tree-sitter's word for "stopped by the callback"
        raise IndexingError(
            f"takes more than {MAX_PARSE_SECONDS:g} s or {MAX_PARSE_BYTES >> 20} MiB to parse as"
            f" {language.name}"
        ) from exc


def _peak_bytes() -> int:
    """Return the most memory that this process has ever taken."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def _grammar(name: str) -> Grammar:
    return Grammar(languages.load_grammar(languages.LANGUAGES[name]))


def _error_line(root: Node) -> int:
    """Return the line of the first damaged place, going down the first damaged branch."""
    node = root
    while not (node.is_error and node is not root) and not node.is_missing:
        damaged = next((n for n in node.children if n.has_error or n.is_missing), None)
        if damaged is None:
            break
        node = damaged
    return node.start_point.row + 1


def _trimmed(piece: Piece, source: bytes) -> Piece:
    """Return a piece without white space, or a byte order mark, around its text."""
    text = source[piece.start : piece.end].removeprefix(_BOM).lstrip()
    start = piece.end - len(text)
    return piece._replace(start=start, end=start + len(text.rstrip()))


def _span(
    piece: Piece,
    source: Source,
    places: Mapping[int, int],
    newlines: list[int],
    language: Language,
    facts: str,
) -> ParsedSpan:
    """Give a trimmed piece its lines, its place in the file and its hash."""
    start, end = places[piece.start], places[piece.end]
    text = source.raw[start:end]
    return ParsedSpan(
        symbol=piece.symbol,
        kind=piece.kind,
        start_line=bisect_left(newlines, piece.start) + 1,
        end_line=bisect_left(newlines, piece.end - 1) + 1,
        byte_start=start,
        byte_end=end,
        span_hash=hash_span(language.name, text),
        doc_hint=find_first_line(piece.doc),
        facts=facts,
    )
