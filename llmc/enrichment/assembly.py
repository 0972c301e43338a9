"""What is proven of a span and what a model said of it become the entries of an enrichment.

The program writes what it can prove, each with its lines: names and order of the inputs, that
something is returned, errors under their conditions, what is written and touched. The model's words
are put in their places. What it wrote in the established form has its place too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from llmc.enrichment.answers import mend
from llmc.enrichment.asking import BRIEF_CHARS, Question, list_names
from llmc.enrichment.instructions import find_instructions, fold
from llmc.enrichment.raising import find_errors, take_last_name
from llmc.facts.values import Facts, Parameter, Raise
from llmc.models import Enrichment

MAX_MEANING_CHARS = 300
MAX_MEANING_WORDS = 50
"""Of a meaning, a result or a pitfall; they are asked for in a few words."""

_SAID = re.compile(r"[`'\"*&\s]*([\w$]+)[`'\"]*\s*(?:\([^)]{0,80}\)\s*)?(?::|=|-|–|—|\bis\b)\s*")
_NONE = re.compile(
    r"\W*(?:(?:none|nothing|null|n/?a)\W*(?:known)?|"
    r"(?:there (?:are|is) )?no(?:ne)?(?: other| known)?"
    r"(?: (?:side[- ]effects?|pitfalls?|inputs?|parameters?))?)\W*",
    re.IGNORECASE,
)
"""What is written into a list of which the entries are wanted, where there are none."""

_WORD = re.compile(r"\w+")
_PLAIN_GUARD = re.compile(r"(?:after|for|while|case|default|switch|catch|except|with|on)\b|#")
_CUT_NAME = re.compile(r"[\w.$]*…$")
_ASSIGNED = r"(?<![\w.$]){}\s*(?:[-+*/%&|^@:]|//|\*\*|<<|>>)?=(?!=)"

Lines = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One claim with its field and its lines in the file.

    `proof` says what proves it; it is None of a model's claim, in whose place `bare` stands if it
    turns out to be false.
    """

    field: str
    text: str
    lines: Lines
    proof: str | None = None
    bare: Entry | None = None


def assemble(said: Enrichment, question: Question, first: int, last: int) -> list[Entry]:
    """Return the entries of all lists, in the order of an enrichment's fields.

    `said` are the model's words, `first` and `last` the span's lines.
    """
    facts = question.facts
    place = Place(question, first, last)
    if facts is None or not facts.sound:
        return [_theirs(name, text, place) for name in _LISTS for text in getattr(said, name)]
    return [
        *_inputs(said, question, place),
        *_outputs(said, facts, place),
        *_effects(said, facts, place),
        *_pitfalls(said, facts, place),
    ]


_LISTS = ("inputs", "outputs", "side_effects", "pitfalls")


@dataclass(frozen=True)
class Place:
    """Where a span is, and where in it something stands."""

    question: Question
    first: int
    last: int

    @property
    def whole(self) -> Lines:
        return self.first, self.last

    def at(self, line: int) -> Lines:
        """Return a line that is counted from the span's first, which is 0."""
        found = min(self.last, self.first + line)
        return found, found

    def between(self, lines: tuple[int, ...]) -> Lines:
        return (self.at(min(lines))[0], self.at(max(lines))[0]) if lines else self.whole

    def find(self, pattern: str, start: int = 0) -> tuple[Lines, int]:
        """Return the line of the first match, the definition's if there is none, and its end."""
        match = re.compile(pattern).search(self.question.source, start)
        where = match.start() if match else self.opening
        return self.at(self.question.source.count("\n", 0, where)), match.end() if match else start

    @cached_property
    def opening(self) -> int:
        """Where the name of the definition stands."""
        name = self.question.symbol.rpartition(".")[2]
        match = re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", self.question.source)
        return match.start() if match else 0


def _inputs(said: Enrichment, question: Question, place: Place) -> Iterator[Entry]:
    told, other = _sort(said.inputs, question)
    at = place.opening
    for entry in question.parameters:
        for name in list_names(entry):
            lines, at = place.find(rf"(?<![\w$]){re.escape(name)}(?![\w$])", at)
            proof = f"{name} is a parameter"
            bare = Entry("inputs", _plain(f"{name}{_declared(entry)}", name), lines, proof)
            meaning = told.pop(name, "")
            if meaning and not _is_declared(meaning, entry):
                yield Entry("inputs", f"{name}: {meaning}", lines, bare=bare)
            else:
                yield bare
    yield from (_theirs("inputs", text, place) for text in other)


def _is_declared(meaning: str, entry: Parameter) -> bool:
    """Tell whether a meaning has no word that isn't in the parameter's declaration."""
    declared = f"{entry.name} {entry.annotation} {entry.default}"
    return set(_WORD.findall(meaning)) <= set(_WORD.findall(declared))


