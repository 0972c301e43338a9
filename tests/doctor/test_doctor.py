"""The doctor says whether a run would work, finds every problem at once, and shows no key."""

import contextlib
import http.server
import json
import os
import pty
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from llmc.doctor.examination import Trials, examine
from llmc.settings.flags import Flags
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI

SMALL, LARGE = "qwen2.5:7b-instruct-q4_K_M", "qwen2.5:14b-instruct-q4_K_M"
DOWN = "http://127.0.0.1:9"
NO_TRIAL = Trials(local=False)


def llmc(*words, env, timeout=60):
    return subprocess.run(
        [sys.executable, "-m", "llmc", *map(str, words)],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def named(report, section, name):
    """Return the findings of this name in the sections that start so."""
    return [f for f in report.findings if f.section.startswith(section) and f.name == name]


def one(report, section, name):
    [finding] = named(report, section, name)
    return finding


def failures(report):
    failed = [finding for finding in report.findings if finding.state == "fail"]
    return {(finding.section.split()[0], finding.name) for finding in failed}


def chain(*entries):
    return json.dumps([{"name": f"entry{i}", **entry} for i, entry in enumerate(entries)])


@contextmanager
def server(answer):
    """Serve `answer(method, path) -> (status, body)` on a loopback port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *words):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def ollama_of_version(version):
    def answer(method, path):
        told = {"version": version} if path == "/api/version" else {"models": [{"name": SMALL}]}
        return 200, json.dumps(told).encode()

    return answer


@pytest.fixture
def host(clean_environ):
    """A host with both models, configured in the environment."""
    with FakeOllama(models=[SMALL, LARGE]) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={fake.url}"
        yield fake


# -- an Ollama host ------------------------------------------------------------------------------


def test_all_is_well_with_a_host_that_has_the_models(repo, clean_environ, host):
    report = examine(repo, environ=clean_environ)
    assert report.works
    assert report.exit_status == 0
    assert one(report, "Ollama attic", "reachable").state == "ok"
    assert "0.12.3" in one(report, "Ollama attic", "version").detail


def test_each_model_is_tried_once_through_the_real_backend(repo, clean_environ, host):
    trials = named(examine(repo, environ=clean_environ), "Ollama attic", "trial")
    assert [trial.state for trial in trials] == ["ok", "ok"]
    assert sorted(call.model for call in host.calls) == sorted([SMALL, LARGE])
    assert all(call.body["format"]["type"] == "object" for call in host.calls)
    assert "tokens/s" in trials[0].detail


def test_without_trials_no_model_is_called(repo, clean_environ, host):
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert report.works
    assert host.calls == ()


def test_a_missing_model_is_named_with_the_command_that_gets_it(repo, clean_environ):
    with FakeOllama(models=[SMALL]) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        report = examine(repo, environ=clean_environ)
    [missing] = [f for f in named(report, "Ollama", "model") if f.state == "fail"]
    assert f"{LARGE} (14b) is missing" in missing.detail
    assert missing.advice == f"ollama pull {LARGE}"
    assert report.exit_status == 1
    assert [call.model for call in fake.calls] == [SMALL]


def test_a_model_named_without_a_tag_is_the_latest(repo, clean_environ):
    with FakeOllama(models=["mine:latest"]) as fake:
        entry = {"provider": "ollama", "url": fake.url, "model": "mine"}
        clean_environ["ENRICH_CHAIN_JSON"] = chain(entry)
        assert examine(repo, environ=clean_environ).works


def test_what_is_loaded_and_its_memory_is_said(repo, clean_environ, host):
    examine(repo, environ=clean_environ)  # its trials leave the last model loaded
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    details = [finding.detail for finding in named(report, "Ollama attic", "model")]
    assert sum("loaded, 4.4 GiB in GPU memory" in detail for detail in details) == 1
    assert sum("not loaded" in detail for detail in details) == 1


def test_a_num_ctx_above_the_models_context_is_a_warning(repo, clean_environ):
    with FakeOllama(models=[SMALL, LARGE], trained_context=2048) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert [f.state for f in named(report, "Ollama", "context")] == ["warn", "warn"]
    assert (
        "num_ctx 3,072 is above the model's 2,048" in named(report, "Ollama", "context")[0].detail
    )


@pytest.mark.parametrize(
    ("version", "state"),
    [("0.4.7", "fail"), ("0.5.0", "ok"), ("1.0.1-rc0", "ok"), ("0.0.0", "info")],
)
def test_a_version_is_judged_by_its_schema_support(repo, clean_environ, version, state):
    with server(ollama_of_version(version)) as url:
        entry = {"provider": "ollama", "url": url, "model": SMALL}
        clean_environ["ENRICH_CHAIN_JSON"] = chain(entry)
        report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert one(report, "Ollama", "version").state == state
    assert report.works is (state != "fail")


def test_a_host_that_is_down_is_a_failure_if_it_is_the_only_one(repo, clean_environ):
    clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={DOWN}"
    report = examine(repo, environ=clean_environ)
    assert one(report, "Ollama attic", "reachable").advice == "ollama serve"
    assert failures(report) == {("a", "would stop"), ("Ollama", "reachable")}


def test_a_host_that_is_down_among_others_is_a_warning(repo, clean_environ, host):
    clean_environ["ENRICH_OLLAMA_HOSTS"] += f",cellar={DOWN}"
    report = examine(repo, environ=clean_environ)
    assert one(report, "Ollama cellar", "reachable").state == "warn"
    assert report.works


BROKEN_HOSTS = {
    "HTTP 500": ((500, b"oops"), "answers HTTP 500"),
    "garbage": ((200, b"<html>not json"), "is not Ollama"),
    "another shape": ((200, b'{"models": 7}'), "is not Ollama"),
    "a list": ((200, b"[[[]]]"), "is not Ollama"),
}


@pytest.mark.parametrize("name", BROKEN_HOSTS)
def test_a_broken_host_is_a_finding(repo, clean_environ, name):
    answer, expected = BROKEN_HOSTS[name]
    with server(lambda method, path: answer) as url:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={url}"
        report = examine(repo, environ=clean_environ)
    finding = one(report, "Ollama attic", "reachable")
    assert finding.state == "fail"
    assert expected in finding.detail


def test_odd_answers_to_single_questions_are_survived(repo, clean_environ):
    def answer(method, path):
        if path == "/api/tags":
            return 200, json.dumps({"models": [{"name": SMALL}, {"name": LARGE}, 3, {}]}).encode()
        return 200, b'{"version": [1], "models": [{"name": 5, "size_vram": "x"}], "model_info": 2}'

    with server(answer) as url:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={url}"
        report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert one(report, "Ollama attic", "version").state == "info"
    assert report.works


def test_a_host_that_hangs_takes_no_longer_than_the_health_timeout(repo, clean_environ):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        clean_environ |= {
            "ENRICH_OLLAMA_HOSTS": f"a=http://127.0.0.1:{silent.getsockname()[1]}",
            "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS": "0.5",
        }
        started = time.monotonic()
        report = examine(repo, environ=clean_environ)
        took = time.monotonic() - started
    assert one(report, "Ollama a", "reachable").state == "fail"
    assert took < 4  # the run's own look, then the doctor's


def test_hosts_are_looked_at_side_by_side(repo, clean_environ):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hosts = ",".join(f"h{i}=http://127.0.0.1:{port}/{i}" for i in range(5))
        clean_environ |= {
            "ENRICH_OLLAMA_HOSTS": hosts,
            "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS": "1",
        }
        started = time.monotonic()
        report = examine(repo, environ=clean_environ)
        took = time.monotonic() - started
    assert len([f for f in report.findings if f.name == "reachable"]) == 5
    assert took < 4.5  # one after the other: 10


FAULTS = {
    "an error": (faults.HttpStatus(500), "fail"),
    "a dropped connection": (faults.DropConnection(), "fail"),
    "garbage": (faults.NotJson(), "fail"),
    "prose": (faults.Prose(), "warn"),
    "another schema": (faults.WrongSchema(), "warn"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failed_trial_is_said(repo, clean_environ, name):
    fault, state = FAULTS[name]
    with FakeOllama(lambda call: fault, models=[SMALL, LARGE]) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={fake.url}"
        report = examine(repo, environ=clean_environ)
    assert [trial.state for trial in named(report, "Ollama attic", "trial")] == [state, state]
    assert report.works is (state == "warn")


def test_only_the_hosts_that_a_run_would_ask_are_asked(repo, clean_environ, host):
    with FakeOllama(models=["m"]) as other, FakeOpenAI() as cloud:
        clean_environ |= {
            "OPENAI_BASE_URL": f"{cloud.url}/v1",
            "OPENAI_API_KEY": "planted-key",
            "ENRICH_CHAIN_JSON": chain(
                {"provider": "ollama", "url": other.url, "model": "m"},
                {"provider": "ollama", "url": other.url, "model": "m", "routing_tier": "14b"},
            ),
        }
        assert examine(repo, environ=clean_environ).works
        assert other.requests
    assert host.requests == ()
    assert cloud.requests == ()


# -- a gateway -----------------------------------------------------------------------------------


@pytest.fixture
def cloud(clean_environ):
    """A server with a key, configured as the environment's gateway with that key."""
    with FakeOpenAI(api_key="planted-key-0042", models=["m"]) as fake:
        clean_environ |= {
            "OPENAI_BASE_URL": f"{fake.url}/v1",
            "OPENAI_API_KEY": "planted-key-0042",
            "OPENAI_MODEL": "m",
        }
        yield fake


GATEWAY = Flags(backend="gateway")


def test_a_gateway_is_looked_at_but_sent_no_prompt(repo, clean_environ, cloud):
    report = examine(repo, GATEWAY, clean_environ)
    assert report.works
    assert one(report, "gateway", "key").state == "ok"
    assert one(report, "gateway", "model").detail == "m: listed"
    assert one(report, "gateway", "trial").state == "info"
    assert cloud.calls == ()


def test_a_gateway_is_tried_when_asked_for(repo, clean_environ, cloud):
    report = examine(repo, GATEWAY, clean_environ, trials=Trials(cloud=True))
    assert one(report, "gateway", "trial").state == "ok"
    assert [call.model for call in cloud.calls] == ["m"]


def test_a_refused_key_is_a_failure(repo, clean_environ, cloud):
    clean_environ["OPENAI_API_KEY"] = "another-one"
    report = examine(repo, GATEWAY, clean_environ, trials=Trials(cloud=True))
    finding = one(report, "gateway", "key")
    assert (finding.state, finding.advice) == ("fail", "check OPENAI_API_KEY")
    assert report.exit_status == 1
    assert cloud.calls == ()


def test_a_model_that_is_not_listed_is_a_warning(repo, clean_environ, cloud):
    clean_environ["OPENAI_MODEL"] = "n"
    report = examine(repo, GATEWAY, clean_environ)
    assert one(report, "gateway", "model").state == "warn"
    assert report.works


def test_a_gateway_without_a_list_of_models_is_fine(repo, clean_environ):
    with server(lambda method, path: (404, b"not here")) as url:
        clean_environ |= {"OPENAI_BASE_URL": url, "OPENAI_MODEL": "m"}
        report = examine(repo, GATEWAY, clean_environ)
    assert one(report, "gateway", "reachable").state == "ok"
    assert report.works


def test_a_gateway_that_is_down_is_a_failure(repo, clean_environ):
    clean_environ |= {"OPENAI_BASE_URL": f"{DOWN}/v1", "OPENAI_MODEL": "m"}
    report = examine(repo, GATEWAY, clean_environ)
    assert failures(report) == {("gateway", "reachable")}


def test_a_gateway_that_fails_is_spared_if_a_host_serves_its_tiers(repo, clean_environ, host):
    clean_environ["ENRICH_CHAIN_JSON"] = chain(
        {"provider": "openai", "url": DOWN, "model": "m"},
        {"provider": "ollama", "url": host.url, "model": SMALL},
    )
    report = examine(repo, environ=clean_environ)
    assert one(report, "gateway entry0", "reachable").state == "warn"
    assert report.works


def test_a_chain_entry_whose_key_is_unset_stops_a_run(repo, clean_environ, host):
    clean_environ["ENRICH_CHAIN_JSON"] = chain(
        {"provider": "openai", "url": DOWN, "model": "m", "api_key_env": "MY_KEY"},
        {"provider": "ollama", "url": host.url, "model": SMALL},
    )
    report = examine(repo, environ=clean_environ)
    assert "'MY_KEY'" in one(report, "gateway entry0", "settings").detail
    assert not report.works


def test_no_gateway_at_all_is_said(repo, clean_environ):
    report = examine(repo, GATEWAY, clean_environ)
    assert "no gateway is configured" in one(report, "a run", "would stop").detail


def test_a_gateway_program_that_is_not_there_is_a_failure(repo, clean_environ, tmp_path):
    flags = Flags(backend="gateway", gateway_path=str(tmp_path / "nothing"))
    assert one(examine(repo, flags, clean_environ), "gateway", "program").state == "fail"


# -- this machine --------------------------------------------------------------------------------


def test_a_named_model_that_is_not_here_is_told_with_how_to_get_it(repo, clean_environ, tmp_path):
    clean_environ["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    report = examine(repo, Flags(in_process="qwen2.5-coder-0.5b"), clean_environ)
    found = one(report, "embedded model", "model")
    assert found.state == "fail"
    assert "llmc model get qwen2.5-coder-0.5b" in found.detail
    assert one(report, "configuration", "chain").detail == (
        "qwen2.5-coder-0.5b in this process, and nothing else (--model)"
    )


@pytest.mark.embedded
def test_the_embedded_model_is_loaded_and_tried(repo, clean_environ):
    report = examine(repo, Flags(backend="embedded"), clean_environ)
    names = ("library", "file", "loads", "trial")
    assert [one(report, "embedded model", name).state for name in names] == ["ok"] * 4
    assert report.works


def test_a_file_that_is_no_model_stops_a_run(repo, clean_environ):
    entry = {"provider": "llamacpp", "model": "small.py"}
    clean_environ["ENRICH_CHAIN_JSON"] = chain(entry)
    report = examine(repo, environ=clean_environ)
    assert "is not a GGUF file" in one(report, "embedded model", "model").detail
    assert not report.works


SMI = '#!/bin/sh\necho "NVIDIA H200, NVL, 143771, 2048, 570.86.15"\n'


@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        (SMI, "ok", "NVIDIA H200, NVL, 2.0 of 140.4 GiB used, driver 570.86.15"),
        ("#!/bin/sh\necho NVIDIA A100, [N/A], [N/A], 570.1\n", "ok", "NVIDIA A100, in parts"),
        ("#!/bin/sh\necho No devices were found\n", "warn", "does not work"),
        ("#!/bin/sh\nexit 9\n", "warn", "does not work"),
    ],
)
def test_a_gpu_is_described_by_nvidia_smi(repo, clean_environ, host, tmp_path, text, state, said):
    (tmp_path / "nvidia-smi").write_text(text)
    (tmp_path / "nvidia-smi").chmod(0o755)
    clean_environ["PATH"] = f"{tmp_path}:{clean_environ['PATH']}"
    finding = one(examine(repo, environ=clean_environ, trials=NO_TRIAL), "this machine", "GPU")
    assert (finding.state, said in finding.detail) == (state, True)


