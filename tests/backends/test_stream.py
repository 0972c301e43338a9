"""The guard ends a runaway reply early and leaves a sound one alone."""

import itertools
import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmc.backends._stream import (
    MAX_AFTER,
    MAX_BLANKS,
    MAX_CHARS,
    MAX_PREFACE,
    REPEATED_CHARS,
    Guard,
    find_answer,
    is_repeating,
    split_events,
    split_lines,
)
from llmc.enrichment.reply import drop_thoughts, is_answer
from llmc.errors import RequestError


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
    if is_repeating(text):
        end = text[-REPEATED_CHARS:]
        assert any(end[p:] == end[:-p] for p in range(1, REPEATED_CHARS // 3 + 1))


def test_lines_are_put_together_across_chunks():
    chunks = [b'{"a"', b": 1}\n\n{", b'"b": 2}\r\n', b"last"]
    assert list(split_lines(chunks)) == [b'{"a": 1}', b'{"b": 2}', b"last"]


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
        ('f(x) { return "x"; } it is.</think>\n{"summary_120w": "s"}', '\n{"summary_120w": "s"}'),
        ("f { return; </think>and no answer", "and no answer"),
        ('f { return; </think>{"summary_120w": "cut', '{"summary_120w": "cut'),
        ('a { b[/THINK]{"summary_120w": 1}', '{"summary_120w": 1}'),
        ('<thinking>a { b</thinking>{"inputs": []}', '{"inputs": []}'),
        ('<seed:think>a { b</seed:think>{"inputs": []}', '{"inputs": []}'),
        ('◁think▷a { b◁/think▷{"inputs": []}', '{"inputs": []}'),
        (
            '<|channel|>analysis<|message|>{<|channel|>final<|message|>{"inputs": []}',
            '{"inputs": []}',
        ),
        ('I close </think> { soon </think>{"summary_120w": 1}', '{"summary_120w": 1}'),
        ('<think>"summary_120w" { </think>{"summary_120w": "c', '{"summary_120w": "c'),
        (
            '{"summary_120w": "a</think> {", "inputs": [',
            '{"summary_120w": "a</think> {", "inputs": [',
        ),
    ],
)
def test_only_thoughts_before_the_answer_are_left_out(text, answer):
    assert drop_thoughts(text) == answer


def test_events_are_read_as_the_standard_says():
    chunks = [
        b": comment\r\ndata: one\r\n\r\ndata:two\n",
        b"data: more\n\nevent: x\n\n",
        b"data: z",
    ]
    assert list(split_events(chunks)) == [b"one", b"two\nmore", b"z"]


@given(st.lists(st.lists(st.sampled_from([b"a", b" ", b"\n", b"\r\n", b"\r"])).map(b"".join)))
def test_lines_do_not_depend_on_how_a_body_is_cut(chunks):
    whole = re.split(rb"[\r\n]", b"".join(chunks))
    assert list(split_lines(chunks)) == [line.strip() for line in whole if line.strip()]


# Whatever comes: the guard beside one that looks at each character


class PlainGuard:
    """Says what the guard says, one character at a time."""

    def __init__(self):
        self.text, self.stop, self.complete = "", None, False
        self.depth = self.blanks = self.preface = self.after = self.unchecked = 0
        self.in_string = self.escaped = self.has_preface = False
        self.object = ""

    def feed(self, piece):
        if len(self.text) + len(piece) > MAX_CHARS:
            self.end("it is longer than any reply")
            self.text += piece
            return
        for char in piece:
            self.text += char
            self.object += char
            self.step(char)
        self.unchecked += len(piece)
        if self.unchecked >= 80 and not self.complete:
            self.unchecked = 0
            if is_repeating(self.text[-REPEATED_CHARS:]):
                self.end("it repeats itself")

    def end(self, reason):
        self.stop = self.stop or reason

    def step(self, char):
        if self.in_string:
            if self.escaped:
                self.escaped = False
            elif char == "\\":
                self.escaped = True
            elif char == '"':
                self.in_string = False
            return
        self.blanks = self.blanks + 1 if char.isspace() else 0
        if self.blanks > MAX_BLANKS:
            self.end("it writes nothing but white space")
        if self.complete:
            self.after += 1
            if self.after > (MAX_PREFACE if self.has_preface else MAX_AFTER):
                self.end("it goes on after its end")
        elif char == "{":
            if not self.depth:
                before = self.text[:-1].lower().strip("` \n\r\t")
                self.object, self.has_preface = char, before not in ("", "json")
            self.depth += 1
        elif not self.depth:
            self.preface += 1
            if self.preface > MAX_PREFACE:
                self.end("it does not come to its JSON")
        elif char == '"':
            self.in_string = True
        elif char == "}":
            self.depth -= 1
            self.complete = not self.depth and is_answer(self.object)


