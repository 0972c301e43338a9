"""The guard ends a runaway reply early and leaves a sound one alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.backends._stream import MAX_BLANKS, Guard, lines, repeats


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
    assert len(guard.text) < 700


def test_what_goes_on_after_its_end_is_stopped_and_still_complete():
    guard = fed('{"a": 1}' + " And now let me explain at length why this is so." * 5)
    assert (guard.stop, guard.complete) == ("it goes on after its end", True)


def test_thinking_aloud_for_ever_is_stopped():
    words = " ".join(f"thought{number * 7919}" for number in range(2000))
    assert fed(words).stop == "it does not come to its JSON"


@given(st.recursive(st.text(max_size=30) | st.integers(), lambda c: st.lists(c, max_size=4)))
def test_any_json_object_is_known_to_be_complete_at_its_end_and_not_before(value):
    text = json.dumps({"v": value})
    guard = Guard()
    seen = [guard.complete or bool(guard.feed(char)) for char in text]
    assert guard.complete
    assert not any(seen)


@given(st.text(alphabet="abc ", max_size=600))
def test_only_a_periodic_end_counts_as_repetition(text):
    if repeats(text):
        end = text[-240:]
        assert any(end[p:] == end[:-p] for p in range(1, 81))


def test_lines_are_put_together_across_chunks():
    chunks = [b'{"a"', b": 1}\n\n{", b'"b": 2}\r\n', b"last"]
    assert list(lines(chunks)) == [b'{"a": 1}', b'{"b": 2}', b"last"]
