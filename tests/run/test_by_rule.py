"""Spans of which the parser says all are written by rule: no model is asked about them."""

from __future__ import annotations

import json
import subprocess

import pytest

from llmc import engine
from llmc.events import AttemptFinished, SpanEnriched, SpanKept, SpanStarted
from llmc.records.audit import examine
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.store.reader import Reader
from llmc.testing.ollama import FakeOllama
from tests.driving import DEAD_URL, Repo, drive, environment

SOURCE = """
class Shelf:
    def __init__(self, size):
        self.size = size

    @property
    def room(self):
        return self.size

    def put(self, thing, count):
        if count > self.size:
            raise ValueError("full")
        self.size -= count
        return [thing] * count

    def put_one(self, thing):
        return self.put(thing, 1)


class FullError(ValueError):
    pass
"""
BY_RULE = {"Shelf.__init__", "Shelf.room", "Shelf.put_one", "FullError"}
ASKED = {"Shelf", "Shelf.put"}


@pytest.fixture
def repo(tmp_path):
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "shelf.py").write_text(SOURCE)
    return Repo(root)


def configure(repo, host, **flags):
    hosts = {"a": host} if host else None
    environ = environment(hosts, {} if hosts else {"OLLAMA_URL": DEAD_URL})
    return load_settings(repo.root, Flags(**{"retry_wait": 0.0, "trust": True, **flags}), environ)


def run(repo, host, *hooks, **flags):
    """Index and enrich; return the report and the events."""
    settings = configure(repo, host, **flags)
    events = []
    engine.index(repo.root, settings)
    report = engine.enrich(repo.root, settings, hooks=(events.append, *hooks))
    return report, events


def stored(repo):
    """Return the model of each enriched span by its symbol."""
    query = "SELECT s.symbol, e.model FROM enrichments e JOIN spans s USING (span_hash)"
    return {row["symbol"]: row["model"] for row in repo.query(query)}


def lines(repo, log):
    return [json.loads(line) for line in (repo.root / "logs" / log).read_text().splitlines()]


def test_no_request_is_made_for_what_the_parser_says_all_of(repo):
    with FakeOllama() as host:
        report, events = run(repo, host)
        assert len(host.calls) == len(ASKED)
    assert (report.enriched, report.by_rule, report.left) == (len(ASKED), len(BY_RULE), 0)
    models = stored(repo)
    assert {symbol for symbol, model in models.items() if model == "facts"} == BY_RULE
    assert models.keys() == BY_RULE | ASKED
    assert {event.span.symbol for event in events if isinstance(event, SpanStarted)} == ASKED
    assert {event.span.symbol for event in events if isinstance(event, AttemptFinished)} == ASKED


def test_the_logs_have_a_line_for_it_without_an_attempt(repo):
    with FakeOllama() as host:
        run(repo, host)
    for log in ("run_ledger.log", "enrichment_metrics.jsonl"):
        made = [line for line in lines(repo, log) if line["attempts"] == 0]
        assert len(made) == len(BY_RULE)
        assert {line["router_tier"] for line in made} == {"rule"}
        assert all(line["schema_ok"] for line in made)
    assert {line["result_model"] for line in lines(repo, "run_ledger.log")} > {"facts"}
    outcomes = repo.query("SELECT * FROM llmc_outcomes WHERE attempts = 0")
    assert {row["detail"] for row in outcomes} == {"constructor", "getter", "delegation", "stub"}
    with Reader.open_readonly(repo.index) as reader:
        audit = examine(reader, repo.root, repo.root / "logs" / "enrichment_metrics.jsonl")
    assert audit.agrees
    assert not audit.gaps


def test_a_limit_counts_what_models_described_alone(repo):
    with FakeOllama() as host:
        report, _ = run(repo, host, limit=1)
        assert len(host.calls) == 1
    assert report.enriched == 1
    assert report.left + report.by_rule + report.enriched == len(BY_RULE | ASKED)


def test_with_all_models_are_asked_anyway(repo):
    with FakeOllama() as host:
        report, _ = run(repo, host, ask_all=True)
        assert len(host.calls) == len(BY_RULE | ASKED)
    assert (report.enriched, report.by_rule) == (len(BY_RULE | ASKED), 0)
    assert "facts" not in stored(repo).values()


def test_with_all_models_are_asked_about_what_was_written_by_rule_before(repo):
    with FakeOllama() as host:
        run(repo, host)
        report, _ = run(repo, host, ask_all=True)
        assert len(host.calls) == len(BY_RULE | ASKED)
    assert report.enriched == len(BY_RULE)
    assert "facts" not in stored(repo).values()


def test_with_all_nothing_that_came_from_elsewhere_is_forgotten(repo):
    with FakeOllama() as host:
        run(repo, host)
        repo.execute("UPDATE llmc_origins SET installation = 'another'")
        report, _ = run(repo, host, ask_all=True)
    assert report.enriched == 0
    assert list(stored(repo).values()).count("facts") == len(BY_RULE)


def test_a_second_run_finds_nothing_to_do(repo):
    with FakeOllama() as host:
        run(repo, host)
        before = len(host.calls)
        report, events = run(repo, host)
        assert len(host.calls) == before
    assert (report.enriched, report.by_rule) == (0, 0)
    assert not [event for event in events if isinstance(event, SpanEnriched)]


def test_what_must_stay_here_is_written_by_rule_too(repo):
    (repo.root / ".llmc-local").write_text("*.py\n")
    gateway = {"OPENAI_BASE_URL": "https://models.example/v1", "OPENAI_API_KEY": "k"}
    settings = load_settings(
        repo.root, Flags(backend="gateway", trust=True), environment(None, gateway)
    )
    engine.index(repo.root, settings)
    events = []
    report = engine.enrich(repo.root, settings, hooks=(events.append,))
    assert {event.span.symbol for event in events if isinstance(event, SpanKept)} == ASKED
    assert (report.by_rule, report.kept) == (len(BY_RULE), len(ASKED))
    assert stored(repo).keys() == BY_RULE


def test_it_is_written_before_a_run_gives_up_on_hosts_that_are_away(repo):
    report, _ = run(repo, None, host_patience=0)
    assert report.stopped
    assert report.enriched == 0
    assert stored(repo).keys() <= BY_RULE
    assert report.by_rule == len(stored(repo))


def test_the_batch_driver_asks_about_every_span(repo):
    with FakeOllama() as host:
        engine.index(repo.root, configure(repo, host))
        drive(repo, hosts={"a": host})
        assert len(host.calls) == len(BY_RULE | ASKED)
    assert "facts" not in stored(repo).values()


def test_a_plan_has_no_prompt_for_it(repo):
    settings = configure(repo, None)
    engine.index(repo.root, settings)
    assert {span.symbol for span, _, _ in engine.plan(repo.root, settings)} == ASKED
    asking = configure(repo, None, ask_all=True)
    assert {span.symbol for span, _, _ in engine.plan(repo.root, asking)} == BY_RULE | ASKED


def test_what_has_changed_since_is_not_written_by_rule(repo):
    settings = configure(repo, None)
    engine.index(repo.root, settings)
    (repo.root / "shelf.py").write_text(SOURCE.replace("self.size = size", "self.size = tidy"))
    with FakeOllama() as host:
        engine.enrich(repo.root, configure(repo, host))
    assert "Shelf.__init__" not in stored(repo)
