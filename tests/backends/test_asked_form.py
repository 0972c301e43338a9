"""The schema that is made of a span's facts goes to each server, and its reply is judged."""

from __future__ import annotations

import pytest

from llmc.backends.builder import AttemptCascade
from llmc.backends.cascade import BackendCascade
from llmc.errors import BackendError
from llmc.models import Attempt, Span
from llmc.run.attempts import make_attempt
from llmc.settings.presets import TierPreset
from llmc.testing import BackendConfig, FakeBackend
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.backends.test_backends import ollama, openai
from tests.enrichment.questions import PUT, TAKE, question, request

ITEM = {"lines": [1, 8], "path": "shop/stock.py", "attempt": 1}
ASKED = request(question(TAKE))
PUTS = request(question(PUT))
SAID = {
    "summary": "Takes some of what is on a shelf.",
    "parameters": {"shelf": "where it is", "count": "how many", "force": "take more"},
    "returns": "how many were taken",
    "pitfalls": [],
}
SPAN = Span(1, "shop/stock.py", "python", "put", "function", 1, 2, 0, 9, "sha256:x")


def test_ollama_is_given_the_schema_of_the_span():
    with FakeOllama([SAID]) as fake:
        found, meta = ollama(fake).generate(ASKED, item=ITEM)
    assert fake.calls[0].body["format"] == ASKED.question.schema
    assert found.inputs[:2] == ["shelf: where it is", "count: how many"]
    assert "raises ValueError if shelf.left < count and not force" in found.pitfalls
    assert {verdict.ruling for verdict in meta["verdicts"]} == {"proven", "not provable"}


def test_an_openai_server_is_given_the_schema_of_the_span_for_its_strict_mode():
    with FakeOpenAI([SAID]) as fake:
        found, _ = openai(fake).generate(ASKED, item=ITEM)
    form = fake.calls[0].body["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"] == ASKED.question.schema
    assert found.outputs == ["how many were taken"]


@pytest.mark.parametrize("support", ["json_object", "none", "ignored"])
def test_a_server_without_schemas_is_read_in_the_established_form(support):
    with FakeOpenAI(schema_support=support) as fake:
        found, _ = openai(fake).generate(ASKED, item=ITEM)
    assert found.summary_120w
    assert [entry.partition(":")[0] for entry in found.inputs[:5]] == [
        *("shelf", "count", "notes", "force", "options"),
    ]


def test_a_summary_that_the_code_refutes_fails_the_attempt():
    reply = {"summary": "Returns what is left.", "parameters": {"shelf": "", "count": ""}}
    with FakeOllama([reply]) as fake, pytest.raises(BackendError) as caught:
        ollama(fake).generate(PUTS, item=ITEM)
    assert caught.value.failure_type == "validation"
    assert "it returns nothing" in str(caught.value)


def attempt(result):
    backend = FakeBackend([result], BackendConfig())
    preset = TierPreset("7b", "own:7b", None, {})
    built = AttemptCascade(BackendCascade([backend]), "7b", preset, "attic", None, "gateway")
    return make_attempt(lambda _: built, SPAN, PUTS, Attempt(1, "7b", 0))


def test_what_a_backend_of_ones_own_accepted_is_judged_as_well():
    said = "Puts them back. Returns what is left."
    outcome = attempt({"summary_120w": said, "side_effects": ["Beware."]})
    assert outcome.enrichment.summary_120w == "Puts them back."
    assert outcome.enrichment.side_effects == ["writes shelf.left", "Beware."]
    assert [v.claim for v in outcome.review.verdicts if v.ruling == "refuted"] == [
        "Returns what is left."
    ]


def test_a_backend_of_ones_own_may_be_refused_too():
    outcome = attempt({"summary_120w": "Returns what is left."})
    assert (outcome.failure_type, outcome.enrichment) == ("validation", None)
    assert len(outcome.records) == 1
