"""Every claim of an enrichment is held against what the parser proved, and against the text.

Three verdicts: a claim is *proven*, *refuted*, or *not provable*, with a reason. What is refuted
contradicts a fact, names what is nowhere, repeats the prompt or is in another language. The rest
may be true: a callee may raise what it says, and a summary is prose. Nothing here asks a model or
keeps anything; the same claim has the same verdict every time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmc.enrichment import wording
from llmc.enrichment.arguments import check_arity, check_input, check_usage
from llmc.enrichment.grounds import Finding, Ground, leave, refute
from llmc.enrichment.raising import check_raising
from llmc.enrichment.returning import check_async, check_effects, check_returning
from llmc.models import Enrichment, Ruling, Verdict

FIELDS = ("summary_120w", "inputs", "outputs", "side_effects", "pitfalls", "usage_snippet")
MAX_CLAIM_CHARS = 2_000
"""Of a claim that are looked at; none is longer that a field of an enrichment may hold."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(])")
_ORDER: dict[Ruling, int] = {"refuted": 0, "proven": 1, "not provable": 2}


def verify(enrichment: Enrichment, ground: Ground) -> tuple[Verdict, ...]:
    """Return a verdict on each claim of an enrichment, in the order of its fields."""
    return tuple(
        judge_claim(field, claim, ground)
        for field in FIELDS
        for claim in split_claims(field, getattr(enrichment, field))
    )


def split_claims(field: str, value: str | list[str] | None) -> list[str]:
    """Return the claims that a field holds."""
    if not value:
        return []
    if isinstance(value, list):
        return value
    return _SENTENCE.split(value) if field == "summary_120w" else [value]


def judge_claim(field: str, claim: str, ground: Ground) -> Verdict:
    """Return the verdict on one claim: the first that refutes it, else the first that proves it."""
    findings = sorted(_findings(field, claim[:MAX_CLAIM_CHARS], ground), key=_rank)
    found = findings[0] if findings else leave("prose", "nothing proven is said of it")
    return Verdict(field, claim, found.ruling, found.kind, found.reason)


def _rank(finding: Finding) -> int:
    return _ORDER[finding.ruling]


def _findings(field: str, claim: str, ground: Ground) -> Iterator[Finding]:
    yield from _check_wording(field, claim, ground)
    if field == "usage_snippet":
        yield from check_usage(claim, ground)
        return
    if field == "inputs":
        yield from check_input(claim, ground)
        return
    yield from check_raising(claim, ground)
    if field in ("summary_120w", "outputs"):
        yield from check_returning(claim, ground, is_output=field == "outputs")
    yield from check_arity(claim, ground)
    yield from check_async(claim, ground)
    yield from check_effects(claim, ground, is_effect=field == "side_effects")


def _check_wording(field: str, claim: str, ground: Ground) -> Iterator[Finding]:
    borrowed = wording.find_borrowed(claim, ground.prompt, f"{ground.source}\n{ground.file}")
    if borrowed:
        yield refute("parroting", f"{borrowed!r} is from the prompt")
    if field == "usage_snippet":
        return
    if language := wording.find_foreign_language(claim, ground.source):
        yield refute("language", f"it is in {language}")
    for name in wording.find_names(claim):
        if not wording.is_known(name, *ground.names):
            yield refute("identifier", f"{name} is nowhere in the text, its file or the index")
