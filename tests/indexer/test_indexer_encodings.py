"""A file in another encoding is indexed by its own bytes, and read as what it says."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.errors import IndexingError
from llmc.indexer.encodings import make_source
from llmc.indexer.parsing import parse_file
from llmc.models import Span
from llmc.run.sources import read_source

CODE = '''# {cookie}
"""Names."""


def café(größe):
    """Return the größe of a café."""
    return f"{{größe}} €"


def plain(x):
    return x
'''
ENCODINGS = [
    ("utf-16", ""),
    ("latin-1", "-*- coding: latin-1 -*-"),
    ("cp1252", "vim: set fileencoding=cp1252 :"),
    ("iso8859-15", "coding=iso8859-15"),
    ("utf-8", "nothing"),
]


def text_of(encoding, cookie):
    text = CODE.format(cookie=cookie)
    return text.replace("€", "Euro") if encoding == "latin-1" else text


def spans_of(repo, parsed):
    return {
        span.symbol: Span(
            1,
            parsed.path,
            parsed.lang,
            span.symbol,
            span.kind,
            span.start_line,
            span.end_line,
            span.byte_start,
            span.byte_end,
            span.span_hash,
            span.doc_hint,
        )
        for span in parsed.spans
    }


@pytest.mark.parametrize(("encoding", "cookie"), ENCODINGS)
def test_a_span_is_its_own_bytes_and_reads_as_its_text(tmp_path, encoding, cookie):
    text = text_of(encoding, cookie)
    raw = text.encode(encoding)
    (tmp_path / "a.py").write_bytes(raw)
    parsed = parse_file(tmp_path, "a.py")
    spans = spans_of(tmp_path, parsed)
    assert list(spans) == ["café", "plain"]
    span = spans["café"]
    piece = raw[span.byte_start : span.byte_end]
    assert span.span_hash == f"sha256:{hashlib.sha256(b'python' + piece).hexdigest()}"
    assert (span.start_line, span.end_line) == (5, 7)
    assert span.doc_hint == "Return the größe of a café."
    wanted = text[text.index("def café") : text.index("\n\n\ndef plain")]
    assert read_source(tmp_path, span) == wanted


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_both_orders_of_utf_16_are_read_by_their_mark(tmp_path, encoding):
    (tmp_path / "a.py").write_bytes(("\ufeff" + text_of("utf-16", "")).encode(encoding))
    spans = spans_of(tmp_path, parse_file(tmp_path, "a.py"))
    assert read_source(tmp_path, spans["plain"]) == "def plain(x):\n    return x"


def test_a_file_with_the_line_ends_of_old_macs_has_lines(tmp_path):
    (tmp_path / "a.py").write_bytes(CODE.format(cookie="").replace("\n", "\r").encode())
    spans = spans_of(tmp_path, parse_file(tmp_path, "a.py"))
    assert (spans["café"].start_line, spans["plain"].end_line) == (5, 11)
    assert read_source(tmp_path, spans["plain"]) == "def plain(x):\n    return x"


def test_a_cookie_does_not_make_utf_8_unreadable(tmp_path):
    (tmp_path / "a.py").write_bytes(CODE.format(cookie="coding: latin-1").encode())
    spans = spans_of(tmp_path, parse_file(tmp_path, "a.py"))
    assert "größe" in read_source(tmp_path, spans["café"])


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"# caf\xe9\ndef f(): pass\n", "is not UTF-8 (byte 5, line 1)"),
        (b"# coding: latin-99\ns = 'caf\xe9'\n", "is not UTF-8"),
        (b"# coding: hex\ns = 'caf\xe9'\n", "is not UTF-8"),
        (b"# coding: rot13\ns = 'caf\xe9'\n", "is not UTF-8"),
        (b"\xff\xfed\x00e\x00f", "is not UTF-16-LE"),
        (b"\xff\xfea\x00\x00\x00", "has a NUL"),
        (b"a = 1\x00\n", "has a NUL"),
    ],
)
def test_what_is_in_no_encoding_is_refused_with_what_to_do(tmp_path, raw, told):
    (tmp_path / "a.py").write_bytes(raw)
    with pytest.raises(IndexingError) as caught:
        parse_file(tmp_path, "a.py")
    assert told in str(caught.value)


@given(st.text(st.characters(codec="utf-16-le", exclude_characters="\0")), st.data())
def test_every_place_of_the_text_is_found_in_the_bytes(text, data):
    raw = ("\ufeff" + text).encode("utf-16-le")
    source = make_source(raw)
    cut = data.draw(st.integers(0, len(text)))
    place = len(text[:cut].encode())
    assert raw[source.find_places([place])[place] :].decode("utf-16-le") == text[cut:]
