"""Where code goes is said before it goes there, by both commands, and it is true."""

import json
import os
import subprocess
import sys

import pytest

from llmc import cli, engine
from llmc.events import Destinations, RunStarted
from llmc.run import destinations
from llmc.run.selection import select
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.testing.gateway import write_gateway
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.driving import NO_HOST, deep, drive, make_repo, plain

AWAY = "http://192.0.2.1:8000"
"""A host that there is not (RFC 5737)."""


def of(repo, environ, *entries, **flags):
    if entries:
        chain = [{"name": f"e{number}", **entry} for number, entry in enumerate(entries)]
        environ = environ | {"ENRICH_CHAIN_JSON": json.dumps(chain)}
    return destinations.find_destinations(load_settings(repo, Flags(**flags), environ))


def said(where):
    return "\n".join(destinations.describe(where))


def test_every_host_of_the_chain_counts(repo, clean_environ):
    clean_environ["ENRICH_OLLAMA_HOSTS"] = "a=http://a:1,b=http://b:2/path"
    where = of(repo, clean_environ, backend="ollama")
    assert where.hosts == ("http://a:1", "http://b:2")
    assert said(where) == "privacy   your code is sent to http://a:1, http://b:2"


def test_every_entry_counts_and_the_hosts_that_a_tier_without_one_falls_back_on(
    repo, clean_environ
):
    where = of(
        repo,
        clean_environ,
        {"url": f"{AWAY}/x", "model": "m"},
        {"provider": "command", "command": "gw"},
        {"provider": "llamacpp", "model": "m.gguf"},
    )
    assert where.hosts == (AWAY, "http://127.0.0.1:9")
    assert (where.programs, where.in_process) == (("gw",), ("m.gguf",))
    assert where.leaves_this_machine


def test_the_gateway_of_tier_nano_counts_where_a_span_can_get_to_it(repo, clean_environ):
    clean_environ["GEMINI_API_KEY"] = "k"
    settings = load_settings(repo, Flags(), clean_environ)
    assert any("googleapis" in host for host in destinations.find_destinations(settings).hosts)
    with FakeOllama() as fake:
        clean_environ["OLLAMA_URL"] = fake.url
        selection = select(load_settings(repo, Flags(), clean_environ))
        assert selection.destinations.hosts == (fake.url,)
    assert not selection.destinations.leaves_this_machine


@pytest.mark.parametrize(
    ("flags", "reached"),
    [({"start_tier": "7b"}, False), ({"start_tier": "nano"}, True), ({"router": "off"}, False)],
)
def test_no_span_gets_to_nano_if_the_router_sends_none_there(repo, clean_environ, flags, reached):
    clean_environ["GEMINI_API_KEY"] = "k"
    assert of(repo, clean_environ, **flags).leaves_this_machine is reached


def test_a_policy_that_promotes_to_nano_reaches_it(repo, clean_environ):
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text('{"fallback_tier": "nano"}')
    clean_environ["GEMINI_API_KEY"] = "k"
    assert of(repo, clean_environ, router="off").leaves_this_machine


def test_a_cloud_model_on_this_machines_ollama_leaves_it(repo, clean_environ):
    where = of(repo, clean_environ, {"model": "gpt-oss:120b-cloud", "url": "http://localhost:1"})
    assert where.cloud_models == ("gpt-oss:120b-cloud",)
    assert where.leaves_this_machine
    assert "handed on by Ollama to the makers of gpt-oss:120b-cloud" in said(where)


def test_no_password_is_in_what_is_told(repo, clean_environ):
    clean_environ["ENRICH_OLLAMA_HOSTS"] = "a=http://user:planted@192.0.2.1:1"
    where = of(
        repo, clean_environ, {"provider": "openai", "url": "http://me:planted@192.0.2.2/?k=planted"}
    )
    assert "192.0.2.2" in said(where)
    assert "planted" not in said(where) + json.dumps(destinations.make_record(where))


@pytest.mark.parametrize(
    ("url", "exposed"),
    [(AWAY, (AWAY,)), ("https://192.0.2.1", ()), ("http://127.0.0.1:9", ())],
)
def test_a_key_that_goes_over_a_network_in_the_clear_is_told(repo, clean_environ, url, exposed):
    clean_environ["MY_KEY"] = "planted"
    where = of(
        repo, clean_environ, {"provider": "openai", "url": f"{url}/v1", "api_key_env": "MY_KEY"}
    )
    assert where.exposed == exposed
    assert ("without encryption" in said(where)) is bool(exposed)


def test_the_gateways_key_in_the_clear_is_told(repo, clean_environ):
    clean_environ |= {"OPENAI_BASE_URL": f"{AWAY}/v1", "OPENAI_API_KEY": "k"}
    assert of(repo, clean_environ, backend="gateway").exposed == (AWAY,)


def test_hooks_are_told_before_anything_else(repo, clean_environ):
    events = []
    with FakeOllama() as fake:
        clean_environ["OLLAMA_URL"] = fake.url
        settings = load_settings(repo, Flags(limit=1), clean_environ)
        engine.index(repo, settings)

        def hook(event):
            events.append((event, len(fake.calls)))

        engine.enrich(repo, settings, hooks=(hook,))
    (first, calls), (second, _), *_ = events
    assert isinstance(first, Destinations)
    assert calls == 0
    assert isinstance(second, RunStarted)


# -- llmc enrich -----------------------------------------------------------------------------------