def test_a_run_that_uses_only_a_gateway_needs_no_gpu(repo, clean_environ, cloud):
    assert named(examine(repo, GATEWAY, clean_environ), "this machine", "GPU") == []


def test_a_folder_that_is_no_repository_is_a_failure(tmp_path, clean_environ, host):
    report = examine(tmp_path, environ=clean_environ, trials=NO_TRIAL)
    assert failures(report) == {("repository", "git")}


def test_an_unreadable_ragignore_is_a_failure(repo, clean_environ, host):
    (repo / ".ragignore").write_bytes(b"\xff\xfe\xff")
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert ".ragignore" in one(report, "repository", "git").detail


# -- the index -----------------------------------------------------------------------------------


def test_a_missing_index_is_no_problem_and_is_not_made(repo, clean_environ, host):
    before = sorted(repo.rglob("*"))
    report = examine(repo, environ=clean_environ)
    assert one(report, "index", "index").state == "info"
    assert report.works
    assert sorted(repo.rglob("*")) == before


def test_a_sound_index_is_counted_and_left_as_it_is(repo, clean_environ, host):
    llmc("index", repo, env=clean_environ)
    before = {path.name: path.read_bytes() for path in (repo / ".rag").iterdir()}
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert "5 spans, 0 enriched, 5 pending, 0 failed" in one(report, "index", "index").detail
    assert {path.name: path.read_bytes() for path in (repo / ".rag").iterdir()} == before


