"""Keys and passwords are taken out of everything that is said, whoever said it.

A server, a library or a gateway program may quote a key, or a part of it, in an error of its own.
So what counts is the text at the very end: any six characters of a secret are blotted out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from llmc.config import Settings
from llmc.doctor.findings import Finding

BLOT = "***"
PART = 6
"""Characters in a row that give a secret away."""

SHORTEST = 4
"""A shorter value is no secret, and blotting it out would eat ordinary words."""

_SECRET_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
_PASSWORD = re.compile(r"://[^/\s@:]*:([^/\s@]+)@")


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return the secrets that the environment and the configured addresses hold."""
    named = {entry.api_key_env for entry in settings.chain}
    found = {
        value
        for name, value in settings.environ.items()
        if name in named or _SECRET_NAME.search(name.upper())
    }
    urls = [*settings.environ.values(), *(entry.url or "" for entry in settings.chain)]
    for url in urls:
        found.update(_PASSWORD.findall(url))
    return tuple(value.strip() for value in found if len(value.strip()) >= SHORTEST)


def redacted(findings: Iterable[Finding], secrets: Iterable[str]) -> tuple[Finding, ...]:
    """Return the findings with every secret blotted out."""
    known = tuple(secrets)
    return tuple(
        replace(
            finding,
            section=blot(finding.section, known),
            name=blot(finding.name, known),
            detail=blot(finding.detail, known),
            advice=blot(finding.advice, known),
        )
        for finding in findings
    )


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
