"""Every way in which a host is known to fail: what the user is told, and what the records say.

One span, one host that fails in the same way on every call, the `llmc` command's own rules.
"""

import json
from dataclasses import dataclass, replace

import pytest

from llmc import engine
from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.events import SpanFailed
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.store.store import Store
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama

TIMEOUT_SEC = 1.0


@dataclass(frozen=True)
class Case:
    """A fault, the kind it is recorded as, and words that tell the user what happened."""

    fault: object
    kind: str
    says: str


CASES = [
    Case(faults.HttpStatus(400), "runtime", "answered HTTP 400"),
    Case(faults.HttpStatus(500), "runtime", "answered HTTP 500"),
    Case(faults.QueueFull(), "runtime", "answered HTTP 503"),
    Case(faults.RateLimited(60), "runtime", "answered HTTP 429"),
    Case(faults.SlowHeaders(30), "runtime", "by the deadline"),
    Case(faults.SlowTokens(2), "runtime", "by the deadline"),
    Case(faults.ModelSwap(30), "runtime", "by the deadline"),
    Case(faults.DropMidBody(), "runtime", "Connection reset"),
    Case(faults.HalfBody(), "runtime", "bytes are missing"),
    Case(faults.NotJson(), "runtime", "sent a web page"),
    Case(faults.JsonNotObject(), "runtime", "not an object"),
    Case(faults.BlankBody(), "runtime", "no reply text"),
    Case(faults.NotUtf8(), "runtime", "not JSON"),
    Case(faults.EmptyReply(), "runtime", "no reply text"),
    Case(faults.StreamError(), "runtime", "broke off"),
    Case(faults.CutOutput(), "truncation", "stops before its JSON ends"),
    Case(faults.Prose(), "truncation", "stops before its JSON ends"),
    Case(faults.EndlessWhitespace(), "truncation", "white space"),
    Case(faults.RepetitionRunaway(phrase="and so on "), "truncation", "repeats itself"),
    Case(faults.RepetitionStop(), "truncation", "ended the stream without an end"),
    Case(faults.WrongSchema(), "validation", "none of the fields"),
]


@pytest.fixture
def failing(repo, clean_environ, request):
    """Enrich a repository of one span on a host with the fault; return all that can be seen."""
    (repo / "small.py").write_text("def only(x):\n    return x + 1\n")
    with FakeOllama(lambda call: request.param.fault) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={fake.url}"
        settings = load_settings(repo, Flags(retries=2, retry_wait=0.0), clean_environ)
        settings = replace(settings, router=replace(settings.router, enabled=False))
        builder = CascadeBuilder(settings, CallPolicy(timeout=TIMEOUT_SEC))
        engine.index(repo, settings)
        seen = []
        report = engine.enrich(repo, settings, hooks=(seen.append,), builder=builder)
        return request.param, settings, report, seen, len(fake.calls)


@pytest.mark.parametrize("failing", CASES, indirect=True, ids=lambda c: type(c.fault).__name__)
def test_a_fault_ends_as_a_failed_span_that_says_why(failing):
    case, settings, report, seen, calls = failing
    [failed] = [event.report for event in seen if isinstance(event, SpanFailed)]
    assert report.failed == {case.kind: 1}
    assert case.says in failed.last.detail
    assert 2 <= calls <= 6

    [ledger] = [json.loads(line) for line in (settings.logs / "run_ledger.log").open()]
    assert (ledger["result"], ledger["reason"], ledger["attempts"]) == ("fail", case.kind, 2)
    [metrics] = [json.loads(line) for line in settings.metrics_log.open()]
    details = metrics["attempt_details"]
    assert [detail["failure_type"] for detail in details] == [case.kind] * 2
    assert case.says in details[-1]["error"]
    assert {detail["host"] for detail in details} == {"attic"}

    with Store.open(settings.index_path) as store:
        [shown] = store.results.find("small.py")
    assert (shown.outcome.result, shown.outcome.reason) == ("fail", case.kind)
    assert case.says in shown.outcome.detail


def test_every_fault_of_the_fakes_has_a_case():
    harmless = {"ThinkTags", "ThinkingField"}  # an answer behind or among thoughts is an answer
    of_the_host = {"ModelNotFound", "DropConnection"}  # no span fails for it: see test_turned_away
    there = {type(case.fault).__name__ for case in CASES} | of_the_host
    assert {fault.__name__ for fault in set(map(type, faults.FAULTS.values()))} <= there | harmless