def test_a_file_that_is_no_database_is_a_warning_for_a_run_moves_it_aside(
    repo, clean_environ, host
):
    (repo / ".rag").mkdir()
    (repo / ".rag/index_v2.db").write_bytes(b"garbage" * 1000)
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert one(report, "index", "index").state == "warn"
    assert report.works


def test_damage_inside_an_index_is_a_failure(repo, clean_environ, host):
    llmc("index", repo, env=clean_environ)
    path = repo / ".rag/index_v2.db"
    with sqlite3.connect(path) as database:
        page = database.execute("PRAGMA page_size").fetchone()[0]
        root = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'idx_spans_span_hash'"
        ).fetchone()[0]
    database.close()
    raw = bytearray(path.read_bytes())
    start = (root - 1) * page
    raw[start : start + page] = b"\x00" * page
    path.write_bytes(raw)
    finding = one(examine(repo, environ=clean_environ, trials=NO_TRIAL), "index", "index")
    assert finding.state == "fail"
    assert "is damaged" in finding.detail


def test_a_database_of_another_kind_is_a_failure(repo, clean_environ, host):
    (repo / ".rag").mkdir()
    with sqlite3.connect(repo / ".rag/index_v2.db") as database:
        database.execute("CREATE TABLE files (id)")
    database.close()
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert failures(report) == {("index", "index")}


