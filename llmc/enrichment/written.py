"""The enrichment of a span of whose body all is said by saying what stands there: no model does.

Each claim is read off the parser's tree, so it is proven; what the code is for, nobody has said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llmc.enrichment.asking import Question
from llmc.enrichment.instructions import find_instructions, fold
from llmc.enrichment.judging import settle
from llmc.errors import BackendError
from llmc.facts.plain import Plain
from llmc.facts.steps import Step
from llmc.facts.values import Facts, How
from llmc.models import MAX_SUMMARY_CHARS, MAX_SUMMARY_WORDS, Enrichment, Evidence, Span, Verdict
from llmc.redaction import secrets

Written = tuple[Enrichment, tuple[Verdict, ...]]


def write_enrichment(plain: Plain, question: Question, span: Span) -> Written | None:
    """Return what is proven of a plain span, in the fields that a model fills otherwise.

    None where that takes more words than fit, or where the code says something to people or
    programs that must not be handed on; also if a claim reads as if it were false.
    """
    facts = question.facts
    if facts is None or any(map(_speaks, plain.steps)):
        return None
    summary = _summarise(plain, facts, question.symbol)
    if len(summary) > MAX_SUMMARY_CHARS or len(summary.split()) > MAX_SUMMARY_WORDS:
        return None
    given = [_name_output(step) for step in plain.steps if step.what.startswith("give")]
    said = Enrichment(summary_120w=summary, outputs=given if _gives_value(facts) else [])
    try:
        enrichment, verdicts = settle(said, question, (span.start_line, span.end_line))
    except BackendError:
        return None
    if any(verdict.ruling == "refuted" for verdict in verdicts):
        return None
    if plain.rule == "failure":  # what is declared to come back never does
        enrichment = enrichment.model_copy(update={"outputs": []})
        verdicts = tuple(verdict for verdict in verdicts if verdict.field != "outputs")
    lines = [span.start_line + row for row in plain.body]
    evidence = [
        Evidence(field=cited.field, lines=lines) if cited.field == "summary_120w" else cited
        for cited in enrichment.evidence
        if getattr(enrichment, cited.field)
    ]
    reason = f"all that stands there, a {plain.rule}"
    proven = tuple(
        verdict
        if verdict.ruling == "proven"
        else replace(verdict, ruling="proven", kind="facts", reason=reason)
        for verdict in verdicts
    )
    return enrichment.model_copy(update={"evidence": evidence}), proven


def _gives_value(facts: Facts) -> bool:
    return facts.returns.what in ("value", "both")


def _speaks(step: Step) -> bool:
    """Tell whether code that would be quoted holds an instruction, or a likely secret."""
    text = f"{step.target} {step.text}"
    return bool(secrets.find(text)) or any(True for _ in find_instructions(fold(text)))


def _name_output(step: Step) -> str:
    if step.what == "give":
        return f"the {'constant' if step.is_constant else 'value'} `{step.text}`"
    return f"the result of `{step.text}`"


def _summarise(plain: Plain, facts: Facts, symbol: str) -> str:
    what = _join(list(_tell(plain.steps, facts))) if plain.steps else _tell_stub(facts)
    decorators = [decorator.partition("(")[0] for decorator in facts.decorators]
    lasts = {decorator.rpartition(".")[2] for decorator in decorators}
    for decorator in decorators:
        name, _, role = decorator.rpartition(".")
        if role == "setter" and name:
            return f"The setter of the property `{name}`: {what}."
    if "overload" in lasts:
        return f"One of the overloads of `{symbol.rpartition('.')[2]}`: {what}."
    if lasts & {"property", "cached_property"}:
        return f"A property: {what}."
    if lasts & {"abstractmethod", "abstractproperty"}:
        return f"Abstract: {what}."
    return f"{what[0].upper()}{what[1:]}."


def _tell_stub(facts: Facts) -> str:
    bases = [f"`{base}`" for base in facts.bases if "`" not in base]
    if facts.kind in ("function", "method") or not bases:
        return "its body is empty"
    return f"derives from {_join(bases)}, and its own body is empty"


def _tell(steps: Sequence[Step], facts: Facts) -> Iterator[str]:
    """Yield what each step does."""
    for step in steps:
        match step.what:
            case "set":
                yield f"sets `{step.target}` to `{step.text}`"
            case "initialize":
                value = f" with `{step.text}`" if step.text else ""
                yield f"initializes `{step.target}`{value}"
            case "call":
                yield f"{'only ' if len(steps) == 1 else ''}calls `{step.text}`"
            case "give" if facts.returns.what == "nothing":
                yield f"does nothing and returns {step.text}"
            case "give":
                yield f"{'always ' if step.is_constant else ''}returns `{step.text}`"
            case "give a call":
                yield f"returns the result of `{step.text}`"
            case "leave":
                yield "returns at once"
            case "fail":
                yield _tell_failure(step, facts)


def _tell_failure(step: Step, facts: Facts) -> str:
    """Say how a step leaves, as the facts have it."""
    for word in ("raise ", "throw "):
        if step.text.startswith(word):
            return f"only raises `{step.text.removeprefix(word).removeprefix('new ')}`"
    how: How = facts.raises[0].how if facts.raises else "panics"
    return f"only {_LEAVES[how]}, by `{step.text}`"


_LEAVES: dict[How, str] = {
    "raises": "raises",
    "returns": "fails",
    "panics": "panics",
    "exits": "ends the process",
}


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
