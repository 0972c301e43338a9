"""Real replies, damaged in every way that a model, a server or an attacker might.

A mutation is known by its number: the same number gives the same reply, on every machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from tests.chaos.reply_contract import CITABLE, FIELDS, LISTS, Said

TOKENS: tuple[str, ...] = (
    *'{}[]",:\\/',
    *("null", "true", "false", "NaN", "Infinity", "-Infinity", "-0", "1e999", "-1E-999", "007"),
    *("\ufeff", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\ud800", "\udc00", "\u202e", "😀", "ß"),
    *(
        "\\u0000",
        "\\ud83d",
        "\\ude00",
        "\\u001b]0;x\\u0007",
        "\\u2029",
        "\\x",
        "\\'",
        '\\"',
        "\\\\",
    ),
    *("```", "```json\n", "</think>", "<think>", "'", "#", "//", "/*", "\r\n", "\t", " " * 40),
    *('"a": 1,', '"model": "x",', '"inputs": ["a"],', '"evidence": [],', '"summary_120w": 5,'),
)
SWELLING: tuple[str, ...] = (*'{}[" x\\', "\n", "é", "[[", '{"a":', "[1,")
RAW = (
    "1e999",
    "-1e999",
    "NaN",
    "-Infinity",
    "1" + "0" * 4299,
    "1" + "0" * 5000,
    "0.1",
    "-0",
    "1E5",
)
ENDS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x1f")
ODD_KEYS = ("", "summary", "Inputs", "inputs ", "span_hash", "lines", "\0", "\ud800", "k" * 300)


def mutation(number: int, seeds: list[str]) -> Said:
    """Return the damaged reply of this number, with what is said of it."""
    chance = random.Random(number)
    text = chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        text = chance.choice(MUTATORS)(text, chance, seeds)
    return Said(
        text,
        lines=chance.choice(((10, 20), (10, 20), (1, 40), (1, 1), (500, 100_000))),
        done_reason=chance.choice((None, "stop", "length", "LENGTH", "", 5, ["length"])),
        eval_count=chance.choice((None, 300, 300, 1, 0, -1, 0.0, "0")),
        strict=chance.random() < 0.5,
    )


# Damage to the text


def truncated(text: str, chance: random.Random, seeds: list[str]) -> str:
    return text[: chance.randint(0, len(text))]


def cut(text: str, chance: random.Random, seeds: list[str]) -> str:
    begin, end = _places(text, chance)
    return text[:begin] + text[end:]


def doubled(text: str, chance: random.Random, seeds: list[str]) -> str:
    begin, end = _places(text, chance)
    return text[:end] + text[begin:]


def spliced(text: str, chance: random.Random, seeds: list[str]) -> str:
    other = chance.choice(seeds)
    return text[: chance.randint(0, len(text))] + other[chance.randint(0, len(other)) :]


def flipped(text: str, chance: random.Random, seeds: list[str]) -> str:
    """Turn some bits over in the UTF-8 of a text."""
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(chance.choice((1, 1, 2, 8))):
        if raw:
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return raw.decode("utf-8", chance.choice(("replace", "surrogateescape", "ignore")))


def studded(text: str, chance: random.Random, seeds: list[str]) -> str:
    """Put an odd token in, or in the place of a character."""
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice(TOKENS) + text[at + chance.randint(0, 1) :]


def swollen(text: str, chance: random.Random, seeds: list[str]) -> str:
    """Put very much of one thing in, rarely, as it costs time."""
    at = chance.randint(0, len(text))
    if chance.random() > 0.002:
        count = chance.choice((2, 30, 400))
    else:
        count = chance.choice((100_000, 1_000_000))
    return text[:at] + chance.choice(SWELLING) * count + text[at:]


# Damage to what the text says


def revalued(text: str, chance: random.Random, seeds: list[str]) -> str:
    """Give some fields other values, and say the reply anew."""
    reply = _object(text) or _object(chance.choice(seeds)) or {}
    for _ in range(chance.randint(1, 3)):
        name = chance.choice(sorted(FIELDS))
        reply[name] = evidence(chance) if name == "evidence" else value(chance, name)
    if chance.random() < 0.1:
        reply[chance.choice(ODD_KEYS)] = value(chance, "")
    if chance.random() < 0.3:
        reply.pop(chance.choice(list(reply)))
    return said(reply, chance)


def twice_keyed(text: str, chance: random.Random, seeds: list[str]) -> str:
    """Say a key twice: the last one counts."""
    name = chance.choice(sorted(FIELDS))
    extra = json.dumps({name: value(chance, name)})[1:-1]
    at = text.find("{") + 1
    return f"{text[:at]}{extra},{text[at:]}" if at else text


def said(reply: dict[str, Any], chance: random.Random) -> str:
    """Return a reply as text, with raw tokens where their stand-ins are."""
    separators = chance.choice(((",", ":"), (", ", ": "), (",\n  ", ":\t")))
    text = json.dumps(reply, ensure_ascii=chance.random() < 0.5, separators=separators)
    for number, raw in enumerate(RAW):
        text = text.replace(f'"<raw {number}>"', raw)
    return text


def evidence(chance: random.Random) -> object:
    if chance.random() < 0.1:
        return value(chance, "")
    return [entry(chance) for _ in range(chance.choice((0, 1, 1, 2, 3, 8)))]


def entry(chance: random.Random) -> object:
    if chance.random() < 0.1:
        return value(chance, "")
    name = chance.choice((*CITABLE, *CITABLE, "tags", "evidence", "", None, ["inputs"], {"a": 1}))
    lines: object = [line(chance) for _ in range(chance.choice((2, 2, 2, 2, 2, 2, 1, 3, 0)))]
    whole = {"field": name, "lines": lines, "why": "so"}
    return {key: whole[key] for key in whole if chance.random() < 0.97}


def line(chance: random.Random) -> object:
    if chance.random() < 0.9:
        return chance.choice((10, 11, 15, 19, 20))
    return chance.choice((9, 21, 1, 40, 0, -1, True, False, 10.0, "10", None, 10**30, "<raw 4>"))


def value(chance: random.Random, name: str) -> object:
    """Return a value that a field may or may not take, often at the edge of what it takes."""
    roll = chance.random()
    if roll < 0.35:
        return string(chance)
    if roll < 0.6 or (roll < 0.8 and name in LISTS):
        return [string(chance) for _ in range(chance.randint(0, 4))]
    if roll < 0.9:
        return chance.choice(
            (
                None,
                True,
                False,
                0,
                -1,
                10**30,
                1.5,
                float("nan"),
                float("inf"),
                {},
                [],
                [[]],
                [None, "a", 3],
            )
        )
    if roll < 0.95:
        return f"<raw {chance.randrange(len(RAW))}>"
    return nested(chance.choice((1, 3, 30, 299, 301, 599, 601)), chance)


def string(chance: random.Random) -> str:
    edge = chance.choice((1199, 1200, 1201))
    words, lines = chance.choice((119, 120, 121)), chance.choice((11, 12, 13, 14))
    return chance.choice(
        (
            *(
                "",
                " ",
                "\n\t ",
                "It adds two numbers.",
                "x" * edge,
                "é" * edge,
                "a" + "\n" * edge + "b",
            ),
            *(" ".join(["w"] * words), "\u2003".join(["w"] * words), "😀 " * words),
            chance.choice(ENDS).join("abcdefghijklmnop"[:lines]),
            "".join(f"{number}{chance.choice(ENDS)}" for number in range(lines)),
            *(
                chance.choice(TOKENS),
                f"a{chance.choice(TOKENS)}b",
                "a,b",
                '"',
                "'it''s'",
                '{"a": "b"}',
            ),
        )
    )


def nested(depth: int, chance: random.Random) -> object:
    inner: object = chance.choice(([], {}, "x", 1))
    for _ in range(depth):
        inner = [inner] if chance.random() < 0.5 else {"a": inner}
    return inner


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _places(text: str, chance: random.Random) -> tuple[int, int]:
    begin = chance.randint(0, len(text))
    return begin, min(len(text), begin + chance.choice((1, 2, 5, 40, 400)))


MUTATORS: tuple[Callable[[str, random.Random, list[str]], str], ...] = (
    truncated,
    cut,
    doubled,
    spliced,
    flipped,
    studded,
    studded,
    swollen,
    revalued,
    revalued,
    revalued,
    twice_keyed,
)
