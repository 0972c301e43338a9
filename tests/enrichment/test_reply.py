"""Reading a reply, one sentence of its contract a table; and no reply at all can do harm.

`tests/replies/` holds whole replies as models write them; the folder of each names what becomes
of it (accepted, parse, truncation or validation), for a span of lines 1 to 40.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmc.enrichment.reply import build_schema, read_reply
from llmc.errors import BackendError
from llmc.models import Enrichment

ROOT = Path(__file__).resolve().parents[2]
REPLIES = ROOT / "tests/replies"
KINDS = ("parse", "truncation", "validation")
LINES = (10, 20)
WHOLE = [10, 20]
LISTS = ("inputs", "outputs", "side_effects", "pitfalls")
CITED = ("summary_120w", *LISTS, "usage_snippet")
BROKEN = '{"a" 1}'
"""No JSON, and nothing about it looks cut off."""


def accepted(reply: object, **said: Any) -> Enrichment:
    return read_reply(json.dumps(reply), LINES, **said)


def refusal(text: str, **said: Any) -> BackendError:
    with pytest.raises(BackendError) as caught:
        read_reply(text, LINES, **said)
    return caught.value


def outcome(text: str, **said: Any) -> tuple[Enrichment | None, BackendError | None]:
    try:
        return read_reply(text, LINES, **said), None
    except BackendError as error:
        return None, error


def kind_of(text: str, **said: Any) -> str | None:
    """Return the kind of the refusal, None if the reply is accepted."""
    _, error = outcome(text, **said)
    return error.failure_type if error else None


def citing(lines: object, name: object = "inputs") -> dict[str, object]:
    return {"evidence": [{"field": name, "lines": lines}]}


def cited(enrichment: Enrichment) -> list[tuple[str, list[int]]]:
    return [(entry.field, entry.lines) for entry in enrichment.evidence]


# Finding the JSON


@pytest.mark.parametrize(
    "text",
    [
        '{"summary_120w": "It adds."}',
        'Sure! Here it is:\n{"summary_120w": "It adds."}\nAnything else?',
        '```json\n{"summary_120w": "It adds."}\n```',
        '[{"summary_120w": "It adds."}]',
        '\ufeff\n\t{"summary_120w":\n"It adds."\n}\n',
        'Answer = [ {"summary_120w": "It adds."} ];',
    ],
)
def test_what_stands_around_the_braces_is_harmless(text: str) -> None:
    assert read_reply(text, LINES).summary_120w == "It adds."


def test_the_json_ends_at_the_last_closing_brace() -> None:
    assert read_reply('{"inputs": ["{", "}"]} end', LINES).inputs == ["{", "}"]


@pytest.mark.parametrize(
    "text", ['{"a": 1} and {"b": 2}', 'use {x}: {"summary_120w": "s"}', "{'summary_120w': 's'}"]
)
def test_what_is_no_json_from_first_to_last_brace_is_refused(text: str) -> None:
    assert kind_of(text) == "parse"


@pytest.mark.parametrize("reason", ["length", "LENGTH", "max_tokens", "Max_Tokens", "token_limit"])
def test_a_done_reason_that_names_a_limit_is_truncation(reason: str) -> None:
    assert kind_of(BROKEN, done_reason=reason) == "truncation"


@pytest.mark.parametrize("reason", ["stop", "load", "", None, 5, ["length"], "length "])
def test_any_other_done_reason_is_no_truncation(reason: object) -> None:
    assert kind_of(BROKEN, done_reason=reason) == "parse"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"a": {"b": "c"', "truncation"),
        ('{{{"a"}', "truncation"),
        ('{"a": "c"', "parse"),
        ('{{"a": 1}', "parse"),
        ('}}{"a"', "parse"),
    ],
)
def test_two_unclosed_braces_are_truncation(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"a" 1}', "parse"),
        ('{"a" 1} \n\t', "parse"),
        ('[{"a" 1}]', "parse"),
        ('{"a": "b"', "parse"),
        ('{"a": "b', "truncation"),
        ('{"a": 1', "truncation"),
        ('{"a": "b",', "truncation"),
        ('{"a" 1}\n```', "truncation"),
        ("[1, 2]", "parse"),
        ('He said "no"', "parse"),
        ("He said 'no'", "truncation"),
    ],
)
def test_a_last_character_that_ends_no_json_is_truncation(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize("prose", ["I cannot help with that.", "ok", "It adds two numbers"])
def test_ordinary_prose_is_truncation(prose: str) -> None:
    assert kind_of(prose) == "truncation"


@pytest.mark.parametrize(
    ("count", "kind"),
    [
        (0, "truncation"),
        (-1, "truncation"),
        (1, "parse"),
        (None, "parse"),
        (0.0, "parse"),
        ("0", "parse"),
    ],
)
def test_an_eval_count_of_nothing_is_truncation(count: object, kind: str) -> None:
    assert kind_of(BROKEN, eval_count=count) == kind


@pytest.mark.parametrize("said", [{"done_reason": "length"}, {"eval_count": 0}])
def test_good_json_passes_whatever_the_server_says_of_it(said: dict[str, Any]) -> None:
    assert accepted({"summary_120w": "s"}, **said).summary_120w == "s"


def test_bad_fields_are_no_truncation_even_at_the_token_limit() -> None:
    assert kind_of('{"a": 1}', done_reason="length") == "validation"


@pytest.mark.parametrize(
    ("text", "kind"), [(BROKEN, "parse"), ("no", "truncation"), ('{"a": 1}', "validation")]
)
def test_a_refusal_carries_kind_detail_and_the_whole_text(text: str, kind: str) -> None:
    error = refusal(text)
    assert error.failure is not None
    assert (error.failure_type, error.failure[0], error.failure[2]) == (kind, kind, text)
    assert error.failure[1]


# Normalising


@pytest.mark.parametrize("name", [*LISTS, "tags"])
@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (["a", "b"], ["a", "b"]),
        ([" a ", "\tb\n"], ["a", "b"]),
        (["a", "", "  ", "a"], ["a", "a"]),
        (["a", 3, None, True, ["b"], {"c": "d"}], ["a"]),
        ([], []),
        ("one", ["one"]),
        ("a, b", ["a, b"]),
        ("", []),
        (" \n", []),
        (None, []),
        (5, []),
        (True, []),
        ({"a": "b"}, []),
    ],
)
def test_a_list_field_keeps_its_non_blank_strings(
    name: str, value: object, kept: list[str]
) -> None:
    assert getattr(accepted({name: value}), name) == kept


@pytest.mark.parametrize("name", [*LISTS, "tags", "evidence"])
def test_a_missing_list_is_empty(name: str) -> None:
    assert getattr(accepted({}), name) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        ("  It adds.\n", "It adds."),
        ("two\nlines", "two\nlines"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "True"),
        (["a", None], "['a', None]"),
        ({"k": 1}, "{'k': 1}"),
    ],
)
def test_a_summary_is_made_a_trimmed_string(value: object, text: str) -> None:
    assert accepted({"summary_120w": value}).summary_120w == text


def test_a_missing_summary_is_empty() -> None:
    assert accepted({}).summary_120w == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", None),
        (" \n\t", None),
        ("  f(1)\n", "f(1)"),
        ("x = 1\n\ny = 2", "x = 1\n\ny = 2"),
        (0, "0"),
        (False, "False"),
        (["f()"], "['f()']"),
    ],
)
def test_a_usage_snippet_is_made_a_trimmed_string_or_null(value: object, text: str | None) -> None:
    assert accepted({"usage_snippet": value}).usage_snippet == text


def test_a_missing_usage_snippet_is_null() -> None:
    assert accepted({}).usage_snippet is None


@pytest.mark.parametrize(("lines", "kept"), [(1, 1), (12, 12), (13, 12), (400, 12)])
def test_a_usage_snippet_is_cut_to_12_lines(lines: int, kept: int) -> None:
    snippet = accepted({"usage_snippet": "\n".join(map(str, range(lines)))}).usage_snippet
    assert snippet == "\n".join(map(str, range(kept)))


def test_blank_lines_around_a_usage_snippet_do_not_count_towards_the_12() -> None:
    snippet = "\n\n\n" + "\n".join("abcdefghijkl") + "\n\n"
    assert accepted({"usage_snippet": snippet}).usage_snippet == snippet.strip()


def test_a_usage_snippet_is_cut_to_12_lines_before_its_length_is_checked() -> None:
    assert accepted({"usage_snippet": "x" * 90 + "\n" + "y" * 90 + "\nz" * 5000}).usage_snippet


@pytest.mark.parametrize(
    "evidence",
    [
        None,
        "lines 1-2",
        {"field": "inputs", "lines": [11, 12]},
        [None, 3, "inputs", ["inputs", [11, 12]]],
        [{"lines": [11, 12]}],
        [{"field": "inputs"}],
        [{"field": "tags", "lines": [11, 12]}],
        [{"field": "evidence", "lines": [11, 12]}],
        [{"field": "Inputs", "lines": [11, 12]}],
        [{"field": None, "lines": [11, 12]}],
        [{"field": ["inputs"], "lines": [11, 12]}],
        [{"field": {"inputs": 1}, "lines": [11, 12]}],
        [{"field": "inputs", "lines": None}],
        [{"field": "inputs", "lines": 11}],
        [{"field": "inputs", "lines": []}],
        [{"field": "inputs", "lines": [11]}],
        [{"field": "inputs", "lines": [11, 12, 13]}],
        [{"field": "inputs", "lines": "11-12"}],
        [{"field": "inputs", "lines": ["11", "12"]}],
        [{"field": "inputs", "lines": [11.0, 12.0]}],
        [{"field": "inputs", "lines": [None, 12]}],
        [{"field": "inputs", "lines": {"from": 11, "to": 12}}],
    ],
    ids=json.dumps,
)
def test_evidence_of_another_shape_is_dropped(evidence: object) -> None:
    assert cited(accepted({"evidence": evidence})) == []


@pytest.mark.parametrize("name", CITED)
def test_evidence_may_cite_each_of_the_six_fields(name: str) -> None:
    assert cited(accepted(citing([11, 12], name))) == [(name, [11, 12])]


def test_evidence_is_reduced_to_field_and_lines() -> None:
    entry = {"field": "inputs", "lines": [11, 12], "why": "the signature", "confidence": 0.9}
    assert cited(accepted({"evidence": [entry]})) == [("inputs", [11, 12])]


def test_two_entries_for_one_field_both_stay() -> None:
    entries = [{"field": "inputs", "lines": [n, n]} for n in (15, 11)]
    told = cited(accepted({"inputs": ["a"], "evidence": entries}))
    assert told == [("inputs", [15, 15]), ("inputs", [11, 11])]


def test_each_non_empty_field_is_cited_in_order_with_the_lines_of_the_span() -> None:
    reply = dict.fromkeys(reversed(CITED), "x")
    assert cited(accepted(reply)) == [(name, WHOLE) for name in CITED]


@pytest.mark.parametrize("empty", [None, "", " ", [], [" "], [7]])
def test_a_field_that_is_empty_after_normalising_is_not_cited(empty: object) -> None:
    reply = dict.fromkeys(LISTS, empty)
    assert cited(accepted({**reply, "tags": ["t"]})) == []


def test_entries_of_the_program_follow_those_of_the_reply() -> None:
    reply = {"summary_120w": "s", "pitfalls": ["p"], **citing([12, 11], "pitfalls")}
    assert cited(accepted(reply)) == [("pitfalls", [12, 11]), ("summary_120w", WHOLE)]


def test_a_dropped_entry_leaves_its_field_to_the_program() -> None:
    assert cited(accepted({"inputs": ["a"], **citing("11-12")})) == [("inputs", WHOLE)]


# Validating


def test_an_empty_object_is_valid() -> None:
    assert read_reply("{}", LINES) == Enrichment()


@pytest.mark.parametrize(
    "key", ["a", "summary", "Summary_120w", "span_hash", "lines", "", "\ud800", "in\x00puts"]
)
def test_any_other_key_fails(key: str) -> None:
    assert kind_of(json.dumps({"summary_120w": "s", key: None})) == "validation"


@pytest.mark.parametrize("name", ["model", "schema_version"])
@pytest.mark.parametrize("value", ["mine", "", None])
def test_model_and_schema_version_may_be_a_string_or_null(name: str, value: str | None) -> None:
    enrichment = accepted({name: value})
    assert getattr(enrichment, name) == value
    assert name in enrichment.model_fields_set


@pytest.mark.parametrize("name", ["model", "schema_version"])
@pytest.mark.parametrize("value", [1, True, ["m"], {}])
def test_model_and_schema_version_of_another_type_fail(name: str, value: object) -> None:
    assert kind_of(json.dumps({name: value})) == "validation"


@pytest.mark.parametrize("name", ["model", "schema_version"])
def test_a_model_or_schema_version_left_out_is_not_set(name: str) -> None:
    assert name not in accepted({}).model_fields_set


@pytest.mark.parametrize("name", ["summary_120w", "usage_snippet"])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x" * 1200, None),
        ("x" * 1201, "validation"),
        ("\N{GRINNING FACE}" * 1200, None),
        (" " * 50 + "x" * 1200 + "\n" * 50, None),
    ],
    ids=["1200", "1201", "1200 beyond ASCII", "1200 and blanks"],
)
def test_a_text_has_at_most_1200_characters(name: str, text: str, kind: str | None) -> None:
    assert kind_of(json.dumps({name: text})) == kind


@pytest.mark.parametrize(("words", "kind"), [(120, None), (121, "validation")])
@pytest.mark.parametrize("gap", [" ", "\n", " \t "])
def test_a_summary_has_at_most_120_words(words: int, gap: str, kind: str | None) -> None:
    assert kind_of(json.dumps({"summary_120w": gap.join(["word"] * words)})) == kind


def test_a_usage_snippet_may_have_any_number_of_words() -> None:
    assert kind_of(json.dumps({"usage_snippet": "x " * 500})) is None


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([10, 20], None),
        ([20, 10], None),
        ([15, 15], None),
        ([9, 15], "validation"),
        ([15, 21], "validation"),
        ([21, 15], "validation"),
        ([0, 0], "validation"),
        ([-15, 15], "validation"),
        ([15, 10**30], "validation"),
    ],
    ids=str,
)
def test_evidence_lines_lie_inside_the_span_in_any_order(
    lines: list[int], kind: str | None
) -> None:
    assert kind_of(json.dumps(citing(lines))) == kind


@pytest.mark.parametrize("lines", [[True, True], [1, True], [False, 1]], ids=str)
def test_true_and_false_are_no_lines(lines: list[object]) -> None:
    with pytest.raises(BackendError) as caught:
        read_reply(json.dumps(citing(lines)), (0, 5))
    assert caught.value.failure_type == "validation"


@pytest.mark.parametrize("reply", [{}, {"summary_120w": " "}, {"inputs": ["a"]}])
def test_an_empty_summary_fails_where_one_is_required(reply: object) -> None:
    assert kind_of(json.dumps(reply), require_summary=True) == "validation"


def test_a_summary_satisfies_where_one_is_required() -> None:
    assert accepted({"summary_120w": "s"}, require_summary=True).summary_120w == "s"


# Whole replies of models


CORPUS = sorted(path for path in REPLIES.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_reply_of_the_corpus_comes_to_what_its_folder_says(path: Path) -> None:
    try:
        read_reply(
            path.read_text(encoding="utf-8"), (1, 40), require_summary=path.stem != "empty_object"
        )
    except BackendError as error:
        found = error.failure_type
    else:
        found = "accepted"
    assert found == path.parent.name


def test_the_corpus_has_replies_of_every_kind() -> None:
    assert {path.parent.name for path in CORPUS} == {"accepted", *KINDS}


# No reply does harm


def broken_rules(enrichment: Enrichment, lines: tuple[int, int]) -> list[str]:
    """Check an accepted enrichment against the contract, without the code that accepted it."""
    row = enrichment.model_dump()
    rules = {
        "fields": set(row) == {*CITED, "evidence", "tags", "model", "schema_version"},
        "summary": type(row["summary_120w"]) is str and len(row["summary_120w"]) <= 1200,
        "words": len(row["summary_120w"].split()) <= 120,
        "snippet": row["usage_snippet"] is None
        or (type(row["usage_snippet"]) is str and 0 < len(row["usage_snippet"]) <= 1200),
        "names": all(
            row[name] is None or type(row[name]) is str for name in ("model", "schema_version")
        ),
        "lists": all(
            type(item) is str and item.strip() and item == item.strip()
            for name in (*LISTS, "tags")
            for item in row[name]
        ),
        "evidence": all(
            set(entry) == {"field", "lines"} and entry["field"] in CITED
            for entry in row["evidence"]
        ),
        "lines": all(
            [type(line) for line in entry["lines"]] == [int, int]
            and all(lines[0] <= line <= lines[1] for line in entry["lines"])
            for entry in row["evidence"]
        ),
        "cited": {name for name in CITED if row[name]}
        <= {entry["field"] for entry in row["evidence"]},
    }
    return [rule for rule, kept in rules.items() if not kept]


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.sampled_from(["", " ", "\ud800", "\x00", "x" * 1201, "w " * 121, "\n".join("x" * 14)])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*CITED, *CITED, "tags", "model", "schema_version"])
ENTRIES = st.fixed_dictionaries(
    {
        "field": st.sampled_from([*CITED, "tags"]) | VALUES,
        "lines": st.lists(st.integers(9, 21) | SCALARS, max_size=3) | VALUES,
    }
)
FITTING = st.fixed_dictionaries(
    {},
    optional={
        "summary_120w": ANY_TEXT,
        "usage_snippet": st.none() | ANY_TEXT,
        **{name: st.lists(ANY_TEXT, max_size=3) for name in (*LISTS, "tags")},
        "evidence": st.lists(
            st.fixed_dictionaries(
                {
                    "field": st.sampled_from(CITED),
                    "lines": st.lists(st.integers(10, 20), min_size=2, max_size=2),
                }
            ),
            max_size=2,
        ),
        "model": st.none() | st.text(max_size=5),
    },
)
ODD = st.dictionaries(KEYS, VALUES, max_size=6) | st.fixed_dictionaries(
    {"evidence": st.lists(ENTRIES | VALUES, max_size=3)}, optional={"inputs": VALUES}
)
SPOKEN = st.builds(
    json.dumps,
    FITTING | ODD | st.dictionaries(KEYS | ANY_TEXT, VALUES, max_size=6),
    ensure_ascii=st.booleans(),
    indent=st.none() | st.just(2),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw a sound reply with some of its characters cut, doubled or overwritten."""
    text = draw(SPOKEN)
    for _ in range(draw(st.integers(1, 3))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        middle = draw(
            st.sampled_from(["", text[begin:end] * 2, "{", "}", '"', "[", ",", "NaN", "\x00", "\\"])
        )
        text = text[:begin] + middle + text[end:]
    return text


def nested(depth: int, key: str = "summary_120w") -> str:
    return f'{{"{key}": ' + "[" * depth + "]" * depth + "}"


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(st.characters(exclude_categories=())) | SPOKEN | mutated(),
    done_reason=st.sampled_from([None, "stop", "length"]) | SCALARS,
    eval_count=st.none() | SCALARS,
    require_summary=st.booleans(),
)
@example(text="", done_reason=None, eval_count=None, require_summary=False)
@example(text=nested(600), done_reason=None, eval_count=None, require_summary=False)
@example(text=nested(600, "model"), done_reason=None, eval_count=None, require_summary=False)
@example(text=nested(900, "evidence"), done_reason=None, eval_count=None, require_summary=False)
@example(text=nested(990), done_reason=None, eval_count=None, require_summary=False)
@example(text=nested(200_000), done_reason=None, eval_count=None, require_summary=False)
@example(text='{"a":' * 200_000, done_reason=None, eval_count=None, require_summary=False)
@example(
    text='{"summary_120w": 1' + "0" * 5000 + "}",
    done_reason=None,
    eval_count=None,
    require_summary=False,
)
@example(
    text='{"evidence": [{"field": "inputs", "lines": [1e999, 1' + "0" * 4000 + "]}]}",
    done_reason=None,
    eval_count=None,
    require_summary=False,
)
@example(
    text='{"evidence": [{"field": "inputs", "lines": [15, 1' + "0" * 4000 + "]}]}",
    done_reason=None,
    eval_count=None,
    require_summary=False,
)
@example(
    text='{"summary_120w": NaN, "inputs": [Infinity], "inputs": "\\ud800\\u0000"}',
    done_reason=None,
    eval_count=None,
    require_summary=False,
)
def test_a_reply_is_accepted_within_the_contract_or_refused_with_a_kind(
    text: str, done_reason: object, eval_count: object, require_summary: bool
) -> None:
    said = {"done_reason": done_reason, "eval_count": eval_count}
    enrichment, error = outcome(text, require_summary=require_summary, **said)
    if enrichment is not None:
        assert broken_rules(enrichment, LINES) == []
        assert enrichment.summary_120w or not require_summary
        enrichment.model_dump_json().encode("utf-8")
    else:
        assert error is not None
        assert error.failure is not None
        kind, detail, payload = error.failure
        assert kind in KINDS
        assert (error.failure_type, payload) == (kind, text)
        assert detail
        detail.encode("utf-8")


