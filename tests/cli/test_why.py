"""`llmc why` tells what a run would do with each span, as a run then does it; it asks nobody."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from llmc import engine
from llmc.cli import main
from llmc.models import SpanMetrics
from llmc.run import routing
from llmc.run.why import Teller
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.presets import RouterSettings
from llmc.store import installation
from llmc.store.store import Store
from llmc.testing.ollama import FakeOllama
from tests.driving import DEAD_URL, LARGE_MODEL, SMALL_MODEL, VALIDATION, environment

SOURCE = (
    "def get(self):\n    return self.x\n\n\n"
    "def work(n):\n    return [n * 2]\n\n\n"
    "def long(n):\n" + "".join(f"    n += {number}\n" for number in range(70)) + "    return n\n"
)


@pytest.fixture
def repo(tmp_path):
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "a.py").write_text(SOURCE)
    return root


def configure(repo, host=None, **flags):
    url = host.url if host else DEAD_URL
    environ = environment({"a": url})
    return load_settings(repo, Flags(**{"retry_wait": 0.0, "trust": True, **flags}), environ)


def tell(settings, path="a.py"):
    """Return what comes next for each span of a file, by its symbol."""
    seal = installation.load_seal(settings.environ, pytest.fail)
    with Store.open_readonly(settings.index, seal=seal) as store:
        stories = Teller(settings, store).tell(store.results.find(path))
    return {story.result.span.symbol: story for story in stories}


def test_it_tells_the_tier_the_rule_that_chose_it_and_the_models(repo):
    settings = configure(repo)
    engine.index(repo, settings)
    told = tell(settings)
    assert {symbol: story.next for symbol, story in told.items()} == {
        "get": "rule",
        "work": "ask",
        "long": "ask",
    }
    assert told["get"].rule == "getter"
    short, long = told["work"].asking, told["long"].asking
    assert (short.tier, short.because, short.models) == (
        "7b",
        "it is short and flat",
        (SMALL_MODEL,),
    )
    assert (long.tier, long.because, long.models) == (
        "14b",
        "it has more than 60 lines",
        (LARGE_MODEL,),
    )
    assert long.metrics.line_count == 72


def test_a_run_does_what_was_told(repo):
    with FakeOllama() as host:
        settings = configure(repo, host)
        engine.index(repo, settings)
        told = tell(settings)
        assert not host.calls
        engine.enrich(repo, settings)
        asked = {story.asking.tier for story in told.values() if story.asking}
        tiers = {LARGE_MODEL: "14b", SMALL_MODEL: "7b"}
        assert {tiers[call.model] for call in host.calls} == asked
        assert len(host.calls) == 2
    after = tell(settings)
    assert {story.next for story in after.values()} == {"nothing"}
    assert after["get"].result.outcome.detail == "getter"


def test_what_failed_rests_and_is_told_how_it_would_be_asked(repo):
    with FakeOllama(lambda call: VALIDATION) as host:
        settings = configure(repo, host)
        engine.index(repo, settings)
        engine.enrich(repo, settings)
    told = tell(settings)
    assert told["work"].next == "rest"
    assert told["work"].asking.tier == "7b"
    assert told["work"].result.failure.retry_at > time.time()
    assert tell(configure(repo, retry_failed=True))["work"].next == "ask"


def test_what_a_run_would_leave_is_told(repo):
    settings = configure(repo)
    engine.index(repo, settings)
    assert tell(configure(repo, cooldown=3600))["work"].because.startswith("its file changed less")
    (repo / "a.py").write_text(SOURCE.replace("n * 2", "n * 3"))
    told = tell(settings)
    assert told["work"].next == "leave"
    assert "changed since" in told["work"].because
    assert told["get"].next == "rule"


def test_with_all_nothing_is_written_by_rule(repo):
    settings = configure(repo, ask_all=True)
    engine.index(repo, settings)
    assert tell(settings)["get"].next == "ask"


@pytest.mark.parametrize(
    ("changes", "tier", "because"),
    [
        ({}, "7b", "it is short and flat"),
        ({"line_count": 61}, "14b", "it has more than 60 lines"),
        ({"nesting_depth": 4}, "14b", "it is nested more than 3 deep"),
        ({"line_count": 100}, "14b", "it has 100 lines or more"),
        ({"tokens_in": 90_000}, "nano", "it takes more than 28000 tokens"),
        ({"node_count": 801}, "nano", "it has more than 800 nodes"),
        ({"schema_depth": 7}, "nano", "its brackets stand more than 6 deep"),
    ],
)
def test_the_rule_that_chose_a_tier_is_named(changes, tier, because):
    measured = {"line_count": 3, "nesting_depth": 1, "node_count": 0, "schema_depth": 0}
    sizes = {"tokens_in": 100, "tokens_out": 1200}
    metrics = SpanMetrics(**{**measured, **sizes, **changes})
    assert routing.explain_tier(metrics, RouterSettings()) == (tier, because)


def test_the_command_prints_it_for_people_and_programs(repo, monkeypatch, capsys):
    monkeypatch.chdir(repo)
    monkeypatch.setenv("OLLAMA_URL", DEAD_URL)
    engine.index(repo, load_settings(repo))
    assert main(["why", "a.py:5"]) == 0
    assert "first at tier 7b, as it is short and flat" in capsys.readouterr().out
    assert main(["why", "a.py:1", "--json"]) == 0
    [record] = json.loads(capsys.readouterr().out)
    assert (record["state"], record["next"], record["rule"]) == ("pending", "rule", "getter")
    assert record["origins"]["symbol"] == "repository"


def test_a_file_that_is_not_indexed_is_told_with_the_reason(repo, monkeypatch, capsys):
    monkeypatch.chdir(repo)
    engine.index(repo, load_settings(repo))
    assert main(["why", "b.py"]) == 2
    assert "no such file" in capsys.readouterr().err
