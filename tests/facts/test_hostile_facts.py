"""Sources and indexes that mean harm: facts stay bounded, and what can't be facts is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.facts.codec import MAX_CHARS, VERSION, decode_facts, encode_facts
from llmc.facts.values import Call, Facts, Parameter, Raise, Returned, Touch
from tests.facts.proving import prove_all

NESTED = 1_500
BIG = {
    "parameters": ("a.py", "def f({}): pass".format(",\n".join(f"a{n}" for n in range(100_000)))),
    "calls": ("a.py", "def f():\n" + "  g(1)\n" * 100_000),
    "raises": ("a.py", "def f():\n" + "  raise E\n" * 50_000),
    "writes": ("a.js", "function f() {\n" + "a.b = 1;\n" * 100_000 + "}"),
    "branches": (
        "a.py",
        "def f(a):\n  if a: pass\n" + "  elif a == 1:\n    raise E\n" * 20_000,
    ),
    "calls in calls": ("a.js", "function f() {\n" + "g(\n" * NESTED + ")\n" * NESTED + "}"),
    "branches in branches": (
        "a.js",
        "function f() {\n" + "if (a) {\n" * NESTED + "throw new E();\n" + "}\n" * NESTED + "}",
    ),
    "functions in functions": (
        "a.js",
        "function f() {\n" + "g(() => {\n" * NESTED + "throw 1\n" + "})\n" * NESTED + "}",
    ),
    "patterns": ("a.py", "def f():\n  (" + ",\n".join(["x"] * 50_000) + ") = y"),
}


@pytest.mark.parametrize(("name", "source"), BIG.values(), ids=BIG)
def test_facts_of_a_huge_source_are_small(name, source):
    for facts in prove_all(name, source).values():
        assert len(encode_facts(facts)) < MAX_CHARS


def test_what_is_too_deep_to_judge_is_not_told():
    name, source = BIG["branches in branches"]
    facts = prove_all(name, source)["f"]
    assert facts.raises == ()
    assert not facts.sound


TEXT = st.text(max_size=5)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
FACTS = st.builds(
    Facts,
    kind=TEXT,
    parameters=st.none()
    | st.lists(
        st.builds(Parameter, name=TEXT, kind=st.just("rest"), default=st.none() | TEXT, names=NAMES)
    ).map(tuple),
    returns=st.builds(
        Returned,
        what=st.sampled_from(["value", "unknown"]),
        valued=st.lists(st.integers(0, 9)).map(tuple),
    ),
    raises=st.lists(
        st.builds(Raise, line=st.integers(0, 9), error=st.none() | TEXT, how=st.just("panics"))
    ).map(tuple),
    calls=st.lists(
        st.builds(Call, name=TEXT, line=st.integers(0, 9), keywords=NAMES, open=st.booleans())
    ).map(tuple),
    touches=st.lists(st.builds(Touch, resource=TEXT, name=TEXT, line=st.integers(0, 9))).map(tuple),
    doc=st.none() | TEXT,
    sound=st.booleans(),
)


@given(facts=FACTS)
def test_facts_come_back_as_they_were_written(facts):
    assert decode_facts(encode_facts(facts)) == facts


def spelled(kind="function", **entries):
    """Return the text of facts with these fields, which may be none."""
    pairs = [(Facts._fields.index(name), found) for name, found in entries.items()]
    return json.dumps([VERSION, kind, *(part for pair in pairs for part in pair)])


def test_spelled_facts_are_read():
    assert decode_facts(spelled(result="int")) == Facts("function", result="int")


NONE = {
    "nothing": "",
    "no JSON": "{",
    "another version": json.dumps([VERSION + 1, "function"]),
    "an unknown field": json.dumps([VERSION, "function", len(Facts._fields), 1]),
    "a field without a value": json.dumps([VERSION, "function", 1]),
    "a field twice": json.dumps([VERSION, "function", 2, "int", 2, "str"]),
    "true for a field": json.dumps([VERSION, "function", True, []]),
    "too much of an entry": spelled(calls=[["f", 0, 0, [], False, 1]]),
    "no list": spelled(raises=1),
    "a number for a text": spelled(result=1),
    "a text for a number": spelled(returns=["value", ["1"]]),
    "true for a number": spelled(returns=["value", [True], [], []]),
    "an unknown word": spelled(returns=["everything", [], [], []]),
    "an entry that lacks its name": spelled(calls=[[1]]),
    "null": spelled(kind=None),
    "deep": f"[{VERSION}, {'[' * 100_000}",
    "huge": spelled(doc="x" * MAX_CHARS),
}


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
def test_what_can_not_be_facts_is_none(text):
    assert decode_facts(text) is None


def test_of_many_calls_the_first_are_kept():
    calls = "\n".join(f"    f{n}()" for n in range(400))
    facts = prove_all("a.py", f"def f():\n{calls}\n")["f"]
    assert [call.name for call in facts.calls] == [f"f{n}" for n in range(50)]
    assert facts.more == ("calls",)