def test_a_place_where_no_index_can_be_is_a_failure(repo, clean_environ, host):
    clean_environ["LLMC_RAG_INDEX_PATH"] = "small.py/index.db"
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert failures(report) == {("index", "folder")}


# -- the command ---------------------------------------------------------------------------------


def test_every_problem_is_found_at_once(repo, clean_environ):
    (repo / ".ragignore").write_bytes(b"\xff\xfe\xff")
    clean_environ |= {
        "ENRICH_OLLAMA_HOSTS": f"attic={DOWN},cellar={DOWN}/x",
        "LLMC_RAG_INDEX_PATH": "small.py/index.db",
    }
    result = llmc("doctor", repo, "--json", env=clean_environ)
    bad = [f["section"] for f in json.loads(result.stdout)["findings"] if f["state"] == "fail"]
    assert len(bad) == 5  # the run itself, two hosts, git's rules, the index's folder
    assert result.returncode == 1


def test_the_screen_has_marks_advice_and_a_verdict(repo, clean_environ, host):
    clean_environ |= {"COLUMNS": "80", "ENRICH_OLLAMA_HOSTS": f"{host.url},cellar={DOWN}"}
    result = llmc("doctor", repo, "--no-trial", env=clean_environ)
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert "  ok    version        0.12.3, takes a JSON schema" in lines
    assert "        -> ollama serve" in lines
    assert lines[-1].startswith("nothing is in the way of a run, but no model was asked")
    assert lines[-1].endswith(", 1 warning")


