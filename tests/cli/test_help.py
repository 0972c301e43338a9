"""Every command and every flag explains itself, and what is typed wrong is told on one line."""

import argparse

import pytest

from llmc.cli import main, make_parser


def parsers(parser=None):
    """Yield every parser of the command line, those of commands within commands too."""
    parser = parser or make_parser()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


PARSERS = {parser.prog: parser for parser in parsers()}
COMMANDS = [name for name in PARSERS if " " in name]


def test_the_walk_finds_the_commands_within_commands():
    assert "llmc ledger check" in COMMANDS
    assert len(COMMANDS) == 16


@pytest.mark.parametrize("name", PARSERS)
def test_every_flag_has_words(name):
    for action in PARSERS[name]._actions:
        if not isinstance(action, argparse._SubParsersAction):
            words = (action.help or "").split()
            assert len(words) >= 2, action.option_strings or action.dest


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_how_it_ends(name):
    text = " ".join(PARSERS[name].format_help().split())
    assert PARSERS[name].description.split()
    assert "exit status: " in text


@pytest.mark.parametrize("name", PARSERS)
def test_every_example_can_be_typed(name):
    examples = PARSERS[name].epilog.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    for example in examples:
        command = example.strip().partition("  ")[0]
        words = command.partition("llmc ")[2].split()
        assert words
        assert make_parser().parse_args(words).run
        assert name in command


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_examples_are_never_wrapped(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    text = PARSERS["llmc show"].format_help()
    assert "  llmc show src/a.py:12-40    those at any of these lines\n" in text


def said(capsys, *words):
    """Return the lines that a refused command line gets on standard error."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    return output.err.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("enrich", "--limit", "0"), "0 is too small: 1 is the least; to go on until none is left"),
        (("enrich", "--limit", "-1"), "-1 is too small: 1 is the least"),
        (("enrich", "--limit=-1"), "-1 is too small: 1 is the least"),
        (("enrich", "--limit", "2.5"), "'2.5' is not a whole number"),
        (("enrich", "--limit", ""), "'' is not a whole number"),
        (("enrich", "--limit", "9" * 5000), "is too large: 999999999 is the most"),
        (("enrich", "--retries", "0"), "0 is too small: 1 is the least"),
        (("enrich", "--retries", "-2"), "-2 is too small: 1 is the least"),
        (("enrich", "--slots", "0"), "0 is too small: 1 is the least"),
        (("enrich", "--slots", "257"), "257 is too large: 256 is the most"),
        (("enrich", "--wait-for-hosts", "-1"), "-1 is too small: 0 is the least"),
        (("show", "--last", "0"), "0 is too small: 1 is the least"),
        (("show", "--last", "-1"), "-1 is too small: 1 is the least"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_with_its_bound(capsys, words, expected):
    [line] = said(capsys, *words)
    assert expected in line
    assert f"llmc {words[0]}: {words[1].partition('=')[0]}: " in line
    assert line.endswith(f"; see: llmc {words[0]} --help")


def test_every_number_flag_was_tried_above():
    numbers = {
        (name, flag)
        for name in COMMANDS
        for action in PARSERS[name]._actions
        for flag in action.option_strings
        if action.type is not None
    }
    assert numbers == {
        ("llmc enrich", "--limit"),
        ("llmc enrich", "--retries"),
        ("llmc enrich", "--slots"),
        ("llmc enrich", "--wait-for-hosts"),
        ("llmc show", "--last"),
    }


def test_a_misspelt_flag_is_told_with_its_command_and_the_right_one(capsys):
    [line] = said(capsys, "enrich", "--limt=5")
    assert line == (
        "llmc enrich: --limt=5 is not known here; did you mean --limit?; see: llmc enrich --help"
    )


def test_an_argument_cannot_fake_a_line(capsys):
    [line] = said(capsys, "status", ".", "x\n9 failed\x1b[31m")
    assert "x 9 failed" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("words", [(), ("ledger",)])
def test_without_a_command_the_help_is_shown(capsys, words):
    lines = said(capsys, *words)
    assert lines[0].startswith("usage: llmc")
    assert "examples:" in lines
