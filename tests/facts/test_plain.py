"""Which spans are plain: all that they do is said by saying what stands there."""

from __future__ import annotations

import pytest

from llmc.facts.plain import MAX_DOC, find_plain
from llmc.facts.values import Facts, Returned
from llmc.languages import find_language
from tests.facts.proving import prove_all

PLAIN = [
    ("a.cpp", "struct A { operator T() const { return x_; } };\n", "getter", ["give x_"]),
    ("a.py", "def f(self):\n    return self._name\n", "getter", ["give self._name"]),
    (
        "a.py",
        "@property\ndef f(self):\n    'Doc.'\n    return self.a.b\n",
        "getter",
        ["give self.a.b"],
    ),
    ("a.py", "class A:\n    def f(self):\n        return -42\n", "constant", ["give -42"]),
    ("a.py", "def f():\n    return None\n", "constant", ["give None"]),
    ("a.py", "def f(self, x):\n    self.x = x\n", "setter", ["set self.x x"]),
    (
        "a.py",
        "def __init__(self, x):\n    super().__init__(x)\n    self.x = x\n    self.y = []\n",
        "constructor",
        ["call super().__init__(x)", "set self.x x", "set self.y []"],
    ),
    (
        "a.py",
        "def f(a, *b, **c):\n    return g(a, *b, **c)\n",
        "delegation",
        ["give a call g(a, *b, **c)"],
    ),
    (
        "a.py",
        "def f(a):\n    log.note(\n        a,\n        1,\n    )\n",
        "delegation",
        ["call log.note( a, 1, )"],
    ),
    ("a.py", "def f(a):\n    ...\n", "stub", []),
    ("a.py", "class E(ValueError):\n    'Doc.'\n", "stub", []),
    (
        "a.py",
        "def f(a):\n    raise NotImplementedError('later')\n",
        "failure",
        ["fail raise NotImplementedError('later')"],
    ),
    ("a.js", "const f = (a) => a.b;\n", "getter", ["give a.b"]),
    ("a.js", "class A { set x(v) { this._x = v; } }\n", "setter", ["set this._x v"]),
    (
        "a.js",
        "const f = { g: function (a) { return h(a, ...b) } }\n",
        "delegation",
        ["give a call h(a, ...b)"],
    ),
    (
        "a.js",
        "class A { f() { throw new Error('no'); } }\n",
        "failure",
        ["fail throw new Error('no')"],
    ),
    (
        "a.ts",
        "class A { private get x(): string { return this._x!; } }\n",
        "getter",
        ["give this._x!"],
    ),
    (
        "a.go",
        "package a\n\nfunc (s *S) Name() string { return s.name }\n",
        "getter",
        ["give s.name"],
    ),
    ("a.go", "package a\n\nfunc New(a int) *S { return &S{a: a} }\n", "getter", ["give &S{a: a}"]),
    (
        "a.go",
        "package a\n\nfunc F() (int, error) {\n\treturn g(1)\n}\n",
        "delegation",
        ["give a call g(1)"],
    ),
    ("a.go", 'package a\n\nfunc F() { panic("no") }\n', "failure", ['fail panic("no")']),
    ("a.rs", "#[inline]\nfn f(&self) -> &str { &self.name }\n", "getter", ["give &self.name"]),
    ("a.rs", "fn f(&self) { self.go() }\n", "delegation", ["call self.go()"]),
    ("a.rs", "fn f() -> u8 { todo!() }\n", "failure", ["fail todo!()"]),
    ("a.rs", "fn f(a: u8) -> R { Ok(a) }\n", "getter", ["give Ok(a)"]),
    (
        "A.java",
        "class A { @Override public int get() { return this.x; } }\n",
        "getter",
        ["give this.x"],
    ),
    (
        "A.java",
        "class A { A(int a) { super(a); this.b = a; } }\n",
        "constructor",
        ["call super(a)", "set this.b a"],
    ),
    ("a.c", "int f(struct s *p) { return p->x; }\n", "getter", ["give p->x"]),
    ("a.c", "void f(void) { }\n", "stub", []),
    ("a.cpp", "struct A { explicit A(int x) : x_(x) {} };\n", "constructor", ["initialize x_ x"]),
    ("a.sh", 'f() { g "$@" --x; }\n', "delegation", ['call g "$@" --x']),
]