@settings(max_examples=200, deadline=None)
@given(reply=FITTING)
def test_a_reply_that_fits_the_contract_is_accepted(reply: dict[str, Any]) -> None:
    assert kind_of(json.dumps(reply)) is None


@pytest.mark.parametrize("name", CITED)
def test_lone_surrogates_in_a_text_do_not_cost_the_reply(name: str) -> None:
    enrichment = read_reply(f'{{"{name}": "ab \\ud800 cd"}}', LINES)
    enrichment.model_dump_json().encode("utf-8")
    assert str(getattr(enrichment, name)).strip("[]'").startswith("ab ")


@pytest.mark.parametrize("name", CITED)
def test_text_beyond_ascii_stays_as_it_is(name: str) -> None:
    text = "na\u00efve \u4e16\u754c \N{GRINNING FACE}"
    kept = getattr(accepted({name: text}), name)
    assert kept == ([text] if name in LISTS else text)


@pytest.mark.parametrize("name", ["model", "schema_version"])
def test_a_lone_surrogate_in_a_name_is_replaced_or_refused(name: str) -> None:
    text = f'{{"{name}": "ab \\ud800"}}'
    if kind_of(text) != "validation":
        read_reply(text, LINES).model_dump_json().encode("utf-8")


def test_the_last_of_two_equal_keys_counts() -> None:
    assert read_reply('{"summary_120w": "one", "summary_120w": "two"}', LINES).summary_120w == "two"