@pytest.fixture
def host(clean_environ, monkeypatch):
    """An Ollama that answers, for a command in this process."""
    for name in list(os.environ):
        if name not in clean_environ:
            monkeypatch.delenv(name)
    with FakeOllama() as fake:
        monkeypatch.setenv("OLLAMA_URL", fake.url)
        yield fake


def test_quiet_says_it_once_on_standard_error(repo, host, capsys):
    assert cli.main(["enrich", str(repo), "--limit", "1", "--quiet"]) == 0
    assert capsys.readouterr().err == "privacy   nothing leaves this machine\n"


def test_json_gives_it_as_an_event_and_in_the_record(repo, host, capsys):
    assert cli.main(["enrich", str(repo), "--limit", "1", "--json"]) == 0
    output = capsys.readouterr()
    [event] = [json.loads(line) for line in output.err.splitlines()]
    assert (event["event"], event["hosts"]) == ("destinations", [host.url])
    assert event["leaves_this_machine"] is False
    assert json.loads(output.out)["destinations"] == event


def test_it_is_said_before_the_first_call(repo, clean_environ):
    order = []
    words = [sys.executable, "-m", "llmc", "enrich", repo, "--limit", "1", "--quiet"]
    with FakeOllama(lambda call: order.append("call")) as fake:
        clean_environ["OLLAMA_URL"] = fake.url
        with subprocess.Popen(words, env=clean_environ, stderr=subprocess.PIPE) as run:
            assert run.stderr.readline().startswith(b"privacy")
            run.wait(60)
    assert order == ["call"]


def test_several_clouds_stop_a_run_that_needs_one(repo, clean_environ, monkeypatch, capsys):
    monkeypatch.setenv("GEMINI_API_KEY", "planted")
    with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{fake.url}/v1")
        assert cli.main(["enrich", str(repo), "--backend", "gateway"]) == 2
        assert "GEMINI_API_KEY and OPENAI_BASE_URL" in capsys.readouterr().err
        words = ["--gateway", "openai", "--limit", "1", "--quiet"]
        assert cli.main(["enrich", str(repo), "--backend", "gateway", *words]) == 0
        assert len(fake.calls) == 1


def test_an_entry_without_url_needs_one_too(repo, clean_environ, host, monkeypatch, capsys):
    monkeypatch.setenv("GEMINI_API_KEY", "g")
    monkeypatch.setenv("OPENAI_API_KEY", "o")
    monkeypatch.setenv("ENRICH_CHAIN_JSON", '[{"name": "c", "provider": "openai", "model": "m"}]')
    assert cli.main(["enrich", str(repo)]) == 2
    assert "more than one gateway" in capsys.readouterr().err
    assert not host.calls


def test_several_clouds_are_nothing_to_a_run_that_needs_none(repo, host, monkeypatch, capsys):
    monkeypatch.setenv("GEMINI_API_KEY", "g")
    monkeypatch.setenv("OPENAI_API_KEY", "o")
    assert cli.main(["enrich", str(repo), "--limit", "1"]) == 0
    assert "no cloud: a key is set" in capsys.readouterr().err


# -- the batch driver ------------------------------------------------------------------------------

SEVERAL = {"GEMINI_API_KEY": "g", "OPENAI_API_KEY": "o"}


def test_the_driver_says_it_once_on_standard_error(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"))
    with FakeOllama() as fake:
        hosts = {"a": fake, "b": AWAY}
        run = drive(repo, "--start-tier", "7b", hosts=hosts)
    assert run.stderr == f"privacy   your code is sent to {AWAY}\n"
    assert "privacy" not in run.stdout


def test_the_driver_names_the_program_of_tier_nano(tmp_path):
    repo = make_repo(tmp_path / "repo", deep("one"))
    gateway = write_gateway(tmp_path / "gateway")
    run = drive(repo, "--gateway-path", gateway, env=NO_HOST)
    assert run.stderr == f"privacy   your code is given to the program {gateway}\n"


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_the_driver_says_nothing_where_nothing_goes(tmp_path, more):
    repo = make_repo(tmp_path / "repo", *([plain("one")] if more else []))
    assert drive(repo, *more, env=NO_HOST).stderr == ""


@pytest.mark.parametrize("words", [["--api"], [], ["--start-tier", "nano"]])
def test_several_clouds_stop_the_driver_if_it_may_need_one(tmp_path, words):
    repo = make_repo(tmp_path / "repo", plain("one"))
    with FakeOllama() as fake:
        run = drive(repo, *words, hosts={"a": fake}, env=SEVERAL)
        assert (run.status, len(fake.calls)) == (2, 0)
    assert "GEMINI_API_KEY and OPENAI_API_KEY" in run.stderr


@pytest.mark.parametrize(
    "words",
    [["--local"], ["--gateway-path", "/bin/cat"], ["--start-tier", "7b"], ["--dry-run"]],
)
def test_several_clouds_are_nothing_to_a_driver_that_needs_none(tmp_path, words):
    repo = make_repo(tmp_path / "repo", plain("one"))
    with FakeOllama() as fake:
        run = drive(repo, *words, hosts={"a": fake}, env=SEVERAL)
    assert run.status == 0


def test_the_drivers_choice_is_heeded(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"))
    with FakeOpenAI() as fake:
        cloud = {"LLMC_GATEWAY": "openai", "OPENAI_BASE_URL": f"{fake.url}/v1"}
        run = drive(repo, "--api", env=NO_HOST | SEVERAL | cloud)
        assert (run.status, len(fake.calls)) == (0, 1)
