"""Which files are source, in which language, and that each grammar knows the kinds we name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tree_sitter

from llmc.errors import IndexingError
from llmc.languages import LANGUAGES, Language, find_language, load_grammar

NAMES = {
    "a.py": "python",
    "a.pyi": "python",
    "a.js": "javascript",
    "a.jsx": "javascript",
    "a.mjs": "javascript",
    "a.cjs": "javascript",
    "a.ts": "typescript",
    "a.tsx": "tsx",
    "a.go": "go",
    "a.rs": "rust",
    "A.java": "java",
    "a.c": "c",
    "a.h": "c",
    "a.cpp": "cpp",
    "a.hpp": "cpp",
    "a.C": "cpp",
    "a.sh": "bash",
    "a.md": "markdown",
    "README.MD": "markdown",
    "deep/er/SConstruct": "python",
    ".bashrc": "bash",
}

SHEBANGS = {
    b"#!/bin/sh\n": "bash",
    b"#!/usr/bin/env bash\n": "bash",
    b"#! /usr/bin/env -S FOO=1 python3.11 -u\n": "python",
    b"#!/usr/local/bin/node\n": "javascript",
}


def name_of(path: str, content: bytes = b"") -> str | None:
    language = find_language(path, content)
    return language.name if language else None


@pytest.mark.parametrize(("path", "language"), NAMES.items())
def test_the_name_decides_the_language(path: str, language: str) -> None:
    assert name_of(path) == language


@pytest.mark.parametrize(("line", "language"), SHEBANGS.items())
def test_a_script_without_a_suffix_is_known_by_its_first_line(line: bytes, language: str) -> None:
    assert name_of("bin/run", line) == language


@pytest.mark.parametrize("path", ["a.png", "a.json", "Makefile", "LICENSE", "py", ".gitignore"])
def test_other_files_are_no_source(path: str) -> None:
    assert name_of(path) is None


def test_a_shebang_of_another_interpreter_is_no_source() -> None:
    assert name_of("run", b"#!/usr/bin/env ruby\n") is None


def test_a_suffix_beats_the_shebang() -> None:
    assert name_of("run.py", b"#!/bin/sh\n") == "python"


@pytest.mark.parametrize("text", [b"class A;\n", b"namespace x {\n", b"  template <class T>\n"])
def test_a_header_with_cpp_in_it_is_cpp(text: bytes) -> None:
    assert name_of("a.h", b"#pragma once\n" + text) == "cpp"


def test_a_header_that_speaks_of_classes_in_a_comment_is_c() -> None:
    assert name_of("a.h", b"/* the class of a thing */\nint f(void);\n") == "c"


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES.keys())
def test_every_kind_in_the_table_exists_in_the_grammar(language: Language) -> None:
    known = tree_sitter.Language(load_grammar(language))
    kinds = {
        *language.spans,
        *language.typed,
        *language.scopes,
        *language.wrappers,
        *language.prefixes,
        *language.bindings,
        *language.values,
        *(set() if language.document else language.comments),
    }
    assert {kind for kind in kinds if known.id_for_node_kind(kind, True) is None} == set()


def test_a_grammar_that_is_not_installed_is_named_with_its_wheel() -> None:
    absent = replace(LANGUAGES["go"], package="tree_sitter_no_such_thing")
    with pytest.raises(IndexingError, match="pip install tree-sitter-no-such-thing"):
        load_grammar(absent)