# The schema that a model is held to


def bounds(part: Any, path: str = "reply") -> Iterator[str]:
    """Yield the path of every part of a schema that may grow without end."""
    for choice in part.get("anyOf", [part]):
        kind = choice["type"]
        if kind == "object":
            if choice["additionalProperties"] is not False:
                yield path
            for name, inner in choice["properties"].items():
                yield from bounds(inner, f"{path}.{name}")
        elif kind == "array":
            if "maxItems" not in choice:
                yield path
            yield from bounds(choice["items"], f"{path}[]")
        elif kind == "string" and "maxLength" not in choice:
            yield path


def conforming(part: Any, chance: random.Random, size: float) -> Any:
    """Make up a value that conforms; `size` goes from 0, the smallest, to 1, the largest."""
    choices = part.get("anyOf", [part])
    part = choices[0] if size == 1 else choices[-1] if size == 0 else chance.choice(choices)
    if part["type"] == "object":
        return {
            name: conforming(inner, chance, size)
            for name, inner in part["properties"].items()
            if name in part["required"] or chance.random() < size
        }
    least = part.get("minItems", part.get("minLength", 0))
    most = part.get("maxItems", part.get("maxLength", 0))
    count = round(least + (most - least) * size)
    if part["type"] == "array":
        return [conforming(part["items"], chance, size) for _ in range(count)]
    if part["type"] == "null":
        return None
    assert part["type"] == "string"
    letters = "".join(chance.choice("word\u00e9\u4e16\\\"'{}") for _ in range(count))
    return "".join(" " if place % 7 == 5 else letter for place, letter in enumerate(letters))


def test_the_schema_asks_only_for_what_the_program_cannot_know() -> None:
    assert sorted(build_schema()["properties"]) == sorted(CITED)
    assert sorted(build_schema()["required"]) == sorted(CITED)


def test_every_part_of_the_schema_is_bounded() -> None:
    assert list(bounds(build_schema())) == []


@pytest.mark.parametrize("size", [0, 0.01, 0.2, 0.5, 0.8, 0.99, 1])
@pytest.mark.parametrize("seed", range(5))
def test_what_conforms_to_the_schema_is_accepted(size: float, seed: int) -> None:
    reply = conforming(build_schema(), random.Random(seed), size)
    text = json.dumps(reply, indent=4, ensure_ascii=bool(seed % 2))
    assert read_reply(text, LINES, require_summary=True).summary_120w


def test_the_schema_is_the_same_text_in_every_process() -> None:
    code = (
        "import json; from llmc.enrichment.reply import build_schema; "
        "print(json.dumps(build_schema()))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {json.dumps(build_schema()) + "\n"}
