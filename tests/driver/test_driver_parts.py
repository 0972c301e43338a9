"""The script's own parts by their names (SPEC §2), and where it is better than it was (§17)."""

import argparse
import ast
import os
import shutil

import pytest

import tools.rag.enrichment_backends as established
from llmc.settings.hosts import Host
from llmc.testing import faults
from llmc.testing.gateway import GatewayReply, gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from tests.driving import (
    DEAD_URL,
    LARGE_MODEL,
    NO_HOST,
    PARSE,
    SCRIPT,
    SMALL_MODEL,
    VALIDATION,
    Replies,
    deep,
    drive,
    lettered,
    load_script,
    make_repo,
    marked,
    plain,
)

NAMES = (
    "_AdapterConfigShim",
    "_OllamaBackendAdapter",
    "_GatewayBackendAdapter",
    "_build_cascade_for_attempt",
    "PRESET_CACHE",
    "_should_sample_local_gpu",
    "_GpuSampler",
    "classify_failure",
    "handle_failure",
    "parse_and_validate",
    "call_qwen",
    "GATEWAY_DEFAULT_TIMEOUT",
)
EXPORTS = ("BackendError", "BackendAdapter", "BackendCascade", "AttemptRecord")
ITEM = {"lines": [1, 3], "path": "src/one.py", "span_hash": "sha256:0"}


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    return load_script()