def test_a_terminal_gets_lines_that_fit_it(repo, clean_environ, host):
    clean_environ |= {"COLUMNS": "80", "TERM": "xterm"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "llmc", "doctor", repo, "--no-trial"]
    with subprocess.Popen(command, env=clean_environ, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while chunk := os.read(ours, 65536):
                written += chunk
    os.close(ours)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", written.decode())
    lines = [line.rstrip() for line in text.splitlines()]
    assert "  ok    version        0.12.3, takes a JSON schema" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "text", ["[enrichment", "[[enrichment.chain]]\nprovider = 3\n", "[enrichment]\ntypo = 1\n"]
)
def test_a_broken_llmc_toml_is_status_2_with_all_else_looked_at(repo, clean_environ, text):
    (repo / "llmc.toml").write_text(text)
    result = llmc("doctor", repo, env=clean_environ)
    assert result.returncode == 2
    assert "llmc.toml" in "".join(map(str.strip, result.stdout.splitlines()))
    assert "source files" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path, clean_environ):
    result = llmc("doctor", tmp_path / "nowhere", env=clean_environ)
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# -- keys ----------------------------------------------------------------------------------------

KEYS = {
    "OPENAI_API_KEY": "sk-planted0openai0abcdefghijkl",
    "GEMINI_API_KEY": "AIza-planted0gemini0mnopqrstuv",
    "MY_CHAIN_KEY": "planted0chain0wxyz0123456789",
    "SOME_TOKEN": "planted0token0987654321",
}
PASSWORD = "planted0password0hunter2"


