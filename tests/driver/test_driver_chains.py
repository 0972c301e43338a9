"""Configured chains as the driver takes them: one adapter, the first entry's (SPEC §16)."""

import json

import pytest

from llmc.testing.gateway import gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.driving import (
    LARGE_MODEL,
    NO_HOST,
    SMALL_MODEL,
    deep,
    drive,
    lettered,
    make_repo,
    marked,
    plain,
)

PRESET = (
    "options: {num_ctx: 4096, num_batch: 40, num_gpu: 33, num_thread: 2}\n"
    "keep_alive: 5m\n"
    "kv_type: f16\n"
)


def entry(name, **values):
    """Return one [[enrichment.chain]] table."""
    lines = [f"{key} = {toml(value)}" for key, value in {"name": name, **values}.items()]
    return "\n".join(["[[enrichment.chain]]", *lines, ""])


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)


def configured(root, text, *flags, pieces=None, env=None, hosts=None, preset=PRESET):
    """Enrich a span at 7b and one at 14b with this llmc.toml, taken as the user's own word."""
    repo = make_repo(root, *(pieces or (plain("small"), plain("large", lines=61))))
    repo.write("llmc.toml", text)
    repo.write("presets/enrich_7b_ollama.yaml", preset)
    return drive(repo, "--trust", *flags, hosts=hosts, env=env)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A 7b entry that says everything, a 14b entry that says nothing; A is the host chain."""
    with FakeOllama() as first, FakeOllama() as second:
        text = (
            entry("disabled", model="never:7b", enabled=False)
            + entry("elsewhere", model="never:7b", chain="other")
            + entry(
                "attic",
                model="entry:7b",
                url=f"{second.url}/",
                keep_alive="1h",
                options={"num_ctx": 8192, "temperature": 0.5},
            )
            + entry("second", model="never:7b", routing_tier="7b")
            + entry("bare", routing_tier="14b")
            + entry("late", model="never:14b", routing_tier="14b")
        )
        root = tmp_path_factory.mktemp("chain") / "repo"
        yield configured(root, text, hosts={"A": first}), first, second


def test_the_first_enabled_entry_of_the_tier_is_the_adapters_config(chain):
    _, _, elsewhere = chain
    [call] = elsewhere.calls
    assert (call.body["model"], call.body["keep_alive"]) == ("entry:7b", "1h")


def test_its_options_are_laid_over_those_of_the_preset(chain):
    _, _, elsewhere = chain
    [call] = elsewhere.calls
    assert call.body["options"] == {
        "num_ctx": 8192,
        "num_batch": 40,
        "num_gpu": 33,
        "num_thread": 2,
        "kv_type": "f16",
        "temperature": 0.5,
    }


def test_its_url_is_where_the_call_goes(chain):
    _, _, elsewhere = chain
    assert [marked(call.prompt) for call in elsewhere.calls] == ["small"]


def test_what_an_entry_leaves_out_is_the_presets_and_the_host_chains(chain):
    _, host, _ = chain
    [call] = host.calls
    assert (call.body["model"], call.body["keep_alive"]) == (LARGE_MODEL, "5m")
    assert (call.body["options"]["num_ctx"], call.body["options"]["num_batch"]) == (4096, 20)


def test_the_records_tell_the_entrys_options_and_model(chain):
    run, _, _ = chain
    record = run.ledger["small"]
    assert (record["ctx"], record["batch"], record["result_model"]) == (8192, 40, "entry:7b")


def test_so_they_do_after_a_failure(tmp_path):
    text = entry("attic", model="entry:7b", options={"num_ctx": 8192})
    with FakeOllama(lettered("V_1")) as fake:
        run = configured(
            tmp_path / "repo", text, "--retries", 1, pieces=[plain("V_1")], hosts={"A": fake}
        )
    record = run.ledger["V_1"]
    assert (record["reason"], record["promo"]) == ("validation", "7b->7b")
    assert (record["ctx"], record["batch"], record["result_model"]) == (8192, 40, "entry:7b")


def test_the_entry_stays_the_only_one_when_it_fails(tmp_path):
    text = entry("one", model="one:7b") + entry("two", model="two:7b")
    with FakeOllama(lettered("VG_1")) as fake:
        configured(tmp_path / "repo", text, pieces=[plain("VG_1")], hosts={"A": fake})
    assert [call.model for call in fake.calls] == ["one:7b", "one:7b"]


def test_a_tier_without_an_entry_is_as_without_chains(tmp_path):
    text = entry("big", model="big:14b", routing_tier="14b")
    with FakeOllama() as fake:
        configured(tmp_path / "repo", text, hosts={"A": fake})
    assert [call.model for call in fake.calls] == [SMALL_MODEL, "big:14b"]


def test_the_default_chain_is_the_one_that_is_named(tmp_path):
    text = '[enrichment]\ndefault_chain = "other"\n' + (
        entry("standard", model="standard:7b") + entry("chosen", model="chosen:7b", chain="other")
    )
    with FakeOllama() as fake:
        configured(tmp_path / "repo", text, pieces=[plain("one")], hosts={"A": fake})
    assert [call.model for call in fake.calls] == ["chosen:7b"]


@pytest.mark.parametrize("value", [0, -1])
def test_a_keep_alive_of_0_or_less_is_sent_too(tmp_path, value):
    text = entry("now", keep_alive=value)
    with FakeOllama() as fake:
        configured(tmp_path / "repo", text, pieces=[plain("one")], hosts={"A": fake})
    assert fake.calls[0].body["keep_alive"] == value


def test_an_entry_without_url_follows_the_host_chain(tmp_path):
    text = entry("seven", model="seven:7b") + entry("big", model="big:14b", routing_tier="14b")
    with FakeOllama(lettered("PPG_1")) as first, FakeOllama() as second:
        hosts = {"A": first, "B": second}
        configured(tmp_path / "repo", text, pieces=[plain("PPG_1")], hosts=hosts)
    assert [call.model for call in first.calls] == ["seven:7b", "big:14b"]
    assert [call.model for call in second.calls] == ["seven:7b"]


JSON_CHAINS = {
    "a list replaces the chain of its entries": ([{"name": "j", "model": "json:7b"}], "json:7b"),
    "an object replaces the chains it names": (
        {"chains": {"default": [{"name": "j", "model": "json:7b"}]}},
        "json:7b",
    ),
    "another chain is left alone": (
        {"chains": {"other": [{"name": "j", "model": "json:7b"}]}},
        "file:7b",
    ),
    "an empty chain leaves none": ({"chains": {"default": []}}, SMALL_MODEL),
}


@pytest.mark.parametrize("case", JSON_CHAINS)
def test_enrich_chain_json(tmp_path, case):
    value, expected = JSON_CHAINS[case]
    text = entry("first", model="file:7b") + entry("second", model="file2:7b")
    env = {"ENRICH_CHAIN_JSON": json.dumps(value)}
    with FakeOllama() as fake:
        configured(tmp_path / "repo", text, pieces=[plain("one")], hosts={"A": fake}, env=env)
    assert [call.model for call in fake.calls] == [expected]


# -- the gateway ---------------------------------------------------------------------------------


def test_a_nano_entry_names_the_gateways_model_for_its_calls(tmp_path):
    gateway = write_gateway(tmp_path / "gateway")
    text = entry("cloud", provider="gateway", model="entry-model", routing_tier="nano")
    run = configured(
        tmp_path / "repo",
        text,
        *("--gateway-path", gateway, "--api"),
        pieces=[deep("deep"), plain("small")],
        env=NO_HOST | {"GEMINI_MODEL": "env-model"},
    )
    models = {marked(call.prompt): call.env["GEMINI_MODEL"] for call in gateway_calls(gateway)}
    assert models == {"deep": "entry-model", "small": "env-model"}
    assert [run.ledger[name]["result_model"] for name in models] == ["entry-model", "env-model"]


def test_the_model_of_a_nano_entry_is_sent_by_the_built_in_gateway(tmp_path):
    text = entry("cloud", provider="openai", model="entry-model", routing_tier="nano")
    with FakeOpenAI() as fake:
        configured(
            tmp_path / "repo",
            text,
            *("--api",),
            pieces=[deep("deep"), plain("small")],
            env=NO_HOST | {"OPENAI_BASE_URL": f"{fake.url}/v1", "GEMINI_MODEL": "env-model"},
        )
    assert {marked(call.prompt): call.model for call in fake.calls} == {
        "deep": "entry-model",
        "small": "env-model",
    }


def test_the_url_of_a_nano_entry_is_where_the_built_in_gateway_calls(tmp_path):
    with FakeOpenAI() as fake, FakeOpenAI() as elsewhere:
        text = entry(
            "cloud", provider="openai", model="m", url=f"{fake.url}/v1", routing_tier="nano"
        )
        env = NO_HOST | {"OPENAI_BASE_URL": f"{elsewhere.url}/v1"}
        configured(tmp_path / "repo", text, pieces=[deep("deep")], env=env)
    assert (len(fake.calls), len(elsewhere.calls)) == (1, 0)


# -- the other settings of llmc.toml -------------------------------------------------------------


def test_the_driver_has_one_span_in_flight_whatever_is_configured(tmp_path):
    names = [f"G_{number}" for number in range(6)]
    with FakeOllama(latency=0.05) as fake:
        configured(
            tmp_path / "repo",
            "[enrichment]\nconcurrency = 4\n",
            pieces=[plain(name) for name in names],
            hosts={"A": fake},
            env={"ENRICH_CONCURRENCY": "4"},
        )
    assert [marked(call.prompt) for call in fake.calls] == names
    assert fake.peak_in_flight == 1


COOLDOWNS = {
    "the file": (120, {}, [], ["old"]),
    "the environment beats the file": (120, {"ENRICH_COOLDOWN_SECONDS": "30"}, [], ["old", "new"]),
    "the flag beats both": (
        120,
        {"ENRICH_COOLDOWN_SECONDS": "30"},
        ["--cooldown", 600],
        [],
    ),
}


@pytest.mark.parametrize("case", COOLDOWNS)
def test_the_cooldown(tmp_path, case):
    seconds, env, flags, expected = COOLDOWNS[case]
    repo = make_repo(tmp_path / "repo")
    repo.add("old.py", plain("old"), age=300)
    repo.add("new.py", plain("new"), age=60)
    repo.write("llmc.toml", f"[enrichment]\ncooldown_seconds = {seconds}\n")
    with FakeOllama() as fake:
        drive(repo, *flags, hosts={"A": fake}, env=env)
    assert [marked(call.prompt) for call in fake.calls] == expected


WRONG = {
    "provider": (
        entry("attic", provider="olama"),
        ["llmc.toml", "attic", "provider", "olama", "ollama", "openai", "command", "llamacpp"],
    ),
    "tier": (
        entry("attic", routing_tier="70b"),
        ["llmc.toml", "attic", "routing_tier", "70b", "7b", "14b", "nano"],
    ),
    "key": (entry("attic", modell="x"), ["llmc.toml", "attic", "modell", "model", "keep_alive"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_entry_is_named_and_nothing_is_called(tmp_path, case):
    text, words = WRONG[case]
    with FakeOllama() as fake:
        run = configured(tmp_path / "repo", text, pieces=[plain("one")], hosts={"A": fake})
    assert run.status != 0
    assert [word for word in words if word not in run.stderr] == []
    assert fake.calls == ()


def test_a_wrong_entry_in_the_environment_is_named_too(tmp_path):
    env = {"ENRICH_CHAIN_JSON": '[{"name": "attic", "provider": "olama"}]'}
    with FakeOllama() as fake:
        run = configured(tmp_path / "repo", "", pieces=[plain("one")], hosts={"A": fake}, env=env)
    words = ("ENRICH_CHAIN_JSON", "attic", "provider", "olama", "llamacpp")
    assert run.status != 0
    assert [word for word in words if word not in run.stderr] == []
    assert fake.calls == ()
