"""Sources that mean harm, or look like it: indexed or skipped with a word, and planned.

The big ones are such that work which grows with the square of a file's size would never end.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

from llmc import engine, languages
from llmc.errors import ConfigError, IndexingError
from llmc.indexer.definitions import MAX_DEPTH, MAX_SYMBOL_CHARS, is_sound
from llmc.indexer.files import Ignored, find_source_files
from llmc.indexer.parsing import parse_file
from llmc.indexer.tree import MAX_FILE_BYTES
from llmc.settings.config import Settings
from llmc.settings.loading import load_settings
from llmc.store.parsed import ParsedFile, ParsedSpan


def settings_of(repo: Path) -> Settings:
    return load_settings(repo, environ={})


def git(repo: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(repo), *words], check=True, capture_output=True)


def parsed(folder: Path, name: str, text: str | bytes) -> ParsedFile:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return parse_file(folder, name)


# A repository of them

LATIN = os.fsdecode(b"caf\xe9.py")
SKIPPED = {
    "binary.py": (b"\x7fELF\0\1\2", "is binary: it has a NUL byte"),
    "latin.py": (b"# caf\xe9\n", "is not UTF-8"),
    "one_line.py": (b"x = [" + b"1, " * 1_700_000 + b"]\n", f"more than {MAX_FILE_BYTES}"),
    "minified.js": (b"f(1);" * 200_000, "looks minified or generated"),
    LATIN: (b"x = 1\n", "has a name that is not UTF-8; rename it"),
}
INDEXED = {
    "one_line.md": b"word " * 400_000,
    "braces.js": b"f(\n" + b"{a:\n" * 50_000 + b"1\n" + b"}\n" * 50_000 + b");\n",
    "feeds.py": (
        b"\fdef f():\n    return '\xe2\x80\xa8\xc2\x85\x0b'\n\f\ndef g():\r\n    return 2\n"
    ),
    "short_mac.py": b"def f():\r    return 1\r",
    "old_mac.py": b"def old():\r    return 1\r" * 500,
    "odd\x1b[31m\n.py": b"x = 1\n",
}


@pytest.fixture
def hostile(repo: Path) -> Path:
    """The usual repository with many odd files beside its one module."""
    for name, text in {**INDEXED, **{name: text for name, (text, _) in SKIPPED.items()}}.items():
        (repo / name).write_bytes(text)
    with (repo / "huge.py").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    return repo


def test_every_file_of_a_hostile_repository_is_indexed_or_skipped_with_a_word(
    hostile: Path,
) -> None:
    report = engine.index(hostile, settings_of(hostile))
    skipped = dict(report.skipped)
    assert skipped.keys() == {*SKIPPED, "huge.py"}
    for name, (_, reason) in SKIPPED.items():
        assert reason in skipped[name]
    assert "more than" in skipped["huge.py"]
    assert report.files == len(INDEXED) + 1


def test_a_reason_can_be_printed_whatever_the_name(hostile: Path) -> None:
    report = engine.index(hostile, settings_of(hostile))
    for _, reason in report.skipped:
        assert reason.encode().decode().isprintable()
    assert any(r"caf\xe9.py" in reason for _, reason in report.skipped)


def test_every_span_of_a_hostile_repository_is_planned(hostile: Path) -> None:
    settings = settings_of(hostile)
    report = engine.index(hostile, settings)
    planned = list(engine.plan(hostile, settings))
    assert len(planned) == report.spans > len(INDEXED)
    assert {span.path for span, _, _ in planned} == {*INDEXED, "small.py"}
    for _, tier, prompt in planned:
        assert tier in ("7b", "14b", "nano")
        prompt.encode()


def test_only_newlines_count_as_lines(tmp_path: Path) -> None:
    spans = parsed(tmp_path, "feeds.py", INDEXED["feeds.py"]).spans
    assert [(span.symbol, span.start_line, span.end_line) for span in spans] == [
        ("f", 1, 2),
        ("g", 4, 5),
    ]


# Names


def test_a_name_that_is_not_utf8_is_listed_with_its_bytes(repo: Path) -> None:
    (repo / LATIN).write_text("x = 1\n")
    assert find_source_files(repo) == [LATIN, "small.py"]


def test_a_name_that_is_not_utf8_can_be_excluded(repo: Path) -> None:
    (repo / LATIN).write_text("x = 1\n")
    assert find_source_files(repo, "caf*") == ["small.py"]
    (repo / ".gitignore").write_text("caf*\n")
    assert find_source_files(repo) == ["small.py"]
    assert Ignored(repo).find_matching([LATIN, "small.py"]) == {LATIN}


# What is no plain file


@pytest.fixture
def traps(repo: Path) -> Iterator[Path]:
    """A repository whose tracked files have become links, pipes, sockets and a loop."""
    secret = repo.parent / "secret"
    secret.mkdir()
    (secret / "key.py").write_text("KEY = 'secret'\n")
    names = ["link.py", "pipe.py", "socket.py", "zero.py", "script", "out/key.py", "loop/a.py"]
    for name in names:
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text("x = 1\n")
    git(repo, "add", "--all")
    for name in names:
        (repo / name).unlink()
    (repo / "link.py").symlink_to(secret / "key.py")
    (repo / "zero.py").symlink_to("/dev/zero")
    os.mkfifo(repo / "pipe.py")
    os.mkfifo(repo / "script")
    for folder, target in (("out", secret), ("loop", repo / "loop")):
        (repo / folder).rmdir()
        (repo / folder).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(repo)  # an address may only have a hundred characters
        listener.bind("socket.py")
        os.chdir(here)
        yield repo


def test_what_is_no_plain_file_of_the_repository_is_not_listed(traps: Path) -> None:
    assert find_source_files(traps) == ["small.py"]


def test_what_is_no_plain_file_of_the_repository_is_not_indexed(traps: Path) -> None:
    report = engine.index(traps, settings_of(traps))
    assert (report.files, report.skipped) == (1, ())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("link.py", "symbolic link"),
        ("zero.py", "symbolic link"),
        ("out/key.py", "symbolic link"),
        ("loop/a.py", "symbolic link|cannot be read"),
        ("pipe.py", "not a regular file"),
        ("socket.py", "cannot be read"),
    ],
)
def test_what_is_no_plain_file_is_refused_by_name(traps: Path, name: str, reason: str) -> None:
    with pytest.raises(IndexingError, match=reason):
        parse_file(traps, name)


# .ragignore


def test_a_ragignore_may_link_to_another_file_of_the_repository(repo: Path) -> None:
    (repo / "ignored").write_text("small.py\n")
    (repo / ".ragignore").symlink_to("ignored")
    assert find_source_files(repo) == []


@pytest.mark.parametrize("target", ["/dev/zero", "../outside", ".ragignore", "pipe"])
def test_a_ragignore_that_is_no_file_of_the_repository_is_a_config_error(
    repo: Path, target: str
) -> None:
    (repo.parent / "outside").write_text("small.py\n")
    os.mkfifo(repo / "pipe")
    (repo / ".ragignore").symlink_to(target)
    with pytest.raises(ConfigError, match=r"\.ragignore"):
        find_source_files(repo)


def test_a_ragignore_that_is_a_pipe_is_a_config_error(repo: Path) -> None:
    os.mkfifo(repo / ".ragignore")
    with pytest.raises(ConfigError, match="no regular file"):
        find_source_files(repo)


def test_a_ragignore_of_megabytes_is_a_config_error(repo: Path) -> None:
    (repo / ".ragignore").write_text("a\n" * 600_000)
    with pytest.raises(ConfigError, match="more than 1048576 bytes"):
        find_source_files(repo)


@pytest.mark.parametrize("pattern", ["a*a*a*a*a*a*a*a*b", "**/a/**/a/**/a/**/b", "x/*y*z*.*"])
def test_a_pattern_that_takes_for_ever_is_a_config_error(repo: Path, pattern: str) -> None:
    (repo / ("a" * 200 + ".py")).write_text("x = 1\n")
    (repo / ".ragignore").write_text(f"# **** a title ****\n{pattern}\n")
    with pytest.raises(ConfigError, match=r"more \* than can be matched in time"):
        find_source_files(repo)


@pytest.mark.parametrize("pattern", ["**/small*", "*s*a*.py", "/**/*.p*", "*/\n*mall*"])
def test_a_pattern_as_people_write_it_is_matched(repo: Path, pattern: str) -> None:
    (repo / ".ragignore").write_text(f"# **** a title ****\n{pattern}\n")
    assert find_source_files(repo) == []


# Sizes that grow with the square

SIZE = 30_000
DEEP: Mapping[str, tuple[str, str]] = {
    "classes": ("a.java", "class A {\n" * SIZE + "}\n" * SIZE),
    "structs with damage": ("a.cpp", "struct a {\n" * SIZE + "int x y z;\n" + "};\n" * SIZE),
    "class expressions": ("a.js", "class A {\n" + "x = class {\n" * SIZE + "}\n" * SIZE + "}\n"),
}


@pytest.mark.parametrize(("name", "text"), DEEP.values(), ids=DEEP.keys())
def test_types_inside_types_are_spans_down_to_a_depth(tmp_path: Path, name: str, text: str) -> None:
    spans = parsed(tmp_path, name, text).spans
    assert MAX_DEPTH <= len(spans) <= MAX_DEPTH + 1
    assert spans[0].byte_end - spans[0].byte_start > len(text) - 10


WIDE: Mapping[str, tuple[str, str, int]] = {
    "functions in one declaration": (
        "a.js",
        "const a = 1" + "".join(f",\na{n} = () => {n}" for n in range(SIZE)) + ";\n",
        SIZE,
    ),
    "types in one declaration": (
        "a.go",
        "package a\ntype (\n" + "".join(f"A{n} struct {{\n}}\n" for n in range(SIZE)) + ")\n",
        SIZE,
    ),
    "comments above": ("a.go", "package a\n" + "//\n" * 300_000 + "func f() {\n}\n", 1),
    "stars in a comment": (
        "a.js",
        "/* " + "*" * 500_000 + " x */\nfunction f() {\n}\n" + "g();\n" * 6000,
        1,
    ),
    "brackets in a heading": ("a.md", "# " + "[" * 1_000_000 + "\n\ntext\n", 1),
    "links in a heading": ("a.md", "# " + "[a](" * 400_000 + "\n\ntext\n", 1),
    "headings under a long one": (
        "a.md",
        "# " + "x" * 500_000 + "\n" + "## y\n\ntext\n" * 20_000,
        20_000,
    ),
}


@pytest.mark.parametrize(("name", "text", "count"), WIDE.values(), ids=WIDE.keys())
def test_a_file_of_very_many_things_is_cut(
    tmp_path: Path, name: str, text: str, count: int
) -> None:
    spans = parsed(tmp_path, name, text).spans
    assert len(spans) == count
    assert max(len(span.symbol) for span in spans) <= MAX_SYMBOL_CHARS


def hint(folder: Path, comment: str) -> str | None:
    [span] = parsed(folder, "a.js", f"{comment}\nfunction f() {{\n}}\n").spans
    return span.doc_hint


@pytest.mark.parametrize(
    ("comment", "found"),
    [
        ("/* Adds. */", "Adds."),
        ("/** Adds. **/", "Adds."),
        ("/*****\n * Adds.   */", "Adds."),
        ("/* a*b*/", "a*b"),
        ("// Adds. */", "Adds."),
        ("//\n// -----\n// Adds.\n// More.", "Adds."),
        ("/***/", None),
        ("/*\n*/", None),
    ],
)
def test_the_marks_around_a_comment_are_left_out(
    tmp_path: Path, comment: str, found: str | None
) -> None:
    assert hint(tmp_path, comment) == found


@pytest.mark.skipif(os.environ.get("LLMC_CHAOS") != "1", reason="takes more than 1 GiB")
def test_a_file_whose_parse_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match="MiB to parse as cpp"):
        parsed(tmp_path, "a.cpp", "a<\n" * 600_000)


# Damage, plainly counted


def plainly_sound(node: Node, tolerance: float) -> bool:
    """Say what `is_sound` says, looking at all damage below a node each time."""
    if not node.has_error:
        return True
    allowed = tolerance * (node.end_byte - node.start_byte)
    stack = [node]
    while stack and allowed > 0:
        damaged = stack.pop()
        if damaged.is_error or damaged.is_missing:
            text = damaged.text or b""
            if b"{" in text or b"}" in text or damaged.type == "}":
                return False
            allowed -= len(text)
        elif damaged.has_error:
            stack += damaged.children
    return allowed > 0


CPP = languages.LANGUAGES["cpp"]
PARSER = Parser(Grammar(languages.load_grammar(CPP)))
BROKEN = st.lists(
    st.sampled_from(
        [
            "struct a {\n",
            "};\n",
            "int f(int x) {\n",
            "}\n",
            "return x;\n",
            "int y z;\n",
            "MACRO(a)\n",
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(BROKEN)
def test_damage_is_counted_once_and_as_if_for_each_node_anew(text: str) -> None:
    known: dict[int, float] = {}
    stack = [PARSER.parse(text.encode()).root_node]
    while stack:
        node = stack.pop()
        assert is_sound(node, CPP, known) == plainly_sound(node, CPP.tolerance)
        stack += node.children


def test_spans_of_a_damaged_file_are_those_that_are_sound(tmp_path: Path) -> None:
    text = (
        "struct a {\nint x;\nint f() { return 1; }\n" + "int y z;\n" + "};\nint g() { return 2; }\n"
    )
    spans: tuple[ParsedSpan, ...] = parsed(tmp_path, "a.cpp", text).spans
    assert [span.symbol for span in spans] == ["a", "a.f", "g"]
