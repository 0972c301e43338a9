"""A model is loaded with one set of options at a host, whatever the tier that asks for it."""

import pytest

from llmc.run.selection import select
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.presets import count_cores
from llmc.settings.targets import list_targets
from llmc.testing.ollama import FakeOllama, Reply
from tests import driving, running

GOOD, REFUSED = Reply(), Reply(text='{"surprise": 1}')
ONE_MODEL = "model: m:1b\nfallback_model: m:1b\n"


def write_presets(repo, text):
    (repo / "presets").mkdir()
    (repo / "presets/enrich_7b_ollama.yaml").write_text(text)


def options_of(repo, environ, tier, rank=0):
    settings = load_settings(repo, Flags(trust=True), environ)
    return list_targets(settings)[tier][rank].options


def entry(name, **words):
    lines = "".join(f"{key} = {value}\n" for key, value in words.items())
    return f'[[enrichment.chain]]\nname = "{name}"\n{lines}'


def test_a_model_that_serves_both_tiers_is_loaded_once(tmp_path, clean_environ):
    repo = driving.make_repo(tmp_path / "repo", *map(driving.plain, "abcd"))
    repo.write("presets/enrich_7b_ollama.yaml", ONE_MODEL)
    tried = {}

    def answer(call):
        name = driving.marked(call.prompt)
        tried[name] = tried.get(name, 0) + 1
        return GOOD if tried[name] > 2 else REFUSED

    with FakeOllama(answer) as host:
        environ = clean_environ | {"OLLAMA_URL": host.url}
        settings = load_settings(repo.root, Flags(retry_wait=0.0), environ)
        ran = running.enrich(repo, select(settings).settings)
        assert (ran.report.enriched, len(host.calls)) == (4, 12)
        assert host.loads == 1
    assert {attempt.outcome.attempt.tier for attempt in ran.attempts("a")} == {"7b", "14b"}


def test_two_models_keep_what_their_presets_say(repo, clean_environ):
    write_presets(repo, "model: m:1b\nfallback_model: n:2b\n")
    batches = [options_of(repo, clean_environ, tier)["num_batch"] for tier in ("7b", "14b")]
    assert batches == [48, 24]


def test_the_same_model_at_two_hosts_is_loaded_as_each_hosts_entries_say(repo, clean_environ):
    (repo / "llmc.toml").write_text(
        entry("a", url='"http://127.0.0.1:1"', model='"m"', options="{num_ctx = 1024}")
        + entry("b", url='"http://127.0.0.1:2"', model='"m"', options="{num_ctx = 2048}")
    )
    found = [options_of(repo, clean_environ, "7b", rank)["num_ctx"] for rank in (0, 1)]
    assert found == [1024, 2048]


def test_what_an_entry_says_holds_for_both_tiers_and_of_contexts_the_largest(repo, clean_environ):
    here = {"url": '"http://127.0.0.1:1"', "model": '"m"'}
    (repo / "llmc.toml").write_text(
        entry("small", **here, options="{num_ctx = 4096, num_gpu = 5, temperature = 0.5}")
        + entry("large", **here, routing_tier='"14b"', options="{num_ctx = 8192, main_gpu = 1}")
    )
    small, large = (options_of(repo, clean_environ, tier) for tier in ("7b", "14b"))
    load = {"num_ctx": 8192, "num_batch": 48, "num_gpu": 5, "main_gpu": 1}
    assert {name: small[name] for name in load} == load
    assert large | {"temperature": 0.5} == small
    assert "temperature" not in large


@pytest.mark.parametrize(
    ("url", "preset", "expected"),
    [
        ("http://localhost:1", "", count_cores()),
        ("http://gpu:1", "", None),
        ("http://gpu:1", "num_thread: 3", 3),
    ],
    ids=["this machine", "another machine", "as the user says"],
)
def test_our_number_of_cores_goes_to_no_other_machine(repo, clean_environ, url, preset, expected):
    write_presets(repo, preset)
    environ = clean_environ | {"OLLAMA_URL": url}
    assert options_of(repo, environ, "7b").get("num_thread") == expected


def test_an_entrys_number_of_threads_goes_where_it_says(repo, clean_environ):
    (repo / "llmc.toml").write_text(
        entry("a", url='"http://gpu:1"', model='"m"', options="{num_thread = 7}")
    )
    assert options_of(repo, clean_environ, "7b")["num_thread"] == 7
