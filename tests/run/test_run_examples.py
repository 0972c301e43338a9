"""What a run stores as an example of use is a real call, whatever a model says."""

from __future__ import annotations

import json
import subprocess

import pytest

from llmc import engine
from llmc.run.worklist import Rules
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.store.reader import Reader
from llmc.testing.ollama import FakeOllama

FILES = {
    "shop/stock.py": "def take(shelf, count):\n    return shelf.left - count\n\n\n"
    "def nobody_calls(shelf):\n    shelf.left = 0\n    return shelf\n",
    "tests/test_stock.py": "from shop.stock import take\n\n\ndef test_it(shelf):\n"
    "    left = take(shelf, 2)\n    assert left\n",
}
INVENTED = {
    "summary_120w": "Takes things from a shelf.",
    "inputs": [],
    "outputs": [],
    "side_effects": [],
    "pitfalls": [],
    "usage_snippet": "take(my_shelf, 7)",
}


@pytest.fixture
def repo(tmp_path):
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    for path, text in FILES.items():
        (repo / path).parent.mkdir(exist_ok=True)
        (repo / path).write_text(text)
    return repo


def run(repo, tmp_path, reply, rules=None):
    """Enrich it all, and return what is stored as example, by symbol."""
    with FakeOllama(lambda _: reply) as fake:
        environ = {
            "OLLAMA_URL": fake.url,
            "XDG_CONFIG_HOME": str(tmp_path / "home"),
            "PATH": "/usr/bin:/bin",
        }
        settings = load_settings(repo, Flags(retry_wait=0.0), environ)
        engine.index(repo, settings)
        report = engine.enrich(repo, settings, rules=rules)
    assert report.failed == {}
    with Reader.open_readonly(settings.index) as index:
        found = index.results.list_latest(10)
    return {result.span.symbol: result.enrichment["usage_snippet"] for result in found}


def test_a_real_call_is_stored_with_its_place(repo, tmp_path):
    stored = run(repo, tmp_path, json.dumps(INVENTED))
    assert stored["take"] == "# tests/test_stock.py:5\nleft = take(shelf, 2)"


def test_where_nobody_calls_nothing_is_stored_though_a_model_writes_something(repo, tmp_path):
    stored = run(repo, tmp_path, json.dumps(INVENTED))
    assert stored["nobody_calls"] is None


def test_the_drivers_rules_keep_what_a_model_writes(repo, tmp_path):
    stored = run(repo, tmp_path, json.dumps(INVENTED), Rules(by_facts=False))
    assert stored["take"] == INVENTED["usage_snippet"]
