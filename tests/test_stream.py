"""The guard ends a runaway reply early and leaves a sound one alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.backends._stream import (
    MAX_BLANKS,
    REPEATED_CHARS,
    Guard,
    events,
    lines,
    repeats,
    without_thoughts,
)


def fed(text, size=3):
    guard = Guard()
    for start in range(0, len(text), size):
        if guard.feed(text[start : start + size]):
            break
    return guard


SOUND = {
    "summary_120w": 'Reads a file { with braces } and "quotes", then closes it.',
    "inputs": ["path: the file", "mode: how"],
    "usage_snippet": "if x:\n" + " " * 8 + "y()",
}


@pytest.mark.parametrize("indent", [None, 2, 8])
def test_a_sound_reply_is_left_alone_and_known_to_be_complete(indent):
    guard = fed(json.dumps(SOUND, indent=indent))
    assert (guard.stop, guard.complete) == (None, True)


def test_white_space_without_end_is_stopped():
    guard = fed("{" + "\n" * 5000)
    assert guard.stop == "it writes nothing but white space"
    assert len(guard.text) <= MAX_BLANKS + 10


def test_white_space_inside_a_string_is_text():
    assert fed(json.dumps({"a": " " * (MAX_BLANKS + 50) + "x"})).stop is None


@pytest.mark.parametrize(
    "phrase", ["and so on ", "ab", "- it returns a value of the given type\\n"]
)
def test_a_phrase_said_over_and_over_is_stopped(phrase):
    guard = fed('{"a": "' + phrase * 500)
    assert guard.stop == "it repeats itself"
    assert len(guard.text) < 1100


def test_what_goes_on_after_its_end_is_stopped_and_still_complete():
    guard = fed('{"inputs": []}' + " And now let me explain at length why this is so." * 5)
    assert (guard.stop, guard.complete) == ("it goes on after its end", True)


def test_thinking_aloud_for_ever_is_stopped():
    words = " ".join(f"thought{number * 7919}" for number in range(2000))
    assert fed(words).stop == "it does not come to its JSON"


@given(st.recursive(st.text(max_size=30) | st.integers(), lambda c: st.lists(c, max_size=4)))
def test_any_json_object_is_known_to_be_complete_at_its_end_and_not_before(value):
    text = json.dumps({"inputs": value})
    guard = Guard()
    seen = [guard.complete or bool(guard.feed(char)) for char in text]
    assert guard.complete
    assert not any(seen)


@given(st.text(alphabet="abc ", max_size=900))
def test_only_a_periodic_end_counts_as_repetition(text):
    if repeats(text):
        end = text[-REPEATED_CHARS:]
        assert any(end[p:] == end[:-p] for p in range(1, REPEATED_CHARS // 3 + 1))


def test_lines_are_put_together_across_chunks():
    chunks = [b'{"a"', b": 1}\n\n{", b'"b": 2}\r\n', b"last"]
    assert list(lines(chunks)) == [b'{"a": 1}', b'{"b": 2}', b"last"]


@pytest.mark.parametrize(
    "before",
    ["<think>It returns {} when empty, and {a, b} else.</think>", "The set {a, b} is given. "],
    ids=["thoughts", "prose"],
)
def test_braces_before_the_answer_are_not_the_answer(before):
    guard = fed(before + json.dumps(SOUND))
    assert (guard.stop, guard.complete) == (None, True)


def test_a_drawn_line_in_an_example_is_no_runaway():
    assert fed(json.dumps({"usage_snippet": "-" * 390 + "\\nx"})).stop is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a {b}</think>{}", "{}"),
        ("thoughts without a mark</think>{}", "{}"),
        ('{"summary_120w": "ends with </think>"}', '{"summary_120w": "ends with </think>"}'),
        ("{}", "{}"),
        ("<think>never ends", "<think>never ends"),
    ],
)
def test_only_thoughts_before_the_answer_are_left_out(text, answer):
    assert without_thoughts(text) == answer


def test_events_are_read_as_the_standard_says():
    chunks = [
        b": comment\r\ndata: one\r\n\r\ndata:two\n",
        b"data: more\n\nevent: x\n\n",
        b"data: z",
    ]
    assert list(events(chunks)) == [b"one", b"two\nmore", b"z"]
