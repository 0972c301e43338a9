"""What leaves is without likely secrets, and on record before it goes; what stays is as it was."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from llmc import cli
from llmc.enrichment import prompts as prompting
from llmc.errors import StoreError
from llmc.events import PromptLeft
from llmc.models import Span
from llmc.redaction.secrets import BLOT
from llmc.testing.gateway import gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.borders import SECRET, away, log, prompts, secretive
from tests.driving import NO_HOST, deep, drive, make_repo, plain
from tests.running import configured, enrich, entry


@pytest.fixture
def repo(tmp_path):
    return make_repo(tmp_path / "repo", secretive("one"), plain("two"))


def chained(repo, *entries):
    (repo.root / "llmc.toml").write_text("\n".join(entries))


# -- what is sent ----------------------------------------------------------------------------------


def test_a_host_elsewhere_gets_no_secret(repo):
    with FakeOllama() as fake:
        ran = enrich(repo, configured(repo, {"a": away(fake)}))
    assert len(prompts(fake)) == ran.report.enriched == 2
    assert not any(SECRET in prompt for prompt in prompts(fake))
    assert any(f'token = "{BLOT}"' in prompt for prompt in prompts(fake))


def test_this_machine_gets_the_code_as_it_is(repo):
    with FakeOllama() as fake:
        ran = enrich(repo, configured(repo, {"a": fake}))
    assert any(SECRET in prompt for prompt in prompts(fake))
    assert (log(repo), ran.report.sent, ran.report.blotted) == ([], {}, 0)


def test_so_does_the_users_own_network(repo):
    with FakeOllama() as fake:
        enrich(repo, configured(repo, {"a": away(fake)}, {"LLMC_OWN_NETWORK": "127.1"}))
    assert any(SECRET in prompt for prompt in prompts(fake))
    assert log(repo) == []


def test_a_model_that_ollama_hands_on_gets_no_secret(repo):
    with FakeOllama() as fake:
        chained(repo, entry("cloud", url=fake.url, model="gpt-oss:120b-cloud"))
        enrich(repo, configured(repo))
    assert len(prompts(fake)) == 2
    assert not any(SECRET in prompt for prompt in prompts(fake))


@pytest.mark.parametrize("own", ["", "127.0.0.0/8"], ids=["a proxy", "declared own"])
def test_a_server_like_openais_on_this_machine_may_pass_things_on(repo, own):
    with FakeOpenAI() as fake:
        env = {"OPENAI_BASE_URL": f"{fake.url}/v1", "LLMC_OWN_NETWORK": own}
        enrich(repo, configured(repo, env=env, backend="gateway"))
    assert len(prompts(fake)) == 2
    assert any(SECRET in prompt for prompt in prompts(fake)) == bool(own)
    assert len(log(repo)) == (0 if own else 2)


def test_a_gateway_program_gets_no_secret(repo, tmp_path):
    program = write_gateway(tmp_path / "gateway")
    enrich(repo, configured(repo, backend="gateway", gateway_path=str(program)))
    sent = [call.prompt for call in gateway_calls(program)]
    assert len(sent) == 2
    assert not any(SECRET in prompt for prompt in sent)
    assert {line["host"] for line in log(repo)} == {str(program)}


def test_each_backend_of_a_cascade_is_judged_by_itself(repo):
    """The first entry is here and fails; the second one is elsewhere."""
    with FakeOllama(lambda _: "nonsense {") as here, FakeOllama() as there:
        chained(
            repo,
            entry("here", url=here.url, model="m", slots=1),
            entry("there", url=away(there), model="n"),
        )
        ran = enrich(repo, configured(repo, host_order="failover"))
    assert any(SECRET in prompt for prompt in prompts(here))
    assert prompts(there)
    assert not any(SECRET in prompt for prompt in prompts(there))
    assert ran.report.sent == {away(there): len(prompts(there))}


def test_path_and_symbol_are_looked_at_too():
    span = Span(1, f"{SECRET}/a.py", "python", f"x_{SECRET}", "function", 1, 2, 0, 9, "sha256:0")
    prompt, count = prompting.build(span, "value = 1").blot()
    assert SECRET not in prompt
    assert SECRET not in json.dumps(prompt.make_messages())
    assert count == 2


def test_a_secret_at_the_place_where_a_prompt_is_cut_is_gone_before():
    span = Span(1, "a.py", "python", "f", "function", 1, 99, 0, 9, "sha256:0")
    key = "\n".join(["-----BEGIN " + "PRIVATE KEY-----", *["MII" + "aB3" * 20] * 200, "-----END X"])
    prompt, _ = prompting.build(span, key).blot()
    for tokens in range(500, 4000, 250):
        assert "aB3aB3" not in prompt.fit(tokens)


# -- the batch driver ------------------------------------------------------------------------------


def test_the_driver_sends_no_secret_to_a_host_elsewhere(repo):
    with FakeOllama() as fake:
        run = drive(repo, hosts={"a": away(fake)})
    assert len(prompts(fake)) == 2
    assert not any(SECRET in prompt for prompt in prompts(fake))
    assert "1 likely secret was blotted out of 1 prompt" in run.stdout
    assert [line["blotted"] for line in log(repo)] == [1, 0]


def test_nor_to_its_gateway(tmp_path):
    repo = make_repo(tmp_path / "repo", secretive("one"))
    program = write_gateway(tmp_path / "gateway")
    drive(repo, "--api", "--gateway-path", program, env=NO_HOST)
    with FakeOpenAI() as fake:
        repo.execute("DELETE FROM enrichments")
        drive(repo, "--api", env={**NO_HOST, "OPENAI_BASE_URL": f"{fake.url}/v1"})
    sent = [call.prompt for call in gateway_calls(program)] + prompts(fake)
    assert len(sent) == len(log(repo)) == 2
    assert not any(SECRET in prompt for prompt in sent)


def test_the_drivers_promotion_to_the_cloud_sends_no_secret(tmp_path):
    repo = make_repo(tmp_path / "repo", deep("deep"))
    repo.add("src/more.py", secretive("more"))
    with FakeOllama(lambda _: "nonsense {") as here, FakeOpenAI() as cloud:
        env = {"OPENAI_BASE_URL": f"{cloud.url}/v1", "ROUTER_DEFAULT_TIER": "nano"}
        drive(repo, hosts={"a": here}, env=env)
    assert prompts(cloud)
    assert not any(SECRET in prompt for prompt in prompts(cloud))


# -- the record ------------------------------------------------------------------------------------


def test_a_line_says_what_went_where(repo):
    with FakeOllama() as fake:
        chained(repo, entry("x", url=away(fake).replace("//", "//me:pass1word@"), model="m"))
        enrich(repo, configured(repo))
        sizes = {len(prompt) for prompt in prompts(fake)}
    lines = {line["path"]: line for line in log(repo)}
    line = lines["src/one.py"]
    assert list(line) == [
        "timestamp", "purpose", "host", "model", "span_hash", "path", "bytes", "blotted",
    ]  # fmt: skip
    assert (line["purpose"], line["host"], line["model"]) == ("enrich", away(fake), "m")
    assert (line["span_hash"], line["blotted"]) == (repo.hashes["one"], 1)
    assert (lines["src/two.py"]["blotted"], len(sizes)) == (0, 2)


def test_it_is_there_before_the_prompt_goes(repo):
    seen = []
    with FakeOllama(lambda _: seen.append(len(log(repo)))) as fake:
        enrich(repo, configured(repo, {"a": away(fake)}))
    assert seen == [1, 2]


@pytest.mark.parametrize("what", ["folder", "link out", "link", "pipe"])
def test_nothing_is_sent_that_cannot_be_put_on_record(repo, tmp_path, what):
    path = repo.root / "logs/egress.jsonl"
    path.parent.mkdir()
    (tmp_path / "elsewhere").write_text("")
    (repo.root / "inside").write_text("")
    {
        "folder": path.mkdir,
        "link out": lambda: path.symlink_to(tmp_path / "elsewhere"),
        "link": lambda: path.symlink_to("../inside"),
        "pipe": lambda: os.mkfifo(path),
    }[what]()
    with FakeOllama() as fake, pytest.raises(StoreError, match=r"egress\.jsonl"):
        enrich(repo, configured(repo, {"a": away(fake)}))
    assert prompts(fake) == []
    assert (tmp_path / "elsewhere").read_text() == ""


def test_the_driver_stops_likewise(repo):
    (repo.root / "logs/egress.jsonl").mkdir(parents=True)
    with FakeOllama() as fake:
        run = drive(repo, hosts={"a": away(fake)})
    assert (run.status, prompts(fake)) == (2, [])
    assert "egress.jsonl" in run.stderr


# -- what is told ----------------------------------------------------------------------------------


def test_the_report_counts_secrets_prompts_and_hosts(tmp_path):
    repo = make_repo(tmp_path / "repo", secretive("one"), secretive("three"), plain("two"))
    with FakeOllama() as fake:
        ran = enrich(repo, configured(repo, {"a": away(fake)}))
    assert ran.report.sent == {away(fake): 3}
    assert (ran.report.blotted, ran.report.blotted_prompts) == (2, 2)


def test_a_failed_attempt_has_sent_its_prompt_all_the_same(repo):
    with FakeOllama(lambda _: "nonsense {") as fake:
        ran = enrich(repo, configured(repo, {"a": away(fake)}))
    assert ran.report.enriched == 0
    assert ran.report.sent == {away(fake): len(prompts(fake))}


def test_hooks_are_told_of_each_prompt_that_left(repo):
    with FakeOllama() as fake:
        ran = enrich(repo, configured(repo, {"a": away(fake)}))
    told = {event.span.symbol: event.departure for event in ran.told(PromptLeft)}
    assert {name: left.blotted for name, left in told.items()} == {"one": 1, "two": 0}
    assert {left.host for left in told.values()} == {away(fake)}


def command(repo, environ, *words):
    """Run `llmc enrich` in this process on sources of its own."""
    repo.joinpath("keys.py").write_text(f'def f():\n    token = "{SECRET}"\n    return token\n')
    return cli.main(["enrich", str(repo), *words])


@pytest.fixture
def small(tmp_path, monkeypatch, clean_environ):
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    for name in os.environ.keys() - clean_environ.keys():
        monkeypatch.delenv(name)
    return root


def test_the_summary_tells_what_left_and_what_was_blotted(
    small, monkeypatch, clean_environ, capsys
):
    with FakeOllama() as fake:
        monkeypatch.setenv("ENRICH_OLLAMA_HOSTS", away(fake))
        assert command(small, clean_environ) == 0
    said = capsys.readouterr().out
    assert f"prompts sent away: {away(fake)} (1)" in said
    assert "1 likely secret was blotted out of 1 prompt" in said


def test_the_summary_claims_of_no_prompt_that_it_arrived(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("two"))
    with FakeOllama() as fake:
        gone = away(fake)
    env = {"ENRICH_HEALTHCHECK_ENABLED": "0"}
    ran = drive(repo, "--retries", "1", hosts={"a": gone}, env=env)
    assert f"prompts sent away: {gone} (2), arrived or not" in ran.stdout


def test_so_does_the_json_record(small, monkeypatch, clean_environ, capsys):
    with FakeOllama() as fake:
        monkeypatch.setenv("ENRICH_OLLAMA_HOSTS", away(fake))
        assert command(small, clean_environ, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["sent"] == {away(fake): 1}
    assert (record["secrets_blotted"], record["prompts_blotted"], record["kept_here"]) == (1, 1, 0)


def test_the_start_says_which_hosts_count_as_own(small, monkeypatch, clean_environ, capsys):
    with FakeOllama() as fake:
        monkeypatch.setenv("ENRICH_OLLAMA_HOSTS", away(fake))
        monkeypatch.setenv("LLMC_OWN_NETWORK", "127.1")
        assert command(small, clean_environ) == 0
    assert f"sent as it is to {away(fake)} in your own network" in capsys.readouterr().err
