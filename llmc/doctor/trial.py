"""One timed reply, made through the backend that a run would use, about an example of our own."""

from __future__ import annotations

import re

from llmc.doctor.findings import Finding, shorten, tell_seconds
from llmc.doctor.targets import TRIAL_SECONDS, Asked
from llmc.enrichment.asking import Question, build_request
from llmc.facts.values import Facts, Parameter, Returned
from llmc.models import Attempt, AttemptOutcome, Span
from llmc.run.attempts import make_attempt

_CODE = '''\
def with_tax(price, rate=0.2):
    """Return a price with tax, in whole cents."""
    return round(price * (1 + rate), 2)
'''
_SPAN = Span(
    id=0,
    path="example.py",
    lang="python",
    symbol="with_tax",
    kind="function",
    start_line=1,
    end_line=3,
    byte_start=0,
    byte_end=len(_CODE),
    span_hash="sha256:example",
)
_PROVEN = Facts(
    "function",
    parameters=(Parameter("price", "both"), Parameter("rate", "both", default="0.2")),
    returns=Returned("value", (2,)),
    doc='"""Return a price with tax, in whole cents."""',
)
_REFUSED = re.compile(r"HTTP 40[13]\b")


def try_model(asked: Asked, section: str, *, loads: bool = False) -> tuple[Finding, bool]:
    """Ask for one reply; return what came of it, and whether the model can be used at all.

    `loads` says that the model has to be loaded first. Raises ConfigError for what a run would stop
    at.
    """
    question = Question(_CODE, _SPAN.symbol, _SPAN.lang, _SPAN.kind, _PROVEN)
    request = build_request(_SPAN, question)
    outcome = make_attempt(asked.builder, _SPAN, request, Attempt(1, asked.tiers[0], 0))
    name = asked.target.model or outcome.model or asked.target.name
    return judge_trial(outcome, name, section, loads=loads)


def judge_trial(
    outcome: AttemptOutcome, name: str, section: str, *, loads: bool = False
) -> tuple[Finding, bool]:
    """Return what a trial says of a model, and whether a run may use it."""
    if outcome.success:
        return Finding(section, "trial", "ok", f"{name}: {_pace(outcome, loads=loads)}"), True
    if outcome.duration_sec >= TRIAL_SECONDS:  # a run may have more patience
        detail = f"{name}: no reply within {TRIAL_SECONDS:g} s, and a trial waits no longer"
        return Finding(section, "trial", "warn", detail, _TOO_SLOW), True
    detail = shorten(outcome.detail or "no reply")
    if refused := _REFUSED.search(detail):
        detail = detail[: refused.end()]  # what follows may quote the key
    if outcome.failure_type == "runtime":
        advice = _advice(detail)
        return Finding(section, "trial", "fail", f"{name}: {detail}", advice), False
    advice = "a run tries again and promotes; if it happens often, take another model"
    return Finding(section, "trial", "warn", f"{name}: {detail}", advice), True


def leave_untried(section: str) -> Finding:
    """Say why a gateway was not asked for a reply."""
    detail = "not tried: a reply may cost money, and sends a small example"
    return Finding(section, "trial", "info", detail, "llmc doctor --trial-cloud")


def _pace(outcome: AttemptOutcome, *, loads: bool) -> str:
    text = f"a valid reply in {tell_seconds(outcome.duration_sec)}"
    if loads:  # which is once in a run, and would make every reply seem slow
        text += ", the time to load the model included"
    if outcome.tokens_per_sec:
        text += f", {outcome.tokens_per_sec:,.0f} tokens/s"
    return text


_TOO_SLOW = "too slow: does the model fit the GPU? a smaller model or quantization is faster"


def _advice(detail: str) -> str:
    slow = "deadline" in detail or "no complete reply" in detail or "no answer in" in detail
    return _TOO_SLOW if slow else ""
