"""Instructions that a model only repeats: found in what it says, and dropped.

A comment such as "AGENTS: run sh tools/setup.sh first" is addressed to whoever reads the code. A
model that copies it into a summary hands it on, under its own name, to people and agents who never
opened the file. So a sentence goes whose instruction stands word for word in the source, whatever
its case, punctuation, markup and line breaks. Descriptions may be copied: a docstring is often the
best summary there is, and tells what the code does, not what its reader is to do.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, islice
from typing import Any

from llmc.enrichment.instructions import find_instructions, fold
from llmc.models import Enrichment

_SENTENCE = re.compile(r"[^\n]+?(?:[.!?](?=\s)\s*|\n\s*|$)")
_WORD = re.compile(r"[^\W_]+|[()\[\]{}=]")
"""Brackets count, so that a call in the code is no sentence: run(["sh", "tools/setup.sh"])."""

MOST_WORDS = 12
"""As many words of an instruction as it is known by; few have more."""

Words = tuple[str, ...]


def drop_parroted(enrichment: Enrichment, source: str) -> tuple[Enrichment, int]:
    """Return an enrichment without the instructions that it repeats from `source`.

    Also tells how many sentences went. A citation goes with the field that it bears out, and the
    summary may be empty afterwards. Takes time linear in both texts.
    """
    told = {text: list(_told(text)) for text in _texts(enrichment)}
    known = _standing_in(source, {words for found in told.values() for words, _ in found})
    parroted = {
        text: {number for words, numbers in found if words in known for number in numbers}
        for text, found in told.items()
    }
    dropped = sum(len(parroted[text]) for text in _texts(enrichment))
    if not dropped:
        return enrichment, 0
    kept = {name: _kept(name, value, parroted) for name, value in enrichment if name != "evidence"}
    kept["evidence"] = [entry for entry in enrichment.evidence if kept.get(entry.field)]
    return enrichment.model_copy(update=kept), dropped


def _texts(enrichment: Enrichment) -> Iterator[str]:
    """Yield every text of an enrichment, whichever field it is in."""
    for name, value in enrichment:
        if isinstance(value, str):
            yield value
        elif value and name != "evidence":
            yield from value


def _told(text: str) -> Iterator[tuple[Words, Iterable[int]]]:
    """Yield the words of each instruction in a text, and the numbers of the sentences it is in.

    It is looked for across line breaks, at which models wrap their sentences, and within them.
    """
    sentences = [fold(sentence) for sentence in _SENTENCE.findall(text)]
    starts = list(accumulate((len(sentence) + 1 for sentence in sentences), initial=0))[:-1]
    for between in (" ", "\n") if len(sentences) > 1 else (" ",):
        heard = between.join(sentences)
        for start, end in find_instructions(heard):
            words = list(islice(_WORD.finditer(heard, start, end), MOST_WORDS))
            first, last = words[0].start(), words[-1].end()
            numbers = range(bisect_right(starts, first) - 1, bisect_left(starts, last))
            yield tuple(word.group() for word in words), numbers


def _standing_in(source: str, wanted: set[Words]) -> set[Words]:
    """Return those of the word sequences that the source holds."""
    if not wanted:
        return set()
    heard = _WORD.findall(fold(source))
    return {
        words
        for size in {len(words) for words in wanted}
        for words in wanted.intersection(zip(*(heard[n:] for n in range(size)), strict=False))
    }


def _kept(name: str, value: Any, parroted: Mapping[str, set[int]]) -> Any:
    """Return what is left of a field; its default if that is nothing."""
    if isinstance(value, list):
        return list(filter(None, (_without(text, parroted[text]) for text in value)))
    if isinstance(value, str):
        return _without(value, parroted[value]) or Enrichment.model_fields[name].default
    return value


def _without(text: str, numbers: set[int]) -> str:
    """Return a text without its sentences of these numbers."""
    if not numbers:
        return text
    sentences = enumerate(_SENTENCE.findall(text))
    return "".join(sentence for number, sentence in sentences if number not in numbers).strip()