NOT_PLAIN = [
    ("a.py", "def f():\n    return 42\n"),
    ("a.py", "def f(a):\n    return a\n"),
    ("a.go", "package p\n\nfunc f() int {\n\treturn 42\n}\n"),
    ("a.py", "def f(a):\n    return a + 1\n"),
    ("a.py", "def f(a):\n    return a[0]\n"),
    ("a.py", "def f(a):\n    return g(h(a))\n"),
    ("a.py", "def f(a):\n    return f'{a}'\n"),
    ("a.py", "def f(a):\n    x = a\n"),
    ("a.py", "def f(a):\n    a.x += 1\n"),
    ("a.py", "def f(a):\n    g(a)\n    return a\n"),
    ("a.py", "def f(a):\n    if a:\n        return a\n"),
    ("a.py", "def f(a, b=g()):\n    return a\n"),
    ("a.py", "async def f(a):\n    return a\n"),
    ("a.py", "def f(a):\n    yield a\n"),
    ("a.py", "@app.route('/x')\ndef f(a):\n    return a\n"),
    ("a.py", "@cache\ndef f(a):\n    return a\n"),
    ("a.py", "def f(a):\n    # why\n    return g('/some/path', a)\n"),
    ("a.py", "def f(a):\n    return 'one\\\n two'\n"),
    ("a.py", "class A:\n    x = 1\n"),
    ("a.py", f"def f(self):\n    '''{'Long. ' * MAX_DOC}'''\n    return self.x\n"),
    ("a.py", f"def f(self):\n    # {'Long. ' * MAX_DOC}\n    return self.x\n"),
    ("a.js", "function* f(a) { return a }\n"),
    ("a.js", "const f = async (a) => a;\n"),
    ("a.js", "const f = (a = g()) => a;\n"),
    ("a.js", "const f = ({ a = g() }) => a;\n"),
    ("a.js", "function f(a) { return `${a}` }\n"),
    ("a.js", "function f(a) { return `a` }\n"),
    ("a.js", "function f(a) { return () => a }\n"),
    ("a.ts", "class A { constructor(private x: number) {} }\n"),
    ("a.rs", "fn f(&self) -> R { self.r()? }\n"),
    ("a.rs", "fn f(&self) -> u8 { vec![1] }\n"),
    ("a.rs", "#[test]\nfn f() { run(); }\n"),
    ("A.java", "class A { int f() { return x++; } }\n"),
    ("A.java", "class A { R f() { return new R() { }; } }\n"),
    ("a.c", "int f(int a) { return (int)g(a); }\n"),
    ("a.ts", "function f(): void { return x_; }\n"),
    ("a.sh", 'f() { rm "$(g)"; }\n'),
    ("a.sh", "f() { echo x > y; }\n"),
    ("a.sh", "f() { run & }\n"),
    ("a.sh", "f() { return; }\n"),
    ("a.c", "void f(int a) { RETURN_IF(a); }\n"),
    ("a.c", "int f(int a) { return CHECKED(a); }\n"),
    ("a.go", "package a\n\nfunc F() (n int) { n = 1; return }\n"),
    ("a.go", "package a\n\nfunc F() (n int) { return }\n"),
    ("a.js", "class A { @cached f() { return this.x; } }\n"),
]


def look(name, source):
    """Return what the innermost span of a file comes to."""
    language = find_language(name)
    found = prove_all(name, source)
    symbol = max(found, key=len)
    facts = found[symbol]
    code = source.strip()
    if language.name == "go":
        code = source.partition("\n\n")[2].strip()
    elif source.startswith("class A:\n"):
        code = source.partition("\n")[2].strip()
    elif "." in symbol or "g: function" in source:
        code = source[source.index("{") + 1 : source.rindex("}")].strip()
    return find_plain(code, language.name, facts)


@pytest.mark.parametrize(("name", "source", "rule", "steps"), PLAIN)
def test_a_plain_body_is_read_step_by_step(name, source, rule, steps):
    plain = look(name, source)
    assert plain is not None
    told = [" ".join(filter(None, (s.what, s.target, s.text))) for s in plain.steps]
    assert (plain.rule, told) == (rule, steps)


@pytest.mark.parametrize(("name", "source"), NOT_PLAIN)
def test_a_body_with_anything_else_takes_a_reader(name, source):
    assert look(name, source) is None


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("c", f"void f(void) {{{'{' * 2000}{'}' * 2000}}}"),
        ("python", f"def f():\n    return [{'(' * 2000}1{')' * 2000}]"),
        ("python", f"def f():\n    return {'-' * 2000}1"),
        ("javascript", f"const f = (a) => a{'.b' * 2000};"),
        ("python", f"def f(self):\n    return [{'1, ' * 100_000}]"),
    ],
)
def test_code_that_nests_or_goes_on_without_end_takes_a_reader(language, code):
    facts = Facts("function", (), returns=Returned("value"))
    assert find_plain(code, language, facts) is None


def test_damaged_code_takes_a_reader():
    [facts] = prove_all("a.py", "def f(self):\n    return self.x\n").values()
    assert find_plain("def f(self:\n    return self.x", "python", facts) is None


def test_the_lines_are_those_of_the_steps():
    source = "def f(\n    self,\n    x,\n):\n    'Doc.'\n\n    self.x = x\n    self.y = 1\n"
    [facts] = prove_all("a.py", source).values()
    plain = find_plain(source.strip(), "python", facts)
    assert plain is not None
    assert plain.body == (6, 7)
