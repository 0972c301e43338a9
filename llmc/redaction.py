"""Keys and passwords are taken out of what others say.

A server, a library or a gateway program may quote a key, or a part of it, in an error of its own.
So what counts is the text at the very end: any six characters in a row of a secret are blotted out.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

BLOT = "***"
PART = 6
"""Characters in a row that give a secret away."""

SHORTEST = 4
"""A shorter value is no secret, and blotting it out would eat ordinary words."""

_SECRET_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
_PASSWORD = re.compile(r"://[^/\s@:]*:([^/\s@]+)@")


def secrets_in(
    environ: Mapping[str, str], *, named: Container[str | None] = (), urls: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return what an environment holds under names of secrets, or in addresses as a password.

    `named` are further names of secrets, `urls` further addresses.
    """
    found = {
        value
        for name, value in environ.items()
        if name in named or _SECRET_NAME.search(name.upper())
    }
    for url in (*environ.values(), *urls):
        found.update(_PASSWORD.findall(url))
    return tuple(value.strip() for value in found if len(value.strip()) >= SHORTEST)


def blot(text: str, secrets: Iterable[str]) -> str:
    """Return the text without any part of a secret."""
    hidden = [False] * len(text)
    for secret in secrets:
        size = min(PART, len(secret))
        for start in range(len(secret) - size + 1):
            part = secret[start : start + size]
            place = text.find(part)
            while place >= 0:
                hidden[place : place + size] = [True] * size
                place = text.find(part, place + 1)
    pieces, was_hidden = [], False
    for char, is_hidden in zip(text, hidden, strict=True):
        if not is_hidden:
            pieces.append(char)
        elif not was_hidden:
            pieces.append(BLOT)
        was_hidden = is_hidden
    return "".join(pieces)
