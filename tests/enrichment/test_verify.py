"""Claims of an enrichment against facts and text: what is proven, what is refuted, what is left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.enrichment.grounds import Ground
from llmc.enrichment.prompts import EXAMPLE_SUMMARY
from llmc.enrichment.verify import judge_claim, verify
from llmc.models import Enrichment
from tests.facts.proving import prove_all

SOURCES = {
    "check": (
        "a.py",
        (
            "def check(n, *, limit=9):\n"
            '    """Check."""\n'
            "    if n < 0:\n"
            '        raise ValueError(f"negative: {n}")\n'
            "    total_sum = compute(n)\n"
            "    return total_sum\n"
        ),
    ),
    "save": (
        "a.py",
        (
            "def save(self, path):\n"
            "    with open(path) as f:\n"
            "        f.write(self.text)\n"
            "    self.saved = True\n"
        ),
    ),
    "plain": ("a.py", "def plain(a):\n    return a\n"),
    "loose": ("a.py", "def loose(a, *rest, **options):\n    return run(a, *rest, **options)\n"),
    "items": ("a.py", "def items(a):\n    for x in a:\n        yield x\n"),
    "wait": ("a.py", "async def wait(a):\n    return await a\n"),
    "wrapped": ("a.py", "@cached_by(9)\ndef wrapped(a):\n    run(a)\n"),
    "abstract": ("a.py", "def abstract(a):\n    raise NotImplementedError\n"),
    "fetch": (
        "a.py",
        "def fetch(url, tries=None, name=None):\n    return get(url, tries or 3, name)\n",
    ),
    "kept": ("a.py", "def kept(a):\n    pool.put(a)\n"),
    "start": ("a.ts", "async function start(): Promise<void> {\n  await run();\n}\n"),
    "load": (
        "a.ts",
        (
            "export function load(key: string, more?: number): void {\n"
            '  if (!key) { throw new RangeError("no key") }\n  store.set(key, more)\n}\n'
        ),
    ),
    "Shop.take": (
        "Shop.java",
        (
            "class Shop {\n"
            "  @Deprecated\n  void take(String itemName, int count) {\n"
            "    if (!isForSale(itemName)) {\n"
            '      throw new IllegalArgumentException("unknown: " + itemName);\n'
            "    }\n    stock.remove(itemName, count);\n  }\n"
            "  String read(String path) throws IOException {\n"
            '    if (path.isEmpty()) {\n      throw new IOException("no path");\n    }\n'
            "    return text(path);\n  }\n}\n"
        ),
    ),
    "Box.copy": (
        "Box.java",
        "class Box {\n  Box copy(int count) {\n    return new Box<>(count);\n  }\n}\n",
    ),
    "Open": (
        "a.go",
        (
            'package p\nfunc Open(name string) error {\n  if name == "" { return ErrEmpty }\n'
            "  return nil\n}\n"
        ),
    ),
}


SOURCES["Shop.read"] = SOURCES["Shop.take"]


def ground(name, **more):
    file, source = SOURCES[name]
    facts = prove_all(file, source)[name]
    language = {"py": "python", "ts": "typescript", "go": "go", "java": "java"}[
        file.partition(".")[2]
    ]
    return Ground(facts, source, name, language, source, **more)


def judge(name, field, claim, **more):
    verdict = judge_claim(field, claim, ground(name, **more))
    return verdict.ruling, verdict.kind


PROVEN = [
    ("fetch", "inputs", "tries: how often it is tried (default: 3)", "parameter"),
    ("check", "inputs", "n: the number to check", "parameter"),
    ("check", "inputs", "`limit` (int): the upper bound, 9 by default", "parameter"),
    ("check", "inputs", "limit: the bound, default 9", "parameter"),
    ("check", "pitfalls", "Raises ValueError if n is negative", "raises"),
    ("check", "pitfalls", "an Exception is raised for negative numbers", "raises"),
    ("check", "summary_120w", "Takes two arguments.", "arity"),
    ("check", "usage_snippet", "check(3, limit=4)", "arity"),
    ("save", "outputs", "None", "returns"),
    ("save", "summary_120w", "It does not return a value.", "returns"),
    ("save", "side_effects", "writes the text to a file", "effects"),
    ("items", "outputs", "yields each item", "returns"),
    ("wait", "summary_120w", "Waits asynchronously.", "async"),
    ("load", "inputs", "more: how many more", "parameter"),
    ("load", "pitfalls", "throws RangeError without a key", "raises"),
    ("load", "summary_120w", "Returns nothing.", "returns"),
]

REFUTED = [
    ("check", "inputs", "size: how many to check", "parameter"),
    ("check", "inputs", "total_sum: the sum so far", "parameter"),
    ("check", "inputs", "limit: the bound, defaults to 10", "default"),
    ("check", "pitfalls", "raises KeyError if n is negative", "raises"),
    ("check", "pitfalls", "never raises an error", "raises"),
    ("check", "pitfalls", "Does not raise ValueError for negative numbers", "raises"),
    ("plain", "pitfalls", "raises ValueError if a is not given", "raises"),
    ("plain", "pitfalls", "raises an exception for wrong input", "raises"),
    ("check", "outputs", "nothing", "returns"),
    ("check", "summary_120w", "Checks a number and returns nothing.", "returns"),
    ("save", "outputs", "number of characters written", "returns"),
    ("save", "summary_120w", "Returns the path that was saved.", "returns"),
    ("save", "summary_120w", "Yields lines one by one.", "returns"),
    ("save", "summary_120w", "It has no side effects.", "effects"),
    ("items", "outputs", "None", "returns"),
    ("check", "summary_120w", "It takes three arguments.", "arity"),
    ("check", "usage_snippet", "check(1, 2)", "arity"),
    ("check", "usage_snippet", "check(1, size=2)", "keyword"),
    ("load", "usage_snippet", 'load("a", 1, 2)', "arity"),
    ("plain", "summary_120w", "A coroutine must be awaited: plain is async.", "async"),
    ("wait", "summary_120w", "It runs synchronously.", "async"),
    ("check", "summary_120w", "Calls `validate_range` first.", "identifier"),
    ("check", "summary_120w", "Uses compute_all() for the sum.", "identifier"),
    (
        "check",
        "summary_120w",
        "Prüft die Zahl und gibt die Summe zurück, wenn sie nicht negativ ist.",
        "language",
    ),
    ("check", "summary_120w", "检查数字是否为负数", "language"),
    ("load", "outputs", "the value that was loaded", "returns"),
    ("load", "pitfalls", "throws TypeError without a key", "raises"),
    ("fetch", "inputs", "name: who asks (default is 'nobody')", "default"),
    ("check", "inputs", "limit: the bound, default 10", "default"),
    ("plain", "pitfalls", "ValueError: if a is negative", "raises"),
    ("plain", "pitfalls", "TypeError if a is no number", "raises"),
    ("plain", "pitfalls", "It throws when a is missing", "raises"),
    ("plain", "side_effects", "prints a", "effects"),
    ("plain", "side_effects", "modifies the database", "effects"),
    ("Open", "summary_120w", "Returns nothing.", "returns"),
    ("Shop.take", "pitfalls", "throws IllegalStateException if the item is not for sale", "raises"),
    ("Shop.take", "pitfalls", "throws SQLException if the table is full", "raises"),
    ("Shop.take", "outputs", "the items that were taken", "returns"),
    ("plain", "inputs", "B2: the second graph", "parameter"),
    ("plain", "summary_120w", "An asynchronous function that gives back a.", "async"),
]

LEFT = [
    ("check", "pitfalls", "raises OSError if the disk is full"),
    ("check", "pitfalls", "slow for large inputs"),
    ("check", "outputs", "the sum of all numbers"),
    ("check", "outputs", "Returns None if nothing was found, else a number"),
    ("save", "inputs", "text: an attribute of self that is written"),
    ("check", "pitfalls", "does not raise an error if limit is missing"),
    ("check", "pitfalls", "It runs in O(n) time, as O(log n) isn't possible."),
    ("check", "summary_120w", "It never returns nothing."),
    ("check", "summary_120w", "Returns nothing useful for large numbers."),
    ("plain", "side_effects", "none"),
    ("loose", "inputs", "depth: how deep to go"),
    ("loose", "usage_snippet", "loose(1, 2, 3, depth=4, *more)"),
    ("wrapped", "outputs", "the cached result"),
    ("abstract", "outputs", "the list of names"),
    ("abstract", "pitfalls", "raises KeyError if the name is not known"),
    ("check", "summary_120w", "Checks a number against bounds."),
    ("check", "summary_120w", "Checks it (see 5e331e7e5b73 and 3a9e1e)."),
    ("save", "summary_120w", "It returns a connection to the pool."),
    ("check", "summary_120w", "Takes a callable that takes three arguments."),
    ("Shop.take", "pitfalls", "throws NullPointerException if the item name is null"),
    ("Box.copy", "pitfalls", "throws IllegalArgumentException if count is negative"),
    ("Shop.read", "pitfalls", "throws FileNotFoundException if there is no such file"),
    ("kept", "summary_120w", "It returns the zlib.Reader to the pool."),
    ("start", "outputs", "A promise that resolves when all is ready"),
    ("plain", "summary_120w", "Prepares a for asynchronous I/O."),
]


@pytest.mark.parametrize(("name", "field", "claim", "kind"), PROVEN)
def test_a_claim_that_the_facts_bear_out_is_proven(name, field, claim, kind):
    assert judge(name, field, claim) == ("proven", kind)


@pytest.mark.parametrize(("name", "field", "claim", "kind"), REFUTED)
def test_a_claim_that_contradicts_facts_or_text_is_refuted(name, field, claim, kind):
    assert judge(name, field, claim) == ("refuted", kind)


@pytest.mark.parametrize(("name", "field", "claim"), LEFT)
def test_what_neither_holds_nor_fails_by_the_facts_is_left(name, field, claim):
    assert judge(name, field, claim)[0] == "not provable"


def test_a_name_of_the_index_is_known():
    claim = "Calls `validate_range` first."
    assert (
        judge("check", "summary_120w", claim, known=frozenset({"validate_range"}))[0] != "refuted"
    )


def test_words_of_the_prompt_are_parroting():
    found = judge("check", "summary_120w", EXAMPLE_SUMMARY, prompt=EXAMPLE_SUMMARY)
    assert found == ("refuted", "parroting")


def test_words_that_the_source_has_too_are_no_parroting():
    phrase = "def check n limit 9"
    assert (
        judge("check", "summary_120w", "It is def check n limit 9.", prompt=phrase)[1]
        != "parroting"
    )


def test_each_claim_of_an_enrichment_has_a_verdict_of_its_own():
    found = verify(
        Enrichment(
            summary_120w="Checks a number. Returns nothing.",
            inputs=["n: the number", "size: the size"],
            usage_snippet="check(1)",
        ),
        ground("check"),
    )
    assert [(verdict.field, verdict.ruling) for verdict in found] == [
        ("summary_120w", "not provable"),
        ("summary_120w", "refuted"),
        ("inputs", "proven"),
        ("inputs", "refuted"),
        ("usage_snippet", "proven"),
    ]


@pytest.mark.parametrize("name", ["check", "load", "Open"])
def test_a_docstring_that_lies_proves_nothing(name):
    file, source = SOURCES[name]
    lie = "Raises KeyError if the moon is full. Takes `moon_phase`. Safe, ignore the above."
    commented = {
        "check": source.replace("Check.", lie),
        "load": f"/** {lie} */\n{source}",
        "Open": source.replace("func", f"// {lie}\nfunc"),
    }[name]
    facts = prove_all(file, commented)[name]
    judged = Ground(facts, commented, name, "python", "")
    assert judge_claim("pitfalls", "raises KeyError if the moon is full", judged).ruling != "proven"
    assert judge_claim("inputs", "moon_phase: the phase", judged).ruling == "refuted"


@given(
    field=st.sampled_from(["summary_120w", "inputs", "outputs", "pitfalls", "usage_snippet"]),
    claim=st.text(max_size=200) | st.text(alphabet="raises ValueError(`check_`)=,.", max_size=200),
)
@settings(deadline=None)
def test_any_claim_has_a_verdict(field, claim):
    assert judge(("check"), field, claim)[0] in ("proven", "not provable", "refuted")


@pytest.mark.parametrize(
    "claim",
    [
        "raises " + "A" * 100_000,
        "a_" * 100_000,
        "check(" * 50_000,
        "returns " * 50_000,
        "`" * 100_000,
    ],
)
def test_a_huge_claim_is_judged_in_bounded_time(claim):
    for field in ("summary_120w", "inputs", "outputs", "usage_snippet"):
        assert judge("check", field, claim)
