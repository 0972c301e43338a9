"""No finding of the doctor shows a key or a password, whoever said it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from llmc.config import Settings
from llmc.doctor.findings import Finding
from llmc.redaction import blot, secrets_in


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return the secrets that the environment and the configured addresses hold."""
    return secrets_in(
        settings.environ,
        named={entry.api_key_env for entry in settings.chain},
        urls=[entry.url or "" for entry in settings.chain],
    )


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
