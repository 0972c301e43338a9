"""What prose is made of, as far as claims are judged by it: names, language, borrowed phrases."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Container, Iterator
from functools import lru_cache

_IDENTIFIER = r"[A-Za-z_$][\w$]*(?:(?:\.|::)[A-Za-z_$][\w$]*)*"
_TICKED = re.compile(rf"`{{1,2}}[*&]{{0,2}}({_IDENTIFIER})(?:\(\))?`{{1,2}}")
_QUOTED = re.compile(rf"(?<!\w)['\"]({_IDENTIFIER})['\"](?!\w)")
_CALLED = re.compile(rf"(?<![\w.`])({_IDENTIFIER})\(")
_SPELLED = re.compile(r"(?<![\w.$/-])([A-Za-z]\w*_\w+|_\w+_\w+)(?![\w/-])")
_WORD = re.compile(r"(?<!\w)[^\W\d_]+(?:['’][^\W\d_]+)*(?!\w)")
"""A word of prose, and no letters out of a number or a name."""

_TOKEN = re.compile(r"[A-Za-z_$][\w$]*")
_PART = re.compile(r"[\w$]+")

ALWAYS_KNOWN = frozenset(
    {*dir(builtins), *keyword.kwlist, *("self", "cls", "this", "null", "nil", "undefined")}
    | {"true", "false", "void", "args", "kwargs", "stdin", "stdout", "stderr", "e_g", "i_e"}
    | {"O", "log", "sqrt"}
)
"""Names that need not stand in a text to be real."""

PHRASE_WORDS = 5
"""Words in a row that two texts share by borrowing alone."""

_STOP_WORDS = {
    "english": "the of and to in is that it for with as are this be on by if or an not from which "
    "when returns given value used all into at can has",
    "german": "der die das und ist nicht ein eine den dem mit von zu für auf wird werden oder wenn "
    "sich als auch bei aus nach",
    "french": "le la les des et est une un du dans pour que qui sur par avec ou pas au aux ce "
    "cette si elle il sont",
    "spanish": "el los las del y es una un en para que con por se no como su al lo si está son "
    "devuelve valor",
    "portuguese": "o os as do da dos das e é uma um em para que com por se não como ao na no são "
    "valor retorna",
    "italian": "il lo gli dei della e è una un di che con per non si nel alla sono se restituisce "
    "valore questo",
}
_STOPS = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}
_ENOUGH_WORDS = 5
_FOREIGN_SHARE = 0.2


def find_names(text: str) -> Iterator[str]:
    """Yield the identifiers of a prose: in backquotes, in call form, with an underscore.

    A quoted word counts if it is written as names alone are: it may be a word like another.
    """
    seen: set[str] = set()
    for pattern in (_TICKED, _CALLED, _SPELLED, _QUOTED):
        for match in pattern.finditer(text):
            name = match[1]
            if pattern is _QUOTED and not is_name_like(name):
                continue
            if name not in seen:
                seen.add(name)
                yield name


def is_name_like(word: str) -> bool:
    """Tell whether a word is written as names are and prose is not."""
    return "_" in word or "." in word or "::" in word or word[1:] != word[1:].lower()


@lru_cache(maxsize=64)
def read_tokens(text: str) -> frozenset[str]:
    """Return the identifiers that stand in a text, each part of a dotted one by itself."""
    return frozenset(_TOKEN.findall(text))


def is_known(name: str, *texts: Container[str]) -> bool:
    """Tell whether a name stands in some texts: the last part of a dotted one decides."""
    last = _PART.findall(name)[-1]
    return last in ALWAYS_KNOWN or any(last in tokens or name in tokens for tokens in texts)


def find_foreign_language(text: str, source: str) -> str | None:
    """Name the language that a prose is in if it is not English; None where that can't be told.

    Words that stand in the source may be in any language: they are quoted.
    """
    quoted = _read_words(source)
    words = [word for word in _WORD.findall(text) if word not in quoted]
    letters = [char for word in words for char in word]
    if not letters:
        return None
    foreign = [char for char in letters if not _is_latin(char)]
    if len(foreign) > _FOREIGN_SHARE * len(letters):
        return f"another script ({unicodedata.name(foreign[0], 'unknown').split()[0].lower()})"
    lowered = [word.lower() for word in words]
    if len(lowered) < _ENOUGH_WORDS:
        return None
    counts = {
        language: sum(word in stops for word in lowered) for language, stops in _STOPS.items()
    }
    likely = max(counts, key=lambda language: (counts[language], language == "english"))
    enough = counts[likely] >= max(3, len(lowered) // 5)
    return (
        likely
        if likely != "english" and enough and counts[likely] > 2 * counts["english"]
        else None
    )


@lru_cache(maxsize=64)
def _read_words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text))


def find_borrowed(text: str, prompt: str, source: str) -> str | None:
    """Return the first words that a text has from a prompt, and not from the source."""
    words = _fold(text)
    if not words or not prompt:
        return None
    size = min(PHRASE_WORDS, max(3, len(words)))
    asked = _shingles(prompt, size)
    for start in range(len(words) - size + 1):
        phrase = tuple(words[start : start + size])
        if phrase in asked and phrase not in _shingles(source, size):
            return " ".join(phrase)
    return None


@lru_cache(maxsize=64)
def _shingles(text: str, size: int) -> frozenset[tuple[str, ...]]:
    words = _fold(text)
    return frozenset(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _fold(text: str) -> list[str]:
    return [word.casefold() for word in re.findall(r"\w+", text)]


def _is_latin(char: str) -> bool:
    return char.isascii() or "LATIN" in unicodedata.name(char, "")