def _sort(entries: list[str], question: Question) -> tuple[dict[str, str], list[str]]:
    """Return what was said of each parameter, and what was said of anything else."""
    names = {name for entry in question.parameters for name in list_names(entry)}
    told: dict[str, str] = {}
    other: list[str] = []
    for text in entries:
        match = _SAID.match(text)
        if match and match[1] in names:
            told.setdefault(match[1], _meaning(text[match.end() :], match[1], question))
        elif text.strip("`'\"*& ") not in names and not _NONE.fullmatch(text):
            other.append(text)
    return told, other


def _meaning(text: str, name: str, question: Question) -> str:
    again = _SAID.match(text)
    if again and again[1] == name and text[: again.end()].rstrip().endswith(":"):
        text = text[again.end() :]
    return _words(text, question)


def _words(text: str, question: Question) -> str:
    """Return a meaning at its length, empty if it is none: a name, or code of the span."""
    bare = text.strip("`'\".… ")
    if not bare or (len(bare.split()) == 1 and bare in question.source):
        return ""
    return _mended(text, question)


def _mended(text: str, question: Question) -> str:
    return mend(text, BRIEF_CHARS if question.brief else MAX_MEANING_CHARS, MAX_MEANING_WORDS)


def _declared(entry: Parameter) -> str:
    """Return what is proven of a parameter but its name."""
    parts = [entry.annotation] if entry.annotation else []
    if entry.default is not None:
        parts.append(f"default {entry.default}")
    elif entry.kind in ("rest", "keywords"):
        parts.append("any number")
    if entry.names:
        parts = [f"part of {entry.name}"]
    return f": {', '.join(parts)}" if parts else ""


def _outputs(said: Enrichment, facts: Facts, place: Place) -> Iterator[Entry]:
    returns = facts.returns
    if returns.what not in ("value", "both", "yields"):
        yield from (_theirs("outputs", text, place) for text in said.outputs)
        return
    yields = returns.what == "yields"
    lines = place.between(returns.yields if yields else returns.valued)
    what = "values, one by one" if yields else "a value"
    told = _plain(facts.result, "") if facts.result else ""
    bare = Entry("outputs", told or what, lines, "it yields" if yields else "it returns a value")
    texts = [_words(text, place.question) for text in said.outputs]
    for text in texts or [""]:
        yield Entry("outputs", text, lines, bare=bare) if text else bare
    if returns.what == "both" and returns.bare:
        lines, proof = place.between(returns.bare), "it also returns nothing"
        yield Entry("outputs", "on other ways nothing", lines, proof)


def _effects(said: Enrichment, facts: Facts, place: Place) -> Iterator[Entry]:
    for name in facts.writes:
        lines, _ = place.find(_ASSIGNED.format(re.escape(name)))
        text = _plain(f"writes {name}", "writes outside")
        proof = f"assigned in line {lines[0] - place.first + 1} of it"
        yield Entry("side_effects", text, lines, proof)
    for touch in facts.touches:
        text = f"touches {touch.resource}: {touch.name}"
        proof = f"{touch.name} in line {touch.line + 1} of it"
        yield Entry("side_effects", text, place.at(touch.line), proof)
    told = (text for text in said.side_effects if not _NONE.fullmatch(text))
    yield from (_theirs("side_effects", text, place) for text in told)


def _pitfalls(said: Enrichment, facts: Facts, place: Place) -> Iterator[Entry]:
    for entry in facts.raises:
        how = _HOW[entry.how].format(entry.error or "an error")
        text = f"{how}{_guarded(entry)}"
        proof = f"{entry.error or 'an error'} leaves in line {entry.line + 1} of it"
        yield Entry("pitfalls", _plain(text, how), place.at(entry.line), proof)
    for name in facts.declared:
        yield Entry("pitfalls", f"may throw {name}", place.at(0), "it is declared")
    proven = {take_last_name(entry.error) for entry in facts.raises if entry.error} | {
        *facts.declared
    }
    for text in said.pitfalls:
        errors = find_errors(text)
        if _NONE.fullmatch(text):
            continue
        if not errors or not proven.issuperset(map(take_last_name, errors)):
            yield _theirs("pitfalls", text, place)


_HOW = {
    "raises": "raises {}",
    "panics": "panics",
    "returns": "returns {}",
    "exits": "ends the process",
}


def _guarded(entry: Raise) -> str:
    guard = entry.guard
    if not guard:
        return ""
    return f" under: {guard}" if _PLAIN_GUARD.match(guard) else f" if {guard}"


def _theirs(field: str, text: str, place: Place) -> Entry:
    return Entry(field, _mended(text, place.question), place.whole)


def _plain(text: str, otherwise: str) -> str:
    """Return a text of the source's; the other one if it tells its reader to do something."""
    text = _CUT_NAME.sub("…", " ".join(text.split()))
    quotes = any(mark in text for mark in "'\"`")
    return otherwise if quotes and any(find_instructions(fold(text))) else text