def parts(secret, size=6):
    return {secret[i : i + size] for i in range(len(secret) - size + 1)} - {"plante", "lanted"}


def shown(repo, env, *words):
    """Return everything that both forms of the command say."""
    said = ""
    for form in ((), ("--json",)):
        result = llmc("doctor", repo, *form, *words, env=env | {"COLUMNS": "4000"})
        assert "Traceback" not in result.stderr
        said += result.stdout + result.stderr
    return said


def leaked(said):
    secrets = [*KEYS.values(), PASSWORD]
    return sorted(part for secret in secrets for part in parts(secret) if part in said)


def test_a_planted_leak_would_be_found():
    assert leaked(f"Incorrect API key provided: {KEYS['OPENAI_API_KEY'][:14]}***")


def quoting(status):
    """A server that quotes the key it was given in each answer, as some really do."""

    def answer(method, path):
        body = {"error": {"message": f"bad key {KEYS['MY_CHAIN_KEY']}, {KEYS['OPENAI_API_KEY']}"}}
        return status, json.dumps(body).encode()

    return answer


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
def test_no_key_is_shown_whatever_a_server_quotes(repo, clean_environ, status):
    with server(quoting(status)) as url:
        secret_url = url.replace("://", f"://user:{PASSWORD}@")
        clean_environ |= KEYS | {
            "OLLAMA_URL": secret_url,
            "OPENAI_BASE_URL": f"{secret_url}/v1?key={KEYS['SOME_TOKEN']}",
            "ENRICH_CHAIN_JSON": chain(
                {
                    "provider": "openai",
                    "url": secret_url,
                    "model": "m",
                    "api_key_env": "MY_CHAIN_KEY",
                },
                {"provider": "openai", "model": "m", "routing_tier": "nano"},
                {"provider": "ollama", "model": "m", "routing_tier": "14b"},
            ),
        }
        # Only the loopback server may be asked: without this key, the gateway is OPENAI_BASE_URL.
        del clean_environ["GEMINI_API_KEY"]
        said = shown(repo, clean_environ, "--trial-cloud")
    assert "MY_CHAIN_KEY" in said
    assert leaked(said) == []


