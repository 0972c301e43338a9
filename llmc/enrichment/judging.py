"""What a model said is held against the facts, and what is left of it is assembled.

What is refuted is not kept; what can't be proven is, and its verdict says so. Nothing that comes
out of here is refuted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llmc.enrichment import arguments, raising, returning
from llmc.enrichment.answers import mend
from llmc.enrichment.asking import BRIEF_SUMMARY_CHARS, SYSTEM, Question
from llmc.enrichment.assembly import Entry, Lines, assemble
from llmc.enrichment.grounds import Ground
from llmc.enrichment.verify import judge_claim, split_claims
from llmc.errors import make_refusal
from llmc.facts.values import Facts
from llmc.models import EVIDENCE_FIELDS, MAX_SUMMARY_WORDS, Enrichment, Evidence, Verdict

_LISTS = EVIDENCE_FIELDS[1:5]
_KINDS = {
    "inputs": arguments.PARAMETER,
    "outputs": returning.KIND,
    "side_effects": returning.EFFECTS,
    "pitfalls": raising.KIND,
}


def make_ground(question: Question) -> Ground:
    """Return what claims about a span are judged by."""
    unknown = Facts("section" if question.lang == "markdown" else question.kind, sound=False)
    return Ground(
        facts=question.facts or unknown,
        source=question.source,
        symbol=question.symbol,
        language=question.lang,
        prompt=SYSTEM,
        known=question.known,
        nearby=question.nearby,
    )


def settle(
    said: Enrichment, question: Question, lines: Sequence[int], payload: object = None
) -> tuple[Enrichment, tuple[Verdict, ...]]:
    """Return the enrichment that is kept of a model's words, and the verdicts on all claims.

    `lines` are the span's first and last. Raises BackendError, with `payload` for what was refused,
    if nothing is left of the summary.
    """
    ground = make_ground(question)
    first, last = lines
    verdicts: list[Verdict] = []
    told = said.summary_120w
    told = mend(told, BRIEF_SUMMARY_CHARS, MAX_SUMMARY_WORDS) if question.brief else told
    summary = _judge_summary(told, ground, verdicts)
    if said.summary_120w and not summary:
        why = "; ".join(found.reason for found in verdicts)
        raise make_refusal("validation", f"its summary is false: {why:.300}", payload)
    kept: dict[str, list[Entry]] = {name: [] for name in _LISTS}
    for entry in assemble(said, question, first, last):
        found = _judge_entry(entry, ground, verdicts)
        if found and all(found.text != other.text for other in kept[entry.field]):
            kept[entry.field].append(found)
    usage = _judge_usage(question.find_usage(), ground, verdicts)
    evidence = [
        *_cite("summary_120w", [(first, last)] if summary else []),
        *(cited for name in _LISTS for cited in _cite(name, [e.lines for e in kept[name]])),
        *_cite("usage_snippet", [(first, last)] if usage else []),
    ]
    texts = {name: [entry.text for entry in kept[name]] for name in _LISTS}
    words = {"summary_120w": summary, "usage_snippet": usage, "evidence": evidence}
    return said.model_copy(update=texts | words), tuple(verdicts)


def _judge_summary(summary: str, ground: Ground, verdicts: list[Verdict]) -> str:
    kept = []
    for claim in split_claims("summary_120w", summary):
        verdict = _judge_words("summary_120w", claim, ground)
        verdicts.append(verdict)
        if verdict.ruling != "refuted":
            kept.append(claim)
    return " ".join(kept)


def _judge_words(field: str, claim: str, ground: Ground) -> Verdict:
    """Return the verdict on a model's words: what is proven of them is never all that they say."""
    verdict = judge_claim(field, claim, ground)
    if verdict.ruling != "proven":
        return verdict
    reason = f"{verdict.reason}; what else is said of it is not proven"
    return replace(verdict, ruling="not provable", reason=reason)


def _judge_entry(entry: Entry, ground: Ground, verdicts: list[Verdict]) -> Entry | None:
    """Return what is kept of an entry, None if that is nothing."""
    if entry.proof is not None:
        if judge_claim(entry.field, entry.text, ground).ruling == "refuted":
            return None  # the rules go by words, and may take code for prose
        kind = _KINDS[entry.field]
        verdicts.append(Verdict(entry.field, entry.text, "proven", kind, entry.proof))
        return entry
    verdict = _judge_words(entry.field, entry.text, ground)
    verdicts.append(verdict)
    if verdict.ruling != "refuted":
        return entry
    return _judge_entry(entry.bare, ground, verdicts) if entry.bare else None


def _judge_usage(usage: str | None, ground: Ground, verdicts: list[Verdict]) -> str | None:
    if not usage or judge_claim("usage_snippet", usage, ground).ruling == "refuted":
        return None
    reason = "it stands in the repository"
    verdicts.append(Verdict("usage_snippet", usage, "proven", "usage", reason))
    return usage


def _cite(field: str, lines: list[Lines]) -> Iterator[Evidence]:
    """Yield the lines of each entry of a field, in their order; once if they are all the same."""
    for pair in lines[:1] if len({*lines}) == 1 else lines:
        yield Evidence.model_construct(field=field, lines=list(pair))
