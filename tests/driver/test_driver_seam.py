"""The batch driver's seam: `call_qwen` and `parse_and_validate`, and the adapters that call them.

People put functions of their own in the place of both, by setting them in the script. Here that is
done to a module of its own, loaded for each test.
"""

import inspect
import json
import os
from types import SimpleNamespace

import pytest

from llmc.errors import UntrustedError
from llmc.testing.gateway import gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.driving import (
    DEAD_URL,
    LARGE_MODEL,
    PARSE,
    SMALL_MODEL,
    VALIDATION,
    deep,
    json_lines,
    load_script,
    make_repo,
    marked,
    plain,
)

ITEM = {"lines": [1, 3], "path": "src/one.py", "span_hash": "sha256:0"}
GOOD = '{"summary_120w": "it is good"}'
SECRET = "AKIA" + "QWERTYUIOPASDFGH"
WITH_SECRET = f'mark:one\naws_access_key_id = "{SECRET}"\n'
PRESET = {"model": "small:1b", "keep_alive": "1h", "options": {"num_ctx": 512, "num_gpu": 3}}
FLAGS = {"retries": 2, "retry_wait": 0.0, "verbose": True, "gateway_timeout": 7.0}


@pytest.fixture
def script():
    return load_script()


@pytest.fixture
def environ(monkeypatch):
    """An environment of this process in which nothing is configured."""
    for name in os.environ:
        if name not in ("PATH", "HOME", "XDG_CONFIG_HOME", "PYTEST_CURRENT_TEST"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def repo(environ, tmp_path):
    return make_repo(tmp_path / "repo", plain("one"))


class Calls:
    """A function in the place of `call_qwen`: it remembers its words and says what it is told."""

    def __init__(self, text=GOOD, meta=None, error=None):
        self.text, self.meta, self.error = text, meta or {}, error
        self.made = []

    def __call__(self, prompt, repo_root, **words):
        self.made.append((prompt, repo_root, words))
        if self.error:
            raise self.error
        return self.text, dict(self.meta)

    @property
    def words(self):
        [(_, _, words)] = self.made
        return words


def ollama(script, repo, config=None, preset=PRESET, url="http://127.0.0.1:1", **flags):
    return script._OllamaBackendAdapter(
        config=config,
        repo_root=repo.root,
        args=SimpleNamespace(**FLAGS | flags),
        host_url=url,
        host_label="attic",
        tier_preset=preset,
        tier_for_attempt="7b",
    )


def gateway(script, repo, config=None, **flags):
    args = SimpleNamespace(**FLAGS | flags)
    return script._GatewayBackendAdapter(config=config, repo_root=repo.root, args=args)


ADAPTERS = {"ollama": ollama, "gateway": gateway}


@pytest.fixture(params=ADAPTERS)
def adapter(request, script, repo):
    """Each of the two adapters, with nothing in its config."""
    return ADAPTERS[request.param](script, repo)


def departures(repo):
    return json_lines(repo.root / "logs/egress.jsonl")


# -- the adapters --------------------------------------------------------------------------------


def test_call_qwen_takes_the_established_words(script):
    words = inspect.signature(script.call_qwen).parameters
    defaults = {name: word.default for name, word in words.items()}
    assert list(defaults)[:2] == ["prompt", "repo_root"]
    assert {name: defaults[name] for name in list(defaults)[2:]} == {
        "backend": "auto",
        "verbose": False,
        "retries": 3,
        "retry_wait": 2.0,
        "gateway_path": None,
        "gateway_timeout": script.GATEWAY_DEFAULT_TIMEOUT,
        "model_override": None,
        "ollama_options": None,
        "keep_alive": None,
        "ollama_base_url": None,
        "ollama_host_label": None,
    }
    assert script.GATEWAY_DEFAULT_TIMEOUT == 300


def test_an_adapter_calls_what_stands_in_the_script_when_it_runs(script, adapter):
    script.call_qwen = calls = Calls("the reply", {"eval_count": 7})
    read = []
    script.parse_and_validate = lambda *words: (read.append(words), ({"any": "thing"}, None))[1]
    result, _ = adapter.generate("mark:one", item=ITEM)
    assert result == {"any": "thing"}
    assert [prompt for prompt, _, _ in calls.made] == ["mark:one"]
    [(text, item, meta)] = read
    assert (text, item, meta["eval_count"]) == ("the reply", ITEM, 7)


def test_the_ollama_adapter_asks_for_what_the_preset_says(script, repo):
    script.call_qwen = calls = Calls()
    ollama(script, repo).generate("mark:one", item=ITEM)
    assert calls.made[0][1] == repo.root
    assert calls.words == {
        "backend": "ollama",
        "verbose": True,
        "retries": 2,
        "retry_wait": 0.0,
        "gateway_path": None,
        "gateway_timeout": 7.0,
        "model_override": "small:1b",
        "ollama_options": {"num_ctx": 512, "num_gpu": 3},
        "keep_alive": "1h",
        "ollama_base_url": "http://127.0.0.1:1",
        "ollama_host_label": "attic",
    }


@pytest.mark.parametrize("kind", ["shim", "anything"])
def test_what_the_config_says_beats_the_preset(script, repo, kind):
    said = {"model": "own:2b", "options": {"num_ctx": 64}, "keep_alive": 0}
    config = script._AdapterConfigShim(**said) if kind == "shim" else SimpleNamespace(**said)
    script.call_qwen = calls = Calls()
    adapter = ollama(script, repo, config)
    adapter.generate("mark:one", item=ITEM)
    assert adapter.config is config
    assert calls.words["model_override"] == "own:2b"
    assert calls.words["ollama_options"] == {"num_ctx": 64, "num_gpu": 3}
    assert calls.words["keep_alive"] == 0


def test_a_success_of_ollama_says_backend_host_and_the_model_sent(script, repo):
    script.call_qwen = Calls()
    _, meta = ollama(script, repo).generate("mark:one", item=ITEM)
    assert (meta["backend"], meta["host"], meta["model"]) == ("ollama", "attic", "small:1b")


def test_a_model_that_the_call_tells_stays(script, adapter):
    script.call_qwen = Calls(meta={"model": "told:1b"})
    _, meta = adapter.generate("mark:one", item=ITEM)
    assert meta["model"] == "told:1b"


def test_a_success_of_the_gateway_says_backend_and_label(script, repo, environ):
    environ.setenv("GEMINI_MODEL", "gemini-x")
    script.call_qwen = calls = Calls()
    _, meta = gateway(script, repo).generate("mark:one", item=ITEM)
    assert (calls.words["backend"], calls.words["model_override"]) == ("gateway", None)
    assert (meta["backend"], meta["model"]) == ("gateway", "gemini-x")


@pytest.mark.parametrize("error", [RuntimeError("gone"), OSError("gone"), KeyError("gone")])
def test_whatever_the_call_raises_is_a_runtime_failure(script, adapter, error):
    script.call_qwen = Calls(error=error)
    with pytest.raises(script.BackendError, match="gone") as caught:
        adapter.generate("mark:one", item=ITEM)
    assert (caught.value.failure_type, caught.value.failure) == ("runtime", None)


def test_a_reply_refused_in_the_script_is_refused_with_what_it_says(script, adapter):
    script.call_qwen = Calls("the reply", {"model": "told:1b"})
    failure = ("validation", "not to our taste", {"the": "payload"})
    script.parse_and_validate = lambda text, item, meta: (None, failure)
    with pytest.raises(script.BackendError, match="not to our taste") as caught:
        adapter.generate("mark:one", item=ITEM)
    assert (caught.value.failure_type, caught.value.failure) == ("validation", failure)
    assert caught.value.usage.model == "told:1b"


def test_without_a_name_in_its_config_an_adapter_is_recorded_by_its_number(script, adapter):
    script.call_qwen = Calls()
    cascade = script.BackendCascade([adapter])
    _, _, [record] = cascade.generate_for_span("mark:one", item=ITEM)
    assert record.backend_name == "backend-0"


# -- what may be a plain mapping -----------------------------------------------------------------


def build(script, repo, tier="7b", hosts=(), **flags):
    args = SimpleNamespace(**FLAGS | {"backend": "auto", "router": "on"} | flags)
    return script._build_cascade_for_attempt(
        backend="auto",
        tier_for_attempt=tier,
        repo_root=repo.root,
        args=args,
        ollama_host_chain=hosts,
        current_host_idx=0,
        host_chain_count=max(1, len(hosts)),
    )


def test_the_entries_of_the_host_chain_may_be_mappings(script, repo):
    with FakeOllama() as fake:
        built = build(script, repo, hosts=[{"label": "attic", "url": f"{fake.url}/"}])
        _, meta, _ = built.cascade.generate_for_span("mark:one", item=ITEM)
    assert (built.host_label, built.host_url, meta["host"]) == ("attic", fake.url, "attic")


@pytest.mark.parametrize(("tier", "key"), [("7b", "7b"), ("14b", "14b"), ("nano", "7b")])
def test_the_entries_of_the_preset_cache_may_be_mappings(script, repo, tier, key):
    script.PRESET_CACHE = {"7b": PRESET, "14b": {**PRESET, "model": "large:1b"}}
    built = build(script, repo, tier)
    assert (built.preset_key, built.tier_preset) == (key, script.PRESET_CACHE[key])


def test_a_mapping_in_the_preset_cache_is_what_a_run_sends_and_records(script, repo, environ):
    script.PRESET_CACHE["7b"] = PRESET
    with FakeOllama() as fake:
        environ.setenv("ENRICH_OLLAMA_HOSTS", fake.url)
        assert script.main(["--repo", str(repo.root)]) == 0
    [call] = fake.calls
    assert (call.model, call.body["options"], call.body["keep_alive"]) == (
        "small:1b",
        PRESET["options"],
        "1h",
    )
    [record] = json_lines(repo.root / "logs/run_ledger.log")
    assert (record["result_model"], record["ctx"], record["batch"]) == ("small:1b", 512, None)


def test_the_presets_in_the_cache_are_those_of_the_repository_at_hand(script, repo, tmp_path):
    other = make_repo(tmp_path / "other", plain("two"))
    other.write("presets/enrich_7b_ollama.yaml", "model: other:1b\n")
    found = [build(script, each).tier_preset.model for each in (repo, other, repo)]
    assert found == [SMALL_MODEL, "other:1b", SMALL_MODEL]


# -- the driver runs on exactly these ------------------------------------------------------------


def test_a_run_asks_nothing_but_what_stands_in_the_script(script, environ, tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"), deep("two"))
    script.call_qwen = calls = Calls()
    environ.setenv("ENRICH_HEALTHCHECK_ENABLED", "0")
    with FakeOllama() as fake:
        environ.setenv("ENRICH_OLLAMA_HOSTS", f"attic={fake.url}")
        assert script.main(["--repo", str(repo.root)]) == 0
    assert not fake.requests
    asked = [(marked(prompt), words["backend"]) for prompt, _, words in calls.made]
    assert asked == [("one", "ollama"), ("two", "gateway")]
    rows = repo.query("SELECT summary FROM enrichments")
    assert [row["summary"] for row in rows] == ["it is good"] * 2


def test_a_run_promotes_by_the_failures_of_what_stands_in_the_script(script, environ, repo):
    replies = iter([("parse", "why", "raw"), None])
    script.call_qwen = calls = Calls()
    read = script.parse_and_validate

    def refusing(text, item, meta):
        failure = next(replies)
        return (None, failure) if failure else read(text, item, meta)

    script.parse_and_validate = refusing
    environ.setenv("ENRICH_HEALTHCHECK_ENABLED", "0")
    assert script.main(["--repo", str(repo.root), "--retry-wait", "0"]) == 0
    models = [words["model_override"] for _, _, words in calls.made]
    assert models == [SMALL_MODEL, LARGE_MODEL]
    [record] = json_lines(repo.root / "logs/run_ledger.log")
    assert (record["promo"], record["result"]) == ("7b->14b", "pass")


# -- call_qwen by itself -------------------------------------------------------------------------


def test_it_asks_an_ollama_host_and_returns_the_reply_unread(script, repo):
    with FakeOllama([PARSE]) as fake:
        text, meta = script.call_qwen(
            "mark:one",
            repo.root,
            backend="ollama",
            model_override="own:2b",
            ollama_options={"num_ctx": 64},
            keep_alive=0,
            ollama_base_url=fake.url,
            ollama_host_label="attic",
        )
    [call] = fake.calls
    assert text == PARSE
    assert (meta["backend"], meta["host"], meta["model"]) == ("ollama", "attic", "own:2b")
    assert (call.model, call.body["options"], call.body["keep_alive"]) == (
        "own:2b",
        {"num_ctx": 64},
        0,
    )


def test_without_words_it_asks_the_first_host_for_the_model_of_the_environment(
    script, repo, environ
):
    environ.setenv("OLLAMA_MODEL", "env:1b")
    with FakeOllama() as fake:
        environ.setenv("ENRICH_OLLAMA_HOSTS", f"attic={fake.url},cellar={DEAD_URL}")
        _, meta = script.call_qwen("mark:one", repo.root)
    assert (meta["host"], fake.calls[0].model) == ("attic", "env:1b")


def test_it_tries_as_often_as_it_is_told(script, repo):
    with FakeOllama(["", "", GOOD]) as fake:
        words = {"ollama_base_url": fake.url, "retry_wait": 0.0}
        with pytest.raises(script.BackendError):
            script.call_qwen("mark:one", repo.root, retries=2, **words)
        text, _ = script.call_qwen("mark:one", repo.root, retries=1, **words)
    assert (text, len(fake.calls)) == (GOOD, 3)


def test_it_runs_the_gateway_program_with_the_model_for_that_call_alone(script, repo, tmp_path):
    path = write_gateway(tmp_path / "gateway")
    words = {"backend": "gateway", "gateway_path": path}
    before = dict(os.environ)
    models = [
        script.call_qwen("mark:one", repo.root, model_override=name, **words)[1]["model"]
        for name in ("own-model", None)
    ]
    assert models == ["own-model", "gemini"]
    sent = [call.env.get("GEMINI_MODEL") for call in gateway_calls(path)]
    assert (sent, dict(os.environ)) == (["own-model", None], before)


def test_a_gateway_that_is_not_there_is_an_error_that_says_so(script, repo):
    with pytest.raises(script.BackendError, match="no gateway is configured"):
        script.call_qwen("mark:one", repo.root, backend="gateway")


def test_it_goes_by_no_model_of_a_repository_that_is_not_trusted(script, repo):
    repo.write("presets/enrich_7b_ollama.yaml", "model: someones:1b-cloud\n")
    with FakeOllama() as fake, pytest.raises(UntrustedError):
        script.call_qwen("mark:one", repo.root, ollama_base_url=fake.url)
    assert not fake.calls


def test_called_by_itself_it_lets_no_secret_out_and_notes_what_leaves(script, repo, environ):
    with FakeOpenAI([GOOD]) as cloud:
        environ.setenv("OPENAI_BASE_URL", f"{cloud.url}/v1")
        script.call_qwen(WITH_SECRET, repo.root, backend="gateway")
    [call] = cloud.calls
    assert SECRET not in json.dumps(call.body)
    [record] = departures(repo)
    assert record["blotted"] == 1


# -- what leaves, whoever calls ------------------------------------------------------------------


def test_a_function_in_the_place_of_the_call_gets_no_secret_for_a_host_elsewhere(script, repo):
    script.call_qwen = calls = Calls()
    ollama(script, repo, url="http://attic:11434").generate(WITH_SECRET, item=ITEM)
    [(prompt, _, _)] = calls.made
    assert "mark:one" in prompt
    assert SECRET not in prompt
    assert [record["path"] for record in departures(repo)] == ["src/one.py"]


def test_what_an_adapter_lets_out_is_noted_once(script, repo, environ):
    with FakeOpenAI([GOOD]) as cloud:
        environ.setenv("OPENAI_BASE_URL", f"{cloud.url}/v1")
        gateway(script, repo).generate("mark:one", item=ITEM)
    assert len(departures(repo)) == len(cloud.calls) == 1


def elsewhere(script, **other):
    """Put a function in the place of the call that asks somebody else than it is told."""
    original = script.call_qwen
    script.call_qwen = lambda prompt, root, **words: original(prompt, root, **words | other)


def test_a_call_that_is_sent_elsewhere_leaves_without_secrets_and_is_noted(script, repo, environ):
    with FakeOpenAI([GOOD]) as cloud:
        environ.setenv("OPENAI_BASE_URL", f"{cloud.url}/v1")
        elsewhere(script, backend="gateway", model_override=None)
        ollama(script, repo).generate(WITH_SECRET, item=ITEM)
    [call] = cloud.calls
    assert SECRET not in json.dumps(call.body)
    assert [(each["path"], each["blotted"]) for each in departures(repo)] == [("src/one.py", 1)]


def test_a_span_that_is_to_stay_is_not_sent_elsewhere_either(script, repo, environ):
    repo.write(".llmc-local", "src/\n")
    with FakeOpenAI([GOOD]) as cloud:
        environ.setenv("OPENAI_BASE_URL", f"{cloud.url}/v1")
        elsewhere(script, backend="gateway", model_override=None)
        with pytest.raises(script.BackendError, match="stays here"):
            ollama(script, repo).generate("mark:one", item=ITEM)
    assert not cloud.calls


def test_after_an_adapters_call_the_next_one_by_itself_is_on_its_own_again(script, repo):
    with FakeOllama([VALIDATION, GOOD]) as fake:
        with pytest.raises(script.BackendError):
            ollama(script, repo, url=fake.url).generate("mark:one", item=ITEM)
        text, meta = script.call_qwen("mark:one", repo.root, ollama_base_url=fake.url)
    assert (text, meta["model"]) == (GOOD, SMALL_MODEL)


def test_a_program_is_recorded_by_the_model_of_its_config(script, repo, tmp_path):
    path = write_gateway(tmp_path / "gateway", [PARSE])
    config = script._AdapterConfigShim(name="gateway", provider="gateway", model="own-model")
    with pytest.raises(script.BackendError) as caught:
        gateway(script, repo, config, gateway_path=str(path)).generate("mark:one", item=ITEM)
    assert (caught.value.failure_type, caught.value.usage.model) == ("parse", "own-model")
    [call] = gateway_calls(path)
    assert call.env["GEMINI_MODEL"] == "own-model"
