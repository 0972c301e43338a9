"""A reply in the form that was asked for, in the established one, or in some of each."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.enrichment.answers import mend, mend_summary, translate
from llmc.enrichment.reply import read_reply
from llmc.errors import BackendError
from llmc.models import MAX_SUMMARY_CHARS, MAX_SUMMARY_WORDS, Enrichment

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
KEYS = st.sampled_from(["summary", "parameters", "returns", "pitfalls", "inputs", "name", "x"])


def read(reply: object) -> Enrichment:
    return read_reply(json.dumps(reply), (1, 9), require_summary=True, translate=translate)


def test_what_was_asked_for_finds_its_established_place():
    said = {"summary": "Takes.", "parameters": {"n": "how many"}, "returns": "what is left"}
    found = read({**said, "pitfalls": ["Slow."]})
    assert (found.summary_120w, found.inputs, found.outputs, found.pitfalls) == (
        *("Takes.", ["n: how many"], ["what is left"], ["Slow."]),
    )


@pytest.mark.parametrize(
    "parameters",
    [
        [{"name": "n", "meaning": "how many"}],
        [{"name": "n", "description": "how many"}],
        {"n": {"type": "int", "description": "how many"}},
        ["n: how many"],
        "n: how many",
    ],
)
def test_parameters_may_come_in_other_forms(parameters):
    assert read({"summary": "Takes.", "parameters": parameters}).inputs == ["n: how many"]


def test_a_reply_in_the_established_form_is_left_as_it_is():
    reply = {"summary_120w": "Takes.", "inputs": ["n: how many"], "tags": ["a"]}
    assert translate(reply) is reply


def test_where_a_reply_has_both_forms_the_established_one_counts():
    found = read({"summary": "One.", "summary_120w": "Other.", "parameters": {"n": "x"}})
    assert (found.summary_120w, found.inputs) == ("Other.", ["n: x"])


def test_a_key_of_neither_form_is_refused():
    with pytest.raises(BackendError, match="'confidence' is none of the fields"):
        read({"summary": "Takes.", "confidence": 1})


def test_an_empty_summary_is_refused():
    with pytest.raises(BackendError, match="summary_120w is empty"):
        read({"summary": " "})


def test_a_summary_that_is_too_long_ends_with_a_sentence():
    text = "It takes one. " * 60
    found = mend_summary(text)
    assert found.endswith("one.")
    assert len(found.split()) == MAX_SUMMARY_WORDS


def test_a_sentence_that_is_too_long_ends_between_words():
    assert mend("one two three four", 12, 50) == "one two…"
    assert mend("one two three four", 50, 3) == "one two three…"


@given(st.text(alphabet="ab. \n!é", max_size=3000))
def test_a_mended_summary_always_fits_and_is_the_beginning_of_what_was_said(text):
    found = mend_summary(text)
    assert len(found) <= MAX_SUMMARY_CHARS
    assert len(found.split()) <= MAX_SUMMARY_WORDS
    assert text.strip().startswith(found.removesuffix("…"))


@given(st.dictionaries(KEYS, ANY_JSON))
def test_no_reply_raises_anything_but_a_refusal(reply):
    with suppress(BackendError):
        read(reply)