NUMBERS = " ".join(str(number * 7919) for number in range(600))
LONG = NUMBERS * 2
BITS = st.sampled_from(
    [
        *'{}"\\ \n\t\u2003\x1cxé:,[]0',
        *('{"inputs": 0', '{"a"', '"inputs"', '\\"', "}}", '"}', "{}", '{"a":0}'),
        *(" " * count for count in (MAX_AFTER, MAX_BLANKS - 1, MAX_BLANKS, MAX_BLANKS + 1)),
        *(NUMBERS[:count] for count in (30, 79, 80, 900, 4000)),
        *("ab" * count for count in (20, 150, 250)),
    ]
)


@st.composite
def pieces(draw):
    text = "".join(draw(st.lists(BITS, max_size=25)))
    places = draw(st.lists(st.integers(0, len(text)), max_size=12))
    return [text[a:b] for a, b in itertools.pairwise([0, *sorted(places), len(text)])]


@settings(max_examples=700, deadline=None)
@given(pieces())
@example(["{", " " * MAX_BLANKS, " "])
@example(['{"a', " " * MAX_BLANKS, '"', " " * MAX_BLANKS, "0"])
@example(['{"inputs": "\\', '"', '"}', "x" * MAX_AFTER, "x"])
@example(["{a}" * 40, '{"inputs": 0}'])
@example([NUMBERS, NUMBERS[:4000] + " " * 200])
@example([LONG[:MAX_PREFACE], "{"])
@example([LONG[: MAX_PREFACE + 1]])
@example([LONG[: MAX_PREFACE - MAX_BLANKS - 1] + "x", " " * (MAX_BLANKS + 1)])
@example(["{" + NUMBERS * 20, "}"])
def test_the_guard_says_what_one_that_looks_at_each_character_says(given_pieces):
    guard, plain = Guard(), PlainGuard()
    for piece in given_pieces:
        guard.feed(piece)
        plain.feed(piece)
        assert (guard.stop, guard.complete) == (plain.stop, plain.complete)
    assert guard.text == plain.text


@settings(max_examples=50, deadline=None)
@given(pieces())
def test_a_reply_written_character_by_character_is_judged_as_by_the_plain_guard(given_pieces):
    guard, plain = Guard(), PlainGuard()
    for char in "".join(given_pieces):
        guard.feed(char)
        plain.feed(char)
        assert (guard.stop, guard.complete) == (plain.stop, plain.complete)


@pytest.mark.parametrize(("more", "stop"), [(0, None), (1, "it is longer than any reply")])
def test_a_text_longer_than_any_reply_is_stopped(more, stop):
    text = '{"' + NUMBERS * 50
    assert fed(text[: MAX_CHARS + more], size=1000).stop == stop


def test_a_long_line_may_come_in_very_many_chunks():
    assert list(split_lines(iter([b"x"] * 400_000))) == [b"x" * 400_000]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", ""),
        ("no { braces } of { ours", ""),
        ('it is {"summary_120w": "s"}, I think', '{"summary_120w": "s"}'),
        ('first {"inputs": [1]} then { open {"inputs": [2]} end }', '{"inputs": [2]}'),
        ('{"name": "enrichment"}{"summary_120w": "{"}', '{"summary_120w": "{"}'),
        ("{" * 5000, ""),
    ],
)
def test_the_last_answer_in_a_text_is_found(text, answer):
    assert find_answer(text) == answer


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfdata: {}\r\n\r\ndata: [1]\r\n\r\n",
        b": hello\ndata:{}\n\n: again\nevent: x\nid: 7\ndata: [1]",
        b"\rdata: {}\r\r: c\rdata: [1]\r\r",
    ],
    ids=["mark and CRLF", "comments", "CR"],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_in_every_form_of_a_stream(body, size):
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert list(split_events(chunks)) == [b"{}", b"[1]"]


def test_a_mark_of_utf_8_is_no_part_of_the_first_line():
    assert list(split_lines([b"\xef", b"\xbb\xbf{}\n[]"])) == [b"{}", b"[]"]
    assert list(split_lines([b"\xef\xbb"])) == [b"\xef\xbb"]


@pytest.mark.parametrize(
    ("read", "begin"),
    [(split_lines, b""), (split_events, b"data: "), (split_events, b"data: 1\n" * 9)],
)
def test_a_line_without_end_is_an_error_before_it_is_held(read, begin):
    taken = []

    def chunks():
        yield begin
        for _ in range(1000):
            taken.append(1)
            yield (
                (b"data: " if b"\n" in begin else b"")
                + b"[]," * 20_000
                + (b"\n" if b"\n" in begin else b"")
            )

    with pytest.raises(RequestError, match="exceeds"):
        list(read(chunks()))
    assert len(taken) < 30