def test_no_key_is_shown_that_a_gateway_program_prints(repo, clean_environ, tmp_path):
    program = tmp_path / "gateway"
    program.write_text("#!/bin/sh\nenv >&2\necho $OPENAI_API_KEY >&2\nexit 1\n")
    program.chmod(0o755)
    words = ("--backend", "gateway", "--gateway-path", program, "--trial-cloud")
    said = shown(repo, clean_environ | KEYS, *words)
    assert "exited with status 1" in said
    assert leaked(said) == []


def test_a_key_that_no_header_can_hold_is_not_shown(repo, clean_environ, cloud):
    clean_environ |= KEYS | {"OPENAI_API_KEY": f"{KEYS['OPENAI_API_KEY']}\nx: y"}
    del clean_environ["GEMINI_API_KEY"]
    said = shown(repo, clean_environ, "--backend", "gateway", "--trial-cloud")
    assert "not work" in said
    assert leaked(said) == []


@pytest.mark.parametrize("word", ["ollama", "none", "local", "pull", "openai"])
def test_a_word_in_place_of_a_key_stays_in_the_advice(repo, clean_environ, word):
    with FakeOllama(models=["other"]) as fake:
        clean_environ |= {"ENRICH_OLLAMA_HOSTS": f"attic={fake.url}", "OPENAI_API_KEY": word}
        report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    advice = [finding.advice for finding in named(report, "Ollama attic", "model")]
    assert f"ollama pull {SMALL}" in advice
    assert "***" not in str(report)


def test_a_masked_key_in_a_refusal_is_not_shown_either(repo, clean_environ):
    def answer(method, path):
        if path.endswith("/models"):
            return 404, b""
        return 401, b'{"error": {"message": "Incorrect API key provided: sk-p***ijkl"}}'

    with server(answer) as url:
        clean_environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEYS["OPENAI_API_KEY"]}
        report = examine(repo, GATEWAY, clean_environ, trials=Trials(cloud=True))
    assert one(report, "gateway", "trial").detail.endswith("HTTP 401")


def test_a_host_is_looked_at_by_the_proxy_of_a_run(repo, clean_environ):
    """The proxy answers for a place whose name leads nowhere, and says that it is not there."""
    clean_environ["ENRICH_OLLAMA_HOSTS"] = "attic=http://attic.invalid:11434"
    with FakeOpenAI() as proxy:
        report = examine(repo, Flags(proxy=proxy.url), clean_environ, trials=Trials(local=False))
    assert "HTTP 404" in one(report, "Ollama attic", "reachable").detail


def test_a_gateway_is_looked_at_by_the_proxy_of_a_run(repo, clean_environ):
    clean_environ |= {"OPENAI_BASE_URL": "http://api.invalid/v1", "OPENAI_MODEL": "m"}
    with FakeOpenAI(models=["m"]) as proxy:
        examine(repo, Flags(backend="gateway", proxy=proxy.url), clean_environ)
        asked = [request.path for request in proxy.requests]
    assert asked == ["http://api.invalid/v1/models"]


def test_a_model_named_with_its_registry_is_found_among_those_of_a_host(repo, clean_environ):
    with FakeOllama(models=[SMALL, LARGE]) as fake:
        clean_environ |= {
            "OLLAMA_URL": fake.url,
            "OLLAMA_MODEL": f"registry.ollama.ai/library/{SMALL}",
        }
        report = examine(repo, environ=clean_environ, trials=Trials(local=False))
    assert {finding.state for finding in named(report, "Ollama", "model")} == {"ok"}