@pytest.fixture
def environ(monkeypatch):
    """An environment of this process in which nothing is configured."""
    for name in os.environ:
        if name not in ("PATH", "HOME", "PYTEST_CURRENT_TEST"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def build(script, environ, tmp_path):
    """The builder, called with what a test says and the flags' defaults otherwise."""
    repo = make_repo(tmp_path / "repo")

    def call(backend="auto", tier="7b", hosts=(), index=0, count=None, **flags):
        words = {
            "repo": str(repo.root),
            "batch_size": 5,
            "max_spans": 0,
            "log": None,
            "model": "qwen2.5:7b",
            "schema_version": "enrichment.v1",
            "sleep": 0,
            "cooldown": 0,
            "retries": 1,
            "retry_wait": 0.0,
            "dry_run": False,
            "verbose": False,
            "backend": backend,
            "api": False,
            "local": False,
            "gateway_path": None,
            "gateway_timeout": 5.0,
            "fallback_model": None,
            "no_gateway_fallback": False,
            "router": "on",
            "start_tier": "auto",
            "max_tokens_headroom": 4000,
        }
        return script._build_cascade_for_attempt(
            backend=backend,
            tier_for_attempt=tier,
            repo_root=repo.root,
            args=argparse.Namespace(**(words | flags)),
            ollama_host_chain=list(hosts),
            current_host_idx=index,
            host_chain_count=max(1, len(hosts)) if count is None else count,
        )

    return call


TWO = (Host("attic", "http://attic:1"), Host("cellar", "http://cellar:2"))


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_script_holds_the_established_name(script, name):
    assert hasattr(script, name)


@pytest.mark.parametrize("name", EXPORTS)
def test_the_established_import_path_exports(name):
    assert name in established.__all__
    assert hasattr(established, name)


def test_the_script_imports_the_parts_of_the_cascade_from_there(script):
    found = {
        alias.name
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "tools.rag.enrichment_backends"
        for alias in node.names
    }
    assert found >= set(EXPORTS)
    assert all(getattr(script, name) is getattr(established, name) for name in EXPORTS)


def test_the_config_has_seven_fields(script):
    values = {
        "name": "n",
        "provider": "p",
        "model": "m",
        "tier": "7b",
        "url": "u",
        "options": {"num_ctx": 1},
        "keep_alive": "1m",
    }
    config = script._AdapterConfigShim(**values)
    assert {name: getattr(config, name) for name in values} == values


def test_main_returns_the_exit_status(script, tmp_path, capsys):
    assert script.main(["--repo", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:11434", True),
        ("http://LOCALHOST", True),
        ("http://127.0.0.1:11434", True),
        ("http://[::1]:11434", True),
        ("http://box.local:11434", True),
        ("http://box.localdomain", True),
        ("", True),
        ("http://:11434", True),
        ("http://[broken", True),
        ("http://127.0.0.2:11434", False),
        ("http://local", False),
        ("http://box.local.example", False),
        ("http://attic:11434", False),
        ("http://192.168.0.9:11434", False),
    ],
)
def test_which_hosts_are_this_machine(script, url, local):
    assert script._should_sample_local_gpu(url) == local


def test_classify_failure_tells_the_kind(script):
    refused = script.BackendError("x", failure_type="parse", failure=("parse", "why", "raw"))
    assert script.classify_failure(refused) == "parse"
    assert script.classify_failure(script.BackendError("x", failure_type="runtime")) == "runtime"


def test_parse_and_validate_reads_a_reply(script):
    result, failure = script.parse_and_validate('{"summary_120w": " x "}', ITEM, {})
    assert (result.summary_120w, failure) == ("x", None)


@pytest.mark.parametrize(
    ("text", "meta", "kind"),
    [
        (VALIDATION, {}, "validation"),
        (PARSE, {}, "parse"),
        (PARSE, {"done_reason": "length"}, "truncation"),
        (PARSE, {"eval_count": 0}, "truncation"),
    ],
)
def test_parse_and_validate_refuses_a_reply(script, text, meta, kind):
    result, (found, detail, payload) = script.parse_and_validate(text, ITEM, meta)
    assert (result, found, payload) == (None, kind, text)
    assert detail


# -- the builder ---------------------------------------------------------------------------------


def test_the_builder_returns_six_things_with_one_adapter(build):
    cascade, preset_key, preset, host_label, host_url, selected = build(hosts=TWO)
    assert len(cascade.backends) == 1
    assert (preset_key, preset.model) == ("7b", SMALL_MODEL)
    assert (host_label, host_url, selected) == ("attic", "http://attic:1", "ollama")


SELECTED = {
    "auto 7b": ("auto", "7b", "ollama"),
    "auto 14b": ("auto", "14b", "ollama"),
    "auto nano": ("auto", "nano", "gateway"),
    "auto, another tier": ("auto", "huge", "ollama"),
    "ollama nano": ("ollama", "nano", "ollama"),
    "gateway 7b": ("gateway", "7b", "gateway"),
    "gateway nano": ("gateway", "nano", "gateway"),
}


@pytest.mark.parametrize("case", SELECTED)
def test_the_adapter_is_chosen_by_backend_and_tier(script, build, case):
    backend, tier, expected = SELECTED[case]
    built = build(backend, tier, hosts=TWO)
    [adapter] = built.cascade.backends
    kinds = {"ollama": script._OllamaBackendAdapter, "gateway": script._GatewayBackendAdapter}
    assert built.selected_backend == expected
    assert type(adapter) is kinds[expected]


@pytest.mark.parametrize("tier", ["7b", "nano"])
def test_an_unknown_backend_word_is_ollama_on_localhost(script, build, tier):
    built = build("teapot", tier, hosts=TWO, index=1)
    [adapter] = built.cascade.backends
    assert type(adapter) is script._OllamaBackendAdapter
    assert (built.host_url, built.selected_backend) == ("http://localhost:11434", "ollama")
    assert adapter.config.url == "http://localhost:11434"


def test_the_current_host_is_the_one_of_the_index(build):
    built = build(hosts=TWO, index=1)
    [adapter] = built.cascade.backends
    assert (built.host_label, built.host_url) == ("cellar", "http://cellar:2")
    assert (adapter.describe_host(), adapter.config.url) == ("cellar", "http://cellar:2")


@pytest.mark.parametrize(
    ("tier", "key", "model"),
    [("7b", "7b", SMALL_MODEL), ("14b", "14b", LARGE_MODEL), ("nano", "7b", SMALL_MODEL)],
)
def test_the_preset_of_a_tier(build, tier, key, model):
    built = build("ollama", tier, hosts=TWO)
    assert (built.preset_key, built.tier_preset.model) == (key, model)


def test_the_adapters_config_tells_tier_and_provider(build):
    [ollama] = build(hosts=TWO, tier="14b").cascade.backends
    [gateway] = build("gateway", "14b").cascade.backends
    assert (ollama.config.provider, ollama.config.tier) == ("ollama", "14b")
    assert (gateway.config.provider, gateway.config.tier) == ("gateway", "14b")


def test_the_presets_of_a_repository_are_cached(script, build):
    script.PRESET_CACHE.clear()
    build(hosts=TWO)
    assert script.PRESET_CACHE


# -- the adapters --------------------------------------------------------------------------------


def test_a_success_of_ollama_says_backend_host_and_model(build):
    with FakeOllama() as fake:
        built = build(hosts=[Host("attic", fake.url)])
        _, meta, [record] = built.cascade.generate_for_span("mark:one", item=ITEM)
    assert (meta["backend"], meta["host"], meta["model"]) == ("ollama", "attic", SMALL_MODEL)
    assert (record.success, record.host, record.model) == (True, "attic", SMALL_MODEL)


def test_a_host_without_a_label_is_called_by_its_url(build):
    with FakeOllama() as fake:
        built = build(hosts=[Host("", fake.url)])
        _, meta, _ = built.cascade.generate_for_span("mark:one", item=ITEM)
    assert meta["host"] == fake.url


def test_no_usable_reply_of_ollama_is_runtime_without_a_failure(script, build):
    [adapter] = build(hosts=[Host("a", DEAD_URL)]).cascade.backends
    with pytest.raises(script.BackendError) as caught:
        adapter.generate("mark:one", item=ITEM)
    assert (caught.value.failure_type, caught.value.failure) == ("runtime", None)


def test_a_refused_reply_of_ollama_comes_with_kind_detail_and_payload(script, build):
    with FakeOllama([PARSE]) as fake:
        [adapter] = build(hosts=[Host("a", fake.url)]).cascade.backends
        with pytest.raises(script.BackendError) as caught:
            adapter.generate("mark:one", item=ITEM)
    kind, detail, payload = caught.value.failure
    assert (caught.value.failure_type, kind, payload) == ("parse", "parse", PARSE)
    assert detail


def test_the_gateway_adapter_fails_likewise(script, build, tmp_path):
    path = write_gateway(tmp_path / "gateway", [PARSE, GatewayReply(exit_code=1)])
    [adapter] = build("gateway", gateway_path=str(path)).cascade.backends
    with pytest.raises(script.BackendError) as refused:
        adapter.generate("mark:one", item=ITEM)
    with pytest.raises(script.BackendError) as dead:
        adapter.generate("mark:one", item=ITEM)
    assert (refused.value.failure_type, refused.value.failure[0]) == ("parse", "parse")
    assert refused.value.failure[2] == PARSE
    assert (dead.value.failure_type, dead.value.failure) == ("runtime", None)


def test_a_gateway_that_is_not_configured_is_runtime(script, build):
    [adapter] = build("gateway").cascade.backends
    with pytest.raises(script.BackendError) as caught:
        adapter.generate("mark:one", item=ITEM)
    assert (caught.value.failure_type, caught.value.failure) == ("runtime", None)


def test_a_success_of_the_gateway_has_its_label(build, environ, tmp_path):
    environ.setenv("GEMINI_MODEL", "gemini-x")
    path = write_gateway(tmp_path / "gateway")
    built = build("gateway", gateway_path=str(path))
    _, meta, _ = built.cascade.generate_for_span("mark:one", item=ITEM)
    assert meta["model"] == "gemini-x"


@pytest.mark.parametrize("tier", ["7b", "nano"])
def test_the_first_chain_entry_is_the_adapters_config(build, environ, tier):
    environ.setenv(
        "ENRICH_CHAIN_JSON",
        f'[{{"name": "e", "routing_tier": "{tier}", "model": "m", "url": "http://elsewhere:1",'
        ' "keep_alive": "2h", "options": {"num_ctx": 7}}]',
    )
    [adapter] = build(tier=tier, hosts=TWO).cascade.backends
    config = adapter.config
    found = (config.name, config.model, config.url, config.keep_alive, dict(config.options or {}))
    assert found == ("e", "m", "http://elsewhere:1", "2h", {"num_ctx": 7})


def test_the_builder_and_its_adapters_are_what_the_script_runs_on(script, environ, tmp_path):
    """A spy in the builder's place sees every attempt, and what it returns is what is called."""
    repo = make_repo(tmp_path / "repo", plain("one"), plain("PPG_2"))
    seen = []
    build = script._build_cascade_for_attempt

    def spy(**words):
        built = build(**words)
        [adapter] = built.cascade.backends
        seen.append((words["tier_for_attempt"], words["current_host_idx"], type(adapter)))
        return built

    environ.setattr(script, "_build_cascade_for_attempt", spy)
    with FakeOllama(lettered("PPG_2", "G_1")) as fake:
        environ.setenv("ENRICH_OLLAMA_HOSTS", f"{fake.url},{fake.url}")
        assert script.main(["--repo", str(repo.root), "--retry-wait", "0"]) == 0
    ollama = script._OllamaBackendAdapter
    assert seen == [("7b", 0, ollama), ("7b", 0, ollama), ("14b", 0, ollama), ("7b", 1, ollama)]
    assert len(fake.calls) == 4


# -- better than it was --------------------------------------------------------------------------


def test_a_failing_span_is_tried_once_per_run_and_again_in_the_next(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("V_1"))
    with FakeOllama(lettered("V_1")) as fake:
        runs = [
            drive(repo, "--retries", 1, "--router", "off", "--batch-size", 1, hosts={"a": fake})
            for _ in range(2)
        ]
    assert [run.status for run in runs] == [0, 0]
    assert len(fake.calls) == 2


def test_a_failed_span_is_printed_as_failed(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("V_1"))
    with FakeOllama(lettered("V_1")) as fake:
        run = drive(repo, hosts={"a": fake})
    [line] = [line for line in run.stdout.splitlines() if "src/V_1.py" in line]
    assert "failed" in line
    assert "validation" in line


def broken_gateway(tmp_path, path, *flags, env=None):
    """Start at nano for one span and at 7b for the next, with a gateway that cannot work."""
    repo = make_repo(tmp_path / "repo", deep("deep"), plain("small"))
    with FakeOllama(Replies({"deep": [VALIDATION]})) as fake:
        words = ["--gateway-path", path, "--retries", 1]
        return drive(repo, *words, *flags, hosts={"a": fake}, env=env)


def ended(run):
    return run.status, [record["reason"] for record in run.ledger.values()]


def test_a_missing_gateway_program_fails_its_span_alone(tmp_path):
    run = broken_gateway(tmp_path, tmp_path / "nowhere", "--api", env=NO_HOST)
    assert ended(run) == (0, ["runtime", "runtime"])


def test_after_a_missing_gateway_program_the_next_span_is_enriched(tmp_path):
    run = broken_gateway(tmp_path, tmp_path / "nowhere")
    assert run.metrics["deep"]["attempt_details"][0]["failure_type"] == "runtime"
    assert run.ledger["small"]["result"] == "pass"


def test_a_gateway_that_is_no_program_fails_its_span_alone(tmp_path):
    path = tmp_path / "gateway"
    path.write_text("this is not a program")
    assert ended(broken_gateway(tmp_path, path, "--api")) == (0, ["runtime", "runtime"])


def test_a_missing_node_fails_its_span_alone(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git"))
    path = write_gateway(tmp_path / "gateway.js")
    env = {"PATH": str(tools)}
    assert ended(broken_gateway(tmp_path, path, "--api", env=env)) == (0, ["runtime", "runtime"])


def test_a_gateway_timeout_fails_its_span_alone(tmp_path):
    path = write_gateway(tmp_path / "gateway", [GatewayReply(sleep=30)])
    run = broken_gateway(tmp_path, path, "--api", "--gateway-timeout", 1.5)
    assert ended(run) == (0, ["runtime", "success"])
    assert run.seconds < 10


def test_an_unhashable_evidence_field_is_dropped(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"))
    reply = '{"evidence": [{"field": ["inputs"], "lines": [1, 1]}, {"field": {}, "lines": [1, 1]}]}'
    with FakeOllama([reply, reply]) as fake:
        run = drive(repo, hosts={"a": fake})
    assert ended(run) == (0, ["success", "success"])
    assert [row["evidence"] for row in run.rows.values()] == ["[]", "[]"]


def test_it_never_waits_for_a_model_to_be_unloaded(tmp_path):
    """Health check and calls are all that a host sees, though the model changes twice."""
    repo = make_repo(tmp_path / "repo", plain("PG_1"), plain("G_2"))
    with FakeOllama(lettered("PG_1", "G_2")) as fake:
        drive(repo, hosts={"a": fake})
    assert [call.model for call in fake.calls] == [SMALL_MODEL, LARGE_MODEL, SMALL_MODEL]
    assert [call.body["keep_alive"] for call in fake.calls] == ["15m"] * 3
    assert len(fake.requests) == 4
    assert not [request for request in fake.requests if request.path == "/api/ps"]


def test_no_variable_of_the_process_is_changed(script, environ, tmp_path):
    """The gateway runs with a model of its own, in this very process's environment."""
    repo = make_repo(tmp_path / "repo", deep("one"), plain("two"))
    path = write_gateway(tmp_path / "gateway")
    environ.setenv("GEMINI_MODEL", "env-model")
    environ.setenv(
        "ENRICH_CHAIN_JSON", '[{"name": "e", "routing_tier": "nano", "model": "entry-model"}]'
    )
    for name, value in NO_HOST.items():
        environ.setenv(name, value)
    before = dict(os.environ)
    words = ["--repo", str(repo.root), "--api", "--gateway-path", str(path)]
    assert script.main(words) == 0
    assert dict(os.environ) == before
    models = {marked(call.prompt): call.env["GEMINI_MODEL"] for call in gateway_calls(path)}
    assert models == {"one": "entry-model", "two": "env-model"}


def test_a_host_that_goes_away_in_the_middle_is_a_failure_of_spans(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"))
    with FakeOllama(Replies({"two": [faults.DropConnection()]})) as fake:
        run = drive(repo, hosts={"a": fake})
    assert ended(run) == (0, ["success", "runtime"])


def edit_after_indexing(repo, path, text):
    """Write other text into a file, of which the index goes on to say what it was."""
    before = (repo.root / path).stat()
    repo.write(path, text)
    os.utime(repo.root / path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "longer": "# mark:one\nvalue = 1\nvalue = 2\nmore = 3\n",
    "of the same size and time": "# mark:one\nvalue = 1\nother = 2\n",
    "behind the span": "# mark:one\nvalue = 1\nvalue = 2\n\n",
    "shorter": "# mark:one\n",
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_span_of_a_file_that_changed_since_it_was_indexed_is_left_for_later(tmp_path, case):
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"))
    edit_after_indexing(repo, "src/one.py", CHANGES[case])
    with FakeOllama() as fake:
        run = drive(repo, hosts={"a": fake})
    assert [marked(call.prompt) for call in fake.calls] == ["two"]
    assert (run.status, list(run.ledger), list(run.rows)) == (0, ["two"], ["two"])
    assert "src/one.py: is no longer the file that was indexed" in run.stdout
    assert "1 left" in run.stdout


def test_of_a_changed_file_with_many_spans_it_is_said_once(tmp_path):
    repo = make_repo(tmp_path / "repo")
    repo.add("src/many.py", *(plain(f"span{number}") for number in range(12)))
    edit_after_indexing(repo, "src/many.py", "nothing = 0\n")
    with FakeOllama() as fake:
        run = drive(repo, hosts={"a": fake})
    assert run.stdout.count("src/many.py") == 1
    assert not fake.calls


def test_a_changed_file_is_not_shown_by_a_dry_run_either(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"))
    edit_after_indexing(repo, "src/one.py", "secret = 1\n")
    with FakeOllama() as fake:
        run = drive(repo, "--dry-run", hosts={"a": fake})
    assert "mark:two" in run.stdout
    assert "secret" not in run.stdout


def test_a_file_that_is_again_what_was_indexed_is_worked_on_in_the_next_run(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"))
    indexed = (repo.root / "src/one.py").read_bytes()
    repo.write("src/one.py", "other = 1\n")
    with FakeOllama() as fake:
        drive(repo, hosts={"a": fake})
        repo.write("src/one.py", indexed)
        run = drive(repo, hosts={"a": fake})
    assert list(run.rows) == ["one"]


# -- an index of another program, in place -------------------------------------------------------


def dump(repo):
    """Return definitions and rows of an index: {name: (definition, rows)}, without llmc's own."""
    found = {}
    for entry in repo.query("SELECT type, name, sql FROM sqlite_master ORDER BY name"):
        if entry["name"].startswith("llmc_") or "llmc_" in (entry["sql"] or "llmc_"):
            continue
        rows = []
        if entry["type"] == "table":
            rows = repo.query(f"SELECT * FROM {entry['name']} ORDER BY 1")
        found[entry["name"]] = (entry["sql"], rows)
    return found


@pytest.fixture(scope="module")
def in_place(tmp_path_factory):
    """An index with rows in every table and a table we know nothing of, before and after a run."""
    repo = make_repo(tmp_path_factory.mktemp("place") / "repo", plain("done"))
    repo.add("src/both.py", plain("G_1"), plain("V_2"))
    repo.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    repo.execute("INSERT INTO notes (text) VALUES ('mine')")
    repo.execute("INSERT INTO embeddings_meta VALUES ('e5', 3, '2024-01-01')")
    repo.execute("INSERT INTO embeddings VALUES (?, x'010203')", repo.hashes["G_1"])
    repo.execute("UPDATE spans SET doc_hint = 'a hint', created_at = '2024-01-01 00:00:00'")
    repo.execute(
        "INSERT INTO enrichments VALUES (?, 'old', 'a,b', 'not json', NULL, 'long ago', 'v0', "
        "NULL, '[]', '', NULL, 'use()')",
        repo.hashes["done"],
    )
    before = dump(repo)
    with FakeOllama(lettered("G_1", "V_2")) as fake:
        run = drive(repo, hosts={"a": fake})
    return run, before, dump(repo)


def test_tables_columns_and_indexes_are_as_before(in_place):
    _, before, after = in_place
    assert {name: sql for name, (sql, _) in after.items()} == {
        name: sql for name, (sql, _) in before.items()
    }


def test_all_earlier_rows_are_as_before_and_one_enrichment_is_new(in_place):
    run, before, after = in_place
    for name, (_, rows) in before.items():
        if name != "enrichments":
            assert after[name][1] == rows, name
    old = before["enrichments"][1]
    new = [row for row in after["enrichments"][1] if row not in old]
    assert [row for row in after["enrichments"][1] if row in old] == old
    assert [row["span_hash"] for row in new] == [run.repo.hashes["G_1"]]


def test_what_is_added_to_an_index_are_tables_of_our_own(in_place):
    run, _, _ = in_place
    known = {"files", "spans", "embeddings_meta", "embeddings", "enrichments", "notes"}
    tables = {
        row["name"] for row in run.repo.query("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    assert all(name.startswith("llmc_") for name in tables - known)
