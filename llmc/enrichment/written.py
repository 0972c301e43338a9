"""The enrichment of a span of whose body all is said by saying what stands there: no model does.

Every claim is read off the parser's tree, so it is proven; what the code is for, nobody has said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmc.enrichment.instructions import find_instructions, fold
from llmc.enrichment.verify import FIELDS, split_claims
from llmc.facts.plain import Plain, Step
from llmc.facts.values import Facts, Parameter
from llmc.models import (
    MAX_SUMMARY_CHARS,
    MAX_SUMMARY_WORDS,
    Enrichment,
    Evidence,
    Span,
    Verdict,
)
from llmc.redaction import secrets

KIND = "facts"
"""Of the verdicts on what is written here."""

_MARKS = {"rest": "*", "keywords": "**"}


def write_enrichment(plain: Plain, facts: Facts, span: Span) -> Enrichment | None:
    """Return what is proven of a plain span, in the fields that a model fills otherwise.

    None if its code says something to people or programs that must not be handed on.
    """
    if any(_speaks(step) for step in plain.steps):
        return None
    summary = _summarise(plain, facts, span)
    if len(summary) > MAX_SUMMARY_CHARS or len(summary.split()) > MAX_SUMMARY_WORDS:
        return None
    outputs = [_name_output(step) for step in plain.steps if step.what.startswith("give")]
    found = {
        "summary_120w": summary,
        "inputs": [_describe(entry) for entry in _list_given(facts)],
        "outputs": outputs if facts.returns.what != "nothing" else [],
        "side_effects": list(_list_effects(plain, facts)),
        "pitfalls": [
            f"Always {_fail(step, facts)}." for step in plain.steps if step.what == "fail"
        ],
    }
    return Enrichment(**found, evidence=list(_cite(found, plain, span.start_line)))


def prove_all(enrichment: Enrichment, plain: Plain) -> tuple[Verdict, ...]:
    """Return the verdict on each claim of what was written here."""
    reason = f"the parser read it off a {plain.rule}"
    return tuple(
        Verdict(field, claim, "proven", KIND, reason)
        for field in FIELDS
        for claim in split_claims(field, getattr(enrichment, field))
    )


def _speaks(step: Step) -> bool:
    """Tell whether code that would be quoted holds an instruction, or a likely secret."""
    text = f"{step.target} {step.text}"
    return bool(secrets.find(text)) or any(True for _ in find_instructions(fold(text)))


# -- the summary -----------------------------------------------------------------------------


def _summarise(plain: Plain, facts: Facts, span: Span) -> str:
    what = _join(list(_tell(plain.steps, facts))) if plain.steps else _tell_stub(facts)
    decorators = [decorator.partition("(")[0] for decorator in facts.decorators]
    lasts = {decorator.rpartition(".")[2] for decorator in decorators}
    for decorator in decorators:
        name, _, role = decorator.rpartition(".")
        if role == "setter" and name:
            return f"The setter of the property `{name}`: {what}."
    if "overload" in lasts:
        return f"One of the overloads of `{span.symbol.rpartition('.')[2]}`: {what}."
    if lasts & {"property", "cached_property"}:
        return f"A property: {what}."
    if lasts & {"abstractmethod", "abstractproperty"}:
        return f"Abstract: {what}."
    return f"{what[0].upper()}{what[1:]}."


def _tell_stub(facts: Facts) -> str:
    if facts.kind in ("function", "method"):
        return "its body is empty"
    bases = [f"`{base}`" for base in facts.bases if "`" not in base]
    return (
        f"derives from {_join(bases)}, and its own body is empty"
        if bases
        else ("its body is empty")
    )


def _tell(steps: Sequence[Step], facts: Facts) -> Iterator[str]:
    for step in steps:
        match step.what:
            case "set":
                yield f"sets `{step.target}` to `{step.text}`"
            case "initialize":
                value = f" with `{step.text}`" if step.text else ""
                yield f"initializes `{step.target}`{value}"
            case "call":
                yield f"calls `{step.text}`" if len(steps) > 1 else f"only calls `{step.text}`"
            case "give" if facts.returns.what == "nothing":
                yield f"does nothing and returns {step.text}"
            case "give":
                yield (
                    f"always returns `{step.text}`"
                    if step.is_constant
                    else (f"returns `{step.text}`")
                )
            case "give a call":
                yield f"returns the result of `{step.text}`"
            case "fail":
                yield f"only {_fail(step, facts)}"


def _fail(step: Step, facts: Facts) -> str:
    """Say how a step leaves, as the facts have it."""
    how = facts.raises[0].how if facts.raises else "raises"
    for word in ("raise ", "throw "):
        if step.text.startswith(word):
            return f"raises `{step.text.removeprefix(word)}`"
    return f"ends the process by `{step.text}`" if how == "exits" else f"panics: `{step.text}`"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


# -- the other fields ------------------------------------------------------------------------


def _list_given(facts: Facts) -> list[Parameter]:
    """Return what a caller gives, but for what has no name to tell it by."""
    return [
        entry
        for entry in facts.parameters or ()
        if entry.kind != "receiver" and entry.name not in ("_", "...")
    ]


def _describe(parameter: Parameter) -> str:
    text = f"{_MARKS.get(parameter.kind, '')}{parameter.name}"
    if parameter.annotation:
        text += f": {parameter.annotation}"
    return f"{text} = {parameter.default}" if parameter.default else text


def _name_output(step: Step) -> str:
    if step.what == "give":
        return f"The {'constant' if step.is_constant else 'value'} `{step.text}`"
    return f"The result of `{step.text}`"


def _list_effects(plain: Plain, facts: Facts) -> Iterator[str]:
    yield from (f"Sets `{step.target}`" for step in plain.steps if step.what == "set")
    for touch in facts.touches:
        yield f"Has to do with {touch.resource}: `{touch.name}`"


def _cite(found: dict[str, object], plain: Plain, first: int) -> Iterator[Evidence]:
    for field in FIELDS:
        if found.get(field):
            start, end = plain.head if field == "inputs" else plain.body
            yield Evidence(field=field, lines=[first + start, first + end])
