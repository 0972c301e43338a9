"""What a file is cut into, and what is refused and why, against real files in every language."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc.errors import IndexingError
from llmc.indexer.parsing import parse_file
from llmc.indexer.tree import MAX_FILE_BYTES
from llmc.store.parsed import ParsedFile

Row = tuple[str, str, int, int]


def parse(folder: Path, name: str, text: str | bytes) -> ParsedFile:
    """Write one file and parse it; a text is dedented, bytes are taken as they are."""
    content = text if isinstance(text, bytes) else dedent(text).lstrip("\n").encode()
    (folder / name).write_bytes(content)
    return parse_file(folder, name)


def rows(parsed: ParsedFile) -> list[Row]:
    return [(span.kind, span.symbol, span.start_line, span.end_line) for span in parsed.spans]


def hints(parsed: ParsedFile) -> dict[str, str | None]:
    return {span.symbol: span.doc_hint for span in parsed.spans}


PYTHON = """
    import os

    # Above.
    def plain(a,
              b):
        def inner():
            pass
        return inner

    @decorated(1)
    @twice
    class Box(Base):
        '''Hold things.

        More.
        '''

        size = 1

        @property
        async def width(self):
            return 1

        class Lid:
            def open(self): pass

        if os.name:
            def close(self): pass

    try:
        import x
    except ImportError:
        def fallback():
            pass
    """
PYTHON_ROWS = [
    ("function", "plain", 4, 8),
    ("class", "Box", 10, 28),
    ("method", "Box.width", 20, 22),
    ("class", "Box.Lid", 24, 25),
    ("method", "Box.Lid.open", 25, 25),
    ("method", "Box.close", 28, 28),
    ("function", "fallback", 33, 34),
]

JAVASCRIPT = """
    function plain() {}
    export async function* shown() {}
    export const arrow = async (x) => {
      return x;
    };
    let one = () => 1, two = function () {};
    class Box extends Base {
      static make = () => new Box();
      #secret() {}
      get size() { return 1; }
    }
    const api = {
      get() {},
      put: () => 2,
      deep: { call() {} },
    };
    module.exports.run = function () {};
    Box.prototype.late = function () {};
    const Memo = React.memo(() => {
      return null;
    });
    const values = list.map(x => x + 1);
    (function () {
      function hidden() {}
    })();
    export default class {
      m() {}
    }
    """
JAVASCRIPT_ROWS = [
    ("function", "plain", 1, 1),
    ("function", "shown", 2, 2),
    ("function", "arrow", 3, 5),
    ("function", "one", 6, 6),
    ("function", "two", 6, 6),
    ("class", "Box", 7, 11),
    ("method", "Box.make", 8, 8),
    ("method", "Box.#secret", 9, 9),
    ("method", "Box.size", 10, 10),
    ("method", "api.get", 13, 13),
    ("method", "api.put", 14, 14),
    ("method", "api.deep.call", 15, 15),
    ("function", "exports.run", 17, 17),
    ("function", "Box.late", 18, 18),
    ("function", "Memo", 19, 21),
    ("function", "hidden", 24, 24),
    ("class", "default", 26, 28),
    ("method", "default.m", 27, 27),
]

TYPESCRIPT = """
    @Component({ a: 1 })
    export class Box<T> extends Base implements Thing {
      constructor(private a: string) { super(); }
      @Input()
      width(): number { return 1; }
      abstract height(): number;
      handler = (e: Event): void => {};
    }
    interface Shape {
      area(): number;
    }
    export enum Colour { Red }
    type Short = string;
    export type Long = {
      a: string;
    };
    namespace Deep.Er {
      export function inside() {}
    }
    function over(a: string): void;
    function over(a: unknown) {}
    export abstract class Half { abstract m(): void; }
    """
TYPESCRIPT_ROWS = [
    ("class", "Box", 1, 8),
    ("method", "Box.constructor", 3, 3),
    ("method", "Box.width", 4, 5),
    ("method", "Box.handler", 7, 7),
    ("interface", "Shape", 9, 11),
    ("enum", "Colour", 12, 12),
    ("type", "Long", 14, 16),
    ("function", "Deep.Er.inside", 18, 18),
    ("function", "over", 21, 21),
    ("class", "Half", 22, 22),
]

TSX = """
    export const View = ({ a }: Props) => {
      return <div onClick={() => a()}>{a}</div>;
    };
    """
TSX_ROWS = [("function", "View", 1, 3)]

GO = """
    package box

    type Box struct {
    \tsize int
    }

    type (
    \tShape interface {
    \t\tArea() int
    \t}
    \tShort = int
    )

    func New() *Box { return nil }

    func (b *Box) Size() int {
    \treturn b.size
    }

    func (l List[K, V]) Len() int { return 0 }
    """
GO_ROWS = [
    ("struct", "Box", 3, 5),
    ("interface", "Shape", 8, 10),
    ("function", "New", 14, 14),
    ("method", "Box.Size", 16, 18),
    ("method", "List.Len", 20, 20),
]

RUST = """
    use std::fmt;

    /// A box.
    #[derive(Debug)]
    pub struct Box<T> {
        size: T,
    }

    impl<T> Box<T> {
        /// Makes one.
        #[inline]
        pub fn new() -> Self { todo!() }
    }

    impl fmt::Display for Box<u8> {
        fn fmt(&self) {}
    }

    pub trait Shape {
        fn area(&self) -> u8;
        fn twice(&self) -> u8 { 2 }
    }

    enum Colour { Red }

    mod inner {
        pub async fn run() {}
    }

    macro_rules! many {
        () => {};
    }
    """
RUST_ROWS = [
    ("struct", "Box", 4, 7),
    ("impl", "impl Box<T>", 9, 13),
    ("method", "Box.new", 11, 12),
    ("impl", "impl fmt.Display for Box<u8>", 15, 17),
    ("method", "Box.fmt", 16, 16),
    ("trait", "Shape", 19, 22),
    ("method", "Shape.twice", 21, 21),
    ("enum", "Colour", 24, 24),
    ("function", "inner.run", 27, 27),
    ("macro", "many", 30, 32),
]

JAVA = """
    package box;

    /** A box. */
    @Thing
    public class Box<T> extends Base {
      int size;
      public Box() {}
      @Override
      public int size() { return 1; }
      abstract int none();
      interface Shape { void a(); default void b() {} }
      enum Colour { RED; void paint() {} }
      record Point(int x) { Point { } }
    }
    """
JAVA_ROWS = [
    ("class", "Box", 4, 14),
    ("method", "Box.Box", 7, 7),
    ("method", "Box.size", 8, 9),
    ("interface", "Box.Shape", 11, 11),
    ("method", "Box.Shape.b", 11, 11),
    ("enum", "Box.Colour", 12, 12),
    ("method", "Box.Colour.paint", 12, 12),
    ("class", "Box.Point", 13, 13),
    ("method", "Box.Point.Point", 13, 13),
]

C = """
    #include <a.h>
    struct ahead;
    struct box {
      int size;
    };
    typedef struct {
      int x;
    } point_t;
    typedef int number;
    int declared(void);
    static inline char *name(struct box *b) {
      return 0;
    }
    #define SHORT(x) (x)
    #define LONG(x) \\
      (x)
    #ifdef A
    int (only)(void) { return 1; }
    #endif
    """
C_ROWS = [
    ("struct", "box", 3, 5),
    ("struct", "point_t", 6, 8),
    ("function", "name", 11, 13),
    ("macro", "LONG", 15, 16),
    ("function", "only", 18, 18),
]

CPP = """
    namespace a::b {
    template <typename T>
    class EXPORT Box : Base {
     public:
      Box() {}
      ~Box() = default;
      int declared(int);
      operator bool() const { return true; }
      T operator+(const T& o) { return o; }
      struct Lid { int n; };
    };
    enum class Colour { Red };
    }
    template <typename T>
    int a::b::Box<T>::declared(int x) { return x; }
    extern "C" { int plain(void) { return 1; } }
    TEST(Suite, Case) {
    }
    """
CPP_ROWS = [
    ("class", "a.b.Box", 2, 11),
    ("method", "a.b.Box.Box", 5, 5),
    ("method", "a.b.Box.operator bool", 8, 8),
    ("method", "a.b.Box.operator+", 9, 9),
    ("struct", "a.b.Box.Lid", 10, 10),
    ("enum", "a.b.Colour", 12, 12),
    ("method", "a.b.Box.declared", 14, 15),
    ("function", "plain", 16, 16),
    ("function", "TEST(Suite, Case)", 17, 18),
]

BASH = """
    #!/usr/bin/env bash
    plain() {
      echo
    }
    function other {
      plain
    }
    if true; then
      function deep() ( : )
    fi
    """
BASH_ROWS = [("function", "plain", 2, 4), ("function", "other", 5, 7), ("function", "deep", 9, 9)]

MARKDOWN = """
    ---
    title: x
    ---
    Before.

    # Box #

    Own text.

    ```sh
    # no heading
    ```

    ## Empty

    ### The [`deep`](x.md) one
    Text.

    Other
    =====
    > # quoted

    ## Last
    x
    """
MARKDOWN_ROWS = [
    ("section", "a", 4, 4),
    ("section", "Box", 6, 12),
    ("section", "Box > Empty > The `deep` one", 16, 17),
    ("section", "Other", 19, 21),
    ("section", "Other > Last", 23, 24),
]

SOURCES = {
    "a.py": (PYTHON, PYTHON_ROWS),
    "a.js": (JAVASCRIPT, JAVASCRIPT_ROWS),
    "a.ts": (TYPESCRIPT, TYPESCRIPT_ROWS),
    "a.tsx": (TSX, TSX_ROWS),
    "a.go": (GO, GO_ROWS),
    "a.rs": (RUST, RUST_ROWS),
    "a.java": (JAVA, JAVA_ROWS),
    "a.c": (C, C_ROWS),
    "a.cpp": (CPP, CPP_ROWS),
    "a.sh": (BASH, BASH_ROWS),
    "a.md": (MARKDOWN, MARKDOWN_ROWS),
}
EACH = pytest.mark.parametrize("name", SOURCES)


@EACH
def test_each_language_is_cut_into_its_definitions(tmp_path: Path, name: str) -> None:
    source, expected = SOURCES[name]
    assert rows(parse(tmp_path, name, source)) == expected


def check_places(parsed: ParsedFile, source: bytes) -> None:
    """Check that bytes, lines, hash and order of every span fit the file."""
    starts = [span.byte_start for span in parsed.spans]
    assert starts == sorted(starts)
    for span in parsed.spans:
        text = source[span.byte_start : span.byte_end]
        assert text == text.strip() != b""
        assert text.decode()
        assert span.start_line == source[: span.byte_start].count(b"\n") + 1
        assert span.end_line == span.start_line + text.count(b"\n")
        digest = hashlib.sha256(parsed.lang.encode() + text).hexdigest()
        assert span.span_hash == f"sha256:{digest}"


@EACH
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_lines_bytes_and_hashes_agree(tmp_path: Path, name: str, ending: str, bom: bytes) -> None:
    source, expected = SOURCES[name]
    text = bom + dedent(source).lstrip("\n").rstrip("\n").replace("\n", ending).encode()
    parsed = parse(tmp_path, name, text)
    assert rows(parsed) == expected
    check_places(parsed, text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(SOURCES)))
def test_a_damaged_file_is_refused_or_cut_in_the_right_places(
    tmp_path: Path, data: st.DataObject, name: str
) -> None:
    source = dedent(SOURCES[name][0]).lstrip("\n")
    at = data.draw(st.integers(0, len(source)))
    to = data.draw(st.integers(at, min(len(source), at + 40)))
    text = (source[:at] + data.draw(st.text("(){}[]'\"\n #:;é", max_size=6)) + source[to:]).encode()
    with contextlib.suppress(IndexingError):
        check_places(parse(tmp_path, name, text), text)


def test_a_file_is_described_by_its_own_bytes(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    source = b"def f():\n    pass\n"
    (tmp_path / "pkg" / "a.py").write_bytes(source)
    os.utime(tmp_path / "pkg" / "a.py", (1_000_000, 1_000_000))
    parsed = parse_file(tmp_path, "pkg/a.py")
    assert (parsed.path, parsed.lang) == ("pkg/a.py", "python")
    assert (parsed.size, parsed.mtime) == (len(source), 1_000_000)
    assert parsed.file_hash == hashlib.sha256(source).hexdigest()


def test_equal_definitions_are_all_returned(tmp_path: Path) -> None:
    parsed = parse(tmp_path, "a.py", "def f(): pass\n\ndef f(): pass\n")
    assert len(parsed.spans) == 2
    assert len({span.span_hash for span in parsed.spans}) == 1


HINTS = {
    "a Python docstring": ("a.py", "# no\ndef f():\n  '''\n  Yes.\n  No.'''\n", "Yes."),
    "a comment above": ("a.py", "# Yes.\n# No.\n@decorated\ndef f(): pass\n", "Yes."),
    "a first comment in a class": ("a.py", "class f:\n  # no\n  x = 1\n", None),
    "a comment further up": ("a.py", "# no\n\ndef f(): pass\n", None),
    "a comment that trails": ("a.py", "x = 1  # no\ndef f(): pass\n", None),
    "a shebang and a remark": ("a.sh", "#!/bin/sh\n# Yes.\nf() { :; }\n", "Yes."),
    "a JSDoc block": ("a.js", "/**\n * Yes.\n */\nexport const f = () => 1;\n", "Yes."),
    "a Java block": ("A.java", "/** Yes. */\nclass f {}\n", "Yes."),
    "a Rust doc above attributes": ("a.rs", "/// Yes.\n/// No.\n#[x]\nfn f() {}\n", "Yes."),
    "a Rust doc below attributes": ("a.rs", "#[x]\n/// Yes.\nfn f() {}\n", "Yes."),
    "a C comment": ("a.c", "/* Yes. */\nstatic int f(void) { return 1; }\n", "Yes."),
    "a Go comment": ("a.go", "package a\n\n// Yes.\nfunc f() {}\n", "Yes."),
    "a Go comment in a group": ("a.go", "package a\ntype (\n// Yes.\nf struct{}\n)\n", "Yes."),
    "a pragma only": ("a.ts", "// eslint-disable-next-line\nfunction f() {}\n", None),
    "a line of dashes": ("a.py", "# ------\n# Yes.\ndef f(): pass\n", "Yes."),
}


@pytest.mark.parametrize(("name", "text", "hint"), HINTS.values(), ids=HINTS.keys())
def test_the_hint_is_the_first_line_of_what_is_said_about_it(
    tmp_path: Path, name: str, text: str, hint: str | None
) -> None:
    assert hints(parse(tmp_path, name, text.encode()))["f"] == hint


def test_a_hint_is_cut_to_200_characters(tmp_path: Path) -> None:
    parsed = parse(tmp_path, "a.py", f"# {'é' * 300}\ndef f(): pass\n")
    assert hints(parsed)["f"] == "é" * 200


def test_the_first_method_takes_the_comment_at_the_head_of_its_class(tmp_path: Path) -> None:
    parsed = parse(tmp_path, "a.py", b"class A:\n    # Yes.\n    def f(self): pass\n")
    assert hints(parsed)["A.f"] == "Yes."


def test_code_without_definitions_is_one_module(tmp_path: Path) -> None:
    parsed = parse(tmp_path, "settings.py", b"'''Say it.'''\nDEBUG = True\nLIST = [\n  1,\n]\n")
    assert rows(parsed) == [("module", "settings", 1, 5)]
    assert hints(parsed) == {"settings": "Say it."}


def test_a_header_of_prototypes_is_one_module(tmp_path: Path) -> None:
    text = (
        b"#ifndef A\n#define A\n" + b"int f(int);\n" * 40 + b"API_EXPORT int CALL g(int);\n#endif\n"
    )
    assert rows(parse(tmp_path, "a.h", text)) == [("module", "a", 1, 44)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", b""),
        ("a.py", b"\n\n"),
        ("a.py", b"\xef\xbb\xbf"),
        ("a.py", b"# only\n# remarks\n"),
        ("a.c", b"/* only */\n"),
        ("a.rs", b"// only\n"),
        ("a.sh", b"#!/bin/sh\n# only\n"),
        ("a.md", b""),
        ("a.md", b"# Heading only\n\n## And another\n"),
        ("a.md", b"---\ntitle: x\n---\n"),
    ],
)
def test_a_file_with_nothing_to_say_has_no_spans(tmp_path: Path, name: str, text: bytes) -> None:
    assert parse(tmp_path, name, text).spans == ()


BROKEN = {
    "python": ("a.py", b"def f(:\n    return (\n"),
    "a file of conflict marks": ("a.py", b"<<<<<<< ours\nx = 1\n=======\nx = 2\n>>>>>>> theirs\n"),
    "another language": ("a.ts", b'<?xml version="1.0"?>\n<TS version="2.1">\n</TS>\n'),
    "an unclosed function": ("a.c", b"int f(void) {\n  if (x) {\n    return 1;\n}\n"),
    "go": ("a.go", b"package a\nfunc f( {\n"),
}


@pytest.mark.parametrize(("name", "text"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_without_a_sound_span_is_refused(
    tmp_path: Path, name: str, text: bytes
) -> None:
    with pytest.raises(IndexingError, match=rf"'{name}': cannot be parsed as \w+: .* line \d"):
        parse(tmp_path, name, text)


def test_the_refusal_names_the_line_of_the_damage(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match=r"line 3$"):
        parse(tmp_path, "a.py", b"x = 1\ny = 2\nz = = 3\n")


def test_sound_definitions_survive_a_broken_one(tmp_path: Path) -> None:
    parsed = parse(
        tmp_path, "a.py", "def f():\n    pass\n\ndef g(:\n    pass\n\ndef h():\n    pass\n"
    )
    assert {span.symbol for span in parsed.spans} >= {"f", "h"}
    assert "g" not in {span.symbol for span in parsed.spans}


def test_a_class_survives_a_broken_method(tmp_path: Path) -> None:
    text = b"class A {\n  ok() {}\n  bad() { return (; }\n  fine() {}\n}\n"
    assert [row[:2] for row in rows(parse(tmp_path, "a.js", text))] == [
        ("class", "A"),
        ("method", "A.ok"),
        ("method", "A.fine"),
    ]


def test_a_c_function_with_an_unexpanded_macro_is_kept(tmp_path: Path) -> None:
    body = b"  total += step(total);\n" * 10
    text = b"local int f(int total) {\n  FOR_EACH(x, list) total++;\n" + body + b"}\n"
    assert rows(parse(tmp_path, "a.c", text)) == [("function", "f", 1, 13)]


def test_a_c_function_whose_end_is_in_doubt_is_left_out(tmp_path: Path) -> None:
    swallowed = b"int g(void) { return 2; }\nint h(void) { return 3; }\n"
    text = b"int f(void) {\n  if (x) {\n    y();\n\n" + swallowed
    parsed = parse(tmp_path, "a.c", text)
    assert [span.symbol for span in parsed.spans] == ["g", "h"]


REFUSED = {
    "binary": (b"x = 1\0\n", "is binary"),
    "Latin-1": (b"x = 1\ny = '\xe9'\n", "is not UTF-8 .*line 2"),
    "UTF-16 without a mark": ("x = 1".encode("utf-16-le"), "is binary"),
    "too large": (
        b"x = 1\n" * (MAX_FILE_BYTES // 6 + 1),
        rf"has \d+ bytes, more than {MAX_FILE_BYTES}",
    ),
    "minified": (b"x=1;" * 2000, "looks minified"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_file_not_written_by_hand_is_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    with pytest.raises(IndexingError, match=rf"^'a\.py': {reason}"):
        parse(tmp_path, "a.py", text)


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    text = b"# " + b"x" * 97 + b"\n"
    text = text * (MAX_FILE_BYTES // len(text))
    assert parse(tmp_path, "a.py", text + b"\n" * (MAX_FILE_BYTES - len(text))).spans == ()


def test_long_lines_are_fine_in_a_document(tmp_path: Path) -> None:
    assert rows(parse(tmp_path, "a.md", b"word " * 2000)) == [("section", "a", 1, 1)]


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match=r"'gone\.py': cannot be read: No such file"):
        parse_file(tmp_path, "gone.py")


def test_a_file_in_no_known_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match=r"'a\.png': is in no known language"):
        parse(tmp_path, "a.png", b"x")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    with pytest.raises(IndexingError, match="is not a regular file"):
        parse_file(tmp_path, "a.py")


@pytest.mark.parametrize("path", ["link.py", "folder/a.py", "../a.py", "sub/../../a.py"])
def test_nothing_outside_the_repository_is_read(tmp_path: Path, path: str) -> None:
    repo = tmp_path / "repo"
    (repo / "sub").mkdir(parents=True)
    (tmp_path / "a.py").write_text("def secret(): pass\n")
    (repo / "link.py").symlink_to(tmp_path / "a.py")
    (repo / "folder").symlink_to(tmp_path)
    with pytest.raises(IndexingError, match="symbolic link or outside the repository"):
        parse_file(repo, path)


def test_an_absolute_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(IndexingError, match="outside the repository"):
        parse_file(tmp_path, str(tmp_path / "a.py"))


def test_a_repository_behind_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.py").write_text("x = 1\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert rows(parse_file(tmp_path / "link", "a.py")) == [("module", "a", 1, 1)]


DEEP = {
    "parentheses": ("a.py", b"x = " + b"(\n" * 20_000 + b"1" + b")\n" * 20_000),
    "statements": ("a.js", b"if (a) {\n" * 20_000 + b"function f() {}\n" + b"}\n" * 20_000),
    "modules": ("a.rs", b"mod a {\n" * 5_000 + b"fn f() {}\n" + b"}\n" * 5_000),
    "pointers": ("a.c", b"int " + b"*\n" * 20_000 + b"f(void) {}\n"),
    "quotes": ("a.md", b">" * 5_000 + b" x\n"),
}


@pytest.mark.parametrize(("name", "text"), DEEP.values(), ids=DEEP.keys())
def test_deep_nesting_is_walked(tmp_path: Path, name: str, text: bytes) -> None:
    assert len(parse(tmp_path, name, text).spans) == 1
