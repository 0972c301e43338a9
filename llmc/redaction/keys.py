"""Keys and passwords are taken out of what others say, where it enters.

A server, a library or a gateway program may quote a key, or a part of it, in an error of its own.
A local server takes any key, and people give it a word: `ollama`, `none`. Such a word is no secret,
and neither are the words in a key (`sk-proj-`): blotting them out would eat ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlsplit

from llmc.redaction.traces import find_traces, mark_random

BLOT = "***"

SHORTEST = 6
"""A shorter value is no secret, whatever it is made of."""

SHORTEST_WORDS = 8
"""A value of nothing but words is no secret either if it is shorter than this."""

_SECRET_NAME = re.compile(r"(^|[_-])(KEY|TOKEN|SECRET|PASSWD|PASS|PAT)$|(APIKEY|PASSWORD)$")
_SIGNED = re.compile(r"://([^/\s@:]*):?([^/\s]*)@")


def find_secrets(
    environ: Mapping[str, str], *, named: Container[str | None] = (), urls: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return what an environment holds under names of secrets, or in addresses to sign in with.

    `named` are further names of secrets, `urls` further addresses.
    """
    found = [
        value
        for name, value in environ.items()
        if name in named or _SECRET_NAME.search(name.upper())
    ]
    for url in (*environ.values(), *urls):
        found += find_url_secrets(url)
    return tuple(dict.fromkeys(value.strip() for value in found if is_secret(value)))


def find_url_secrets(url: str) -> list[str]:
    """Return the password in an address, as it stands and as it is meant, and the keys it names.

    A user without a password is a key.
    """
    signed = [password or user for user, password in _SIGNED.findall(url)]
    try:
        query = parse_qsl(urlsplit(url).query) if "?" in url else []
    except ValueError:
        query = []
    named = [value for name, value in query if _SECRET_NAME.search(name.upper())]
    return [*signed, *map(unquote, signed), *named]


@lru_cache(maxsize=256)
def is_secret(value: str) -> bool:
    """Tell whether a value that stands where a key does is one, and not a word in its place."""
    value = value.strip()
    return len(value) >= (SHORTEST if any(mark_random(value)) else SHORTEST_WORDS)


class Redaction:
    """The secrets that are known, to be taken out of texts. Safe to share between threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._values = set(secrets)

    def learn(self, *values: str) -> None:
        """Know more values, of which those count that are secrets."""
        self._values.update(values)

    def __call__(self, text: str) -> str:
        """Return a text without them."""
        return blot_keys(text, [value for value in self._values.copy() if is_secret(value)])


def blot_keys(text: str, secrets: Iterable[str]) -> str:
    """Return the text without any part of a secret, however it is written there."""
    known = [secret.strip() for secret in secrets]
    if not known or not text:
        return text
    hidden = bytearray(len(text))
    for start, end in find_traces(text, known):
        hidden[start:end] = b"*" * (end - start)
    pieces = re.finditer(rb"\0+|\*+", hidden)
    return "".join(BLOT if hidden[p.start()] else text[slice(*p.span())] for p in pieces)
