"""The driver's flags, hosts, health check, work list and exit status (SPEC §3 to §5)."""

import itertools
import json
import math
from pathlib import Path

import pytest

from llmc.testing import faults
from llmc.testing.gateway import gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from tests.driving import (
    DEAD_URL,
    LARGE_MODEL,
    SMALL_MODEL,
    Piece,
    deep,
    drive,
    json_lines,
    lettered,
    make_index,
    make_repo,
    marked,
    plain,
    serving,
)


@pytest.fixture
def host():
    """A host that always answers well."""
    with FakeOllama() as fake:
        yield fake


@pytest.fixture
def gateway(tmp_path):
    """A gateway program that always answers well."""
    return write_gateway(tmp_path / "gateway")


def asked(*hosts):
    """Return the names of the spans in the order in which the hosts were asked about them."""
    calls = sorted((call.started, marked(call.prompt)) for host in hosts for call in host.calls)
    return [name for _, name in calls]


# -- flags and their defaults --------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A run without any flag, in a repository with a span that fails for good and one that does."""
    root = tmp_path_factory.mktemp("bare") / "repo"
    with FakeOllama(lettered("GG_1", "RRRR_2")) as fake:
        repo = make_repo(root, plain("GG_1"), plain("RRRR_2"))
        yield drive(repo, hosts={"a": fake}, bare=True), fake


def test_without_repo_the_current_folder_is_enriched(bare):
    run, _ = bare
    assert list(run.rows) == ["GG_1"]


def test_the_metrics_go_to_the_logs_of_the_repository_by_default(bare):
    run, _ = bare
    assert list(run.metrics) == ["GG_1", "RRRR_2"]


def test_the_default_schema_version_is_enrichment_v1(bare):
    run, _ = bare
    assert run.rows["GG_1"]["schema_ver"] == "enrichment.v1"


def test_three_retries_are_the_default(bare):
    run, _ = bare
    assert run.ledger["RRRR_2"]["attempts"] == 3


def test_the_default_wait_is_two_seconds(bare):
    _, fake = bare
    promoted, first, second = [c for c in fake.calls if marked(c.prompt) == "RRRR_2"]
    assert first.started - promoted.started < 1.9
    assert 1.99 < second.started - first.started < 4


def test_log_moves_the_metrics_and_leaves_the_ledger(tmp_path, host):
    repo = make_repo(tmp_path / "repo", plain("one"))
    run = drive(repo, "--log", tmp_path / "deep/er/metrics.jsonl", hosts={"a": host})
    assert [r["span_hash"] for r in json_lines(tmp_path / "deep/er/metrics.jsonl")] == [
        repo.hashes["one"]
    ]
    assert run.metrics == {}
    assert list(run.ledger) == ["one"]


@pytest.mark.parametrize("size", [1, 2, 50])
def test_each_span_is_tried_once_in_order_whatever_the_batch_size(tmp_path, size):
    names = ["GG_1", "VV_2", "GG_3", "VV_4", "GG_5"]
    repo = make_repo(tmp_path / "repo", *map(plain, names))
    with FakeOllama(lettered(*names)) as fake:
        run = drive(repo, "--batch-size", size, "--retries", 1, hosts={"a": fake})
    assert list(run.ledger) == names
    assert list(dict.fromkeys(asked(fake))) == names
    assert list(run.rows) == ["GG_1", "GG_3", "GG_5"]


def test_failures_do_not_count_towards_max_spans(tmp_path):
    names = ["VV_1", "GG_2", "VV_3", "GG_4", "GG_5"]
    repo = make_repo(tmp_path / "repo", *map(plain, names))
    with FakeOllama(lettered(*names)) as fake:
        run = drive(repo, "--max-spans", 2, hosts={"a": fake})
    assert list(run.ledger) == names[:4]
    assert list(run.rows) == ["GG_2", "GG_4"]


def test_sleep_is_a_pause_between_spans(tmp_path, host):
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"), plain("three"))
    drive(repo, "--sleep", 0.4, hosts={"a": host})
    starts = [call.started for call in host.calls]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert len(pauses) == 2
    assert all(pause >= 0.4 for pause in pauses)


def test_the_wait_separates_the_tries_within_an_attempt_too(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"))
    with FakeOllama([faults.HttpStatus(500)]) as fake:
        drive(repo, "--retry-wait", 0.4, hosts={"a": fake})
    first, second = fake.calls
    assert second.started - first.ended >= 0.39


def test_no_gateway_fallback_is_accepted_without_effect(tmp_path, host):
    run = drive(
        make_repo(tmp_path / "repo", plain("one")), "--no-gateway-fallback", hosts={"a": host}
    )
    assert (run.status, list(run.rows)) == (0, ["one"])


BACKEND_FLAGS = {
    "nothing": ([], "ollama"),
    "--api": (["--api"], "gateway"),
    "--backend gateway": (["--backend", "gateway"], "gateway"),
    "--api beats --local": (["--api", "--local"], "gateway"),
    "--api beats --backend": (["--api", "--backend", "ollama"], "gateway"),
    "--local beats --backend": (["--local", "--backend", "gateway"], "ollama"),
}


@pytest.mark.parametrize("case", BACKEND_FLAGS)
def test_the_backend_that_the_flags_choose(tmp_path, host, gateway, case):
    flags, expected = BACKEND_FLAGS[case]
    repo = make_repo(tmp_path / "repo", plain("one"))
    drive(repo, *flags, "--gateway-path", gateway, hosts={"a": host})
    assert (len(host.calls), len(gateway_calls(gateway))) == (
        (1, 0) if expected == "ollama" else (0, 1)
    )


@pytest.mark.parametrize("flags", [["--local"], ["--backend", "ollama"]])
def test_with_the_ollama_backend_even_nano_goes_to_ollama(tmp_path, host, gateway, flags):
    repo = make_repo(tmp_path / "repo", deep("one"))
    run = drive(repo, *flags, "--gateway-path", gateway, hosts={"a": host})
    assert [call.model for call in host.calls] == [SMALL_MODEL]
    assert run.ledger["one"]["router_tier"] == "nano"


def test_no_environment_variable_changes_the_backend_of_an_attempt(tmp_path, host, gateway):
    repo = make_repo(tmp_path / "repo", plain("one"), deep("two"))
    env = {
        "AZURE_OPENAI_ENDPOINT": DEAD_URL,
        "AZURE_OPENAI_KEY": "k",
        "AZURE_OPENAI_DEPLOYMENT": "d",
        "LLM_GATEWAY_FORCE_GATEWAY": "1",
        "LLM_GATEWAY_DISABLE_LOCAL": "1",
    }
    drive(repo, "--gateway-path", gateway, hosts={"a": host}, env=env)
    assert asked(host) == ["one"]
    assert [marked(call.prompt) for call in gateway_calls(gateway)] == ["two"]


ROUTER_SWITCHES = {
    "on by default": ([], {}, "14b"),
    "--router off": (["--router", "off"], {}, "7b"),
    "OFF in any case": ([], {"ROUTER_ENABLED": "OfF"}, "7b"),
    "0 leaves it on": ([], {"ROUTER_ENABLED": "0"}, "14b"),
    "false leaves it on": ([], {"ROUTER_ENABLED": "false"}, "14b"),
    "no leaves it on": ([], {"ROUTER_ENABLED": "no"}, "14b"),
    "empty leaves it on": ([], {"ROUTER_ENABLED": ""}, "14b"),
    "the flag beats the environment": (["--router", "on"], {"ROUTER_ENABLED": "off"}, "14b"),
}


@pytest.mark.parametrize("case", ROUTER_SWITCHES)
def test_the_router_is_off_only_for_off(tmp_path, host, case):
    flags, env, tier = ROUTER_SWITCHES[case]
    repo = make_repo(tmp_path / "repo", plain("one", lines=61))
    run = drive(repo, *flags, hosts={"a": host}, env=env)
    assert run.ledger["one"]["router_tier"] == tier


START_TIERS = {
    "the flag": (["--start-tier", "14b"], {}, None, "14b"),
    "the environment": ([], {"ROUTER_DEFAULT_TIER": "14b"}, None, "14b"),
    "the environment, in capitals and with blanks": (
        [],
        {"ROUTER_DEFAULT_TIER": " 14B\n"},
        None,
        "14b",
    ),
    "a blank environment is auto": ([], {"ROUTER_DEFAULT_TIER": " "}, None, "7b"),
    "an empty environment is auto": (
        [],
        {"ROUTER_DEFAULT_TIER": ""},
        {"default_tier": "14b"},
        "7b",
    ),
    "the flag beats the environment": (
        ["--start-tier", "7b"],
        {"ROUTER_DEFAULT_TIER": "14b"},
        None,
        "7b",
    ),
    "a word that is no tier gives the default tier": (
        [],
        {"ROUTER_DEFAULT_TIER": "huge"},
        {"default_tier": "14B"},
        "14b",
    ),
    "even a default tier that is none": (
        [],
        {"ROUTER_DEFAULT_TIER": "huge"},
        {"default_tier": "Giant"},
        "giant",
    ),
    "router off: the default tier": (
        ["--router", "off"],
        {},
        {"default_tier": "14b"},
        "14b",
    ),
    "router on: the default tier plays no part": ([], {}, {"default_tier": "14b"}, "7b"),
    "router off: --start-tier all the same": (
        ["--router", "off", "--start-tier", "14b"],
        {},
        None,
        "14b",
    ),
    "a line count of 0 is the default": ([], {}, {"promote_if": {"span_line_count_gte": 0}}, "7b"),
    "long spans start at the fallback tier even so": (
        ["--start-tier", "7b"],
        {},
        {"promote_if": {"span_line_count_gte": 3}},
        "14b",
    ),
}


@pytest.mark.parametrize("case", START_TIERS)
def test_the_start_tier(tmp_path, host, case):
    flags, env, policy, tier = START_TIERS[case]
    repo = make_repo(tmp_path / "repo", plain("one"))
    if policy:
        repo.write("router/policy.json", json.dumps(policy))
    run = drive(repo, *flags, hosts={"a": host}, env=env)
    assert run.ledger["one"]["router_tier"] == tier


def test_a_span_is_long_from_100_lines_on(tmp_path, host):
    repo = make_repo(tmp_path / "repo", plain("below", lines=99), plain("long", lines=100))
    run = drive(repo, "--start-tier", "7b", hosts={"a": host})
    assert [record["router_tier"] for record in run.ledger.values()] == ["7b", "14b"]


def test_start_tier_nano_goes_to_the_gateway(tmp_path, host, gateway):
    repo = make_repo(tmp_path / "repo", plain("one"))
    run = drive(repo, "--start-tier", "nano", "--gateway-path", gateway, hosts={"a": host})
    assert (asked(host), run.ledger["one"]["router_tier"]) == ([], "nano")


HEADROOMS = {
    "default": ([], {}, "7b"),
    "the flag": (["--max-tokens-headroom", 31500], {}, "nano"),
    "the environment": ([], {"ROUTER_MAX_TOKENS_HEADROOM": "31500"}, "nano"),
    "the environment beats the flag": (
        ["--max-tokens-headroom", 31500],
        {"ROUTER_MAX_TOKENS_HEADROOM": "4000"},
        "7b",
    ),
    "unless it is no integer": (
        ["--max-tokens-headroom", 31500],
        {"ROUTER_MAX_TOKENS_HEADROOM": "4e3"},
        "nano",
    ),
}


@pytest.mark.parametrize("case", HEADROOMS)
def test_the_headroom_below_the_context_limit(tmp_path, host, gateway, case):
    flags, env, tier = HEADROOMS[case]
    repo = make_repo(tmp_path / "repo", plain("one"))
    run = drive(repo, *flags, "--gateway-path", gateway, hosts={"a": host}, env=env)
    assert run.ledger["one"]["router_tier"] == tier


# -- dry run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    root = tmp_path_factory.mktemp("dry") / "repo"
    with FakeOllama() as fake:
        repo = make_repo(root, plain("one"), plain("two"))
        yield drive(repo, "--dry-run", hosts={"a": fake}), fake


def test_a_dry_run_prints_each_prompt(dry):
    run, _ = dry
    assert [run.stdout.count(f"mark:{name}") for name in ("one", "two")] == [1, 1]


def test_a_dry_run_ends_well(dry):
    run, _ = dry
    assert run.status == 0


def test_a_dry_run_calls_nothing(dry):
    _, fake = dry
    assert fake.calls == ()


def test_a_dry_run_leaves_no_record_and_no_row(dry):
    run, _ = dry
    assert (run.ledger, run.metrics, run.rows, run.saved) == ({}, {}, {}, {})


def test_a_dry_run_makes_the_logs_folder(dry):
    run, _ = dry
    assert (run.repo.root / "logs").is_dir()


# -- exit status ---------------------------------------------------------------------------------


def test_the_status_is_0_even_if_every_span_failed(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("V_1"))
    with FakeOllama(lettered("V_1")) as fake:
        run = drive(repo, hosts={"a": fake})
    assert (run.status, run.ledger["V_1"]["result"]) == (0, "fail")


BAD_FLAGS = {
    "backend": ["--backend", "cloud"],
    "router": ["--router", "maybe"],
    "start tier": ["--start-tier", "70b"],
    "a number": ["--retries", "many"],
    "an unknown flag": ["--no-such-flag"],
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_a_bad_flag_gives_status_2_before_any_request(tmp_path, host, case):
    run = drive(make_repo(tmp_path / "repo", plain("one")), *BAD_FLAGS[case], hosts={"a": host})
    assert (run.status, host.requests, run.rows) == (2, (), {})


def test_a_repository_without_git_gives_status_1(tmp_path, host):
    repo = make_repo(tmp_path / "repo", plain("one"))
    (repo.root / ".git").rename(tmp_path / "elsewhere")
    run = drive(repo, hosts={"a": host})
    assert (run.status, host.calls, run.rows) == (1, (), {})


def test_a_git_file_as_in_a_work_tree_is_enough(tmp_path, host):
    repo = make_repo(tmp_path / "repo", plain("one"))
    (repo.root / ".git").rename(tmp_path / "elsewhere")
    repo.write(".git", f"gitdir: {tmp_path / 'elsewhere'}\n")
    run = drive(repo, hosts={"a": host})
    assert (run.status, list(run.rows)) == (0, ["one"])


def test_a_policy_that_is_not_json_gives_status_1(tmp_path, host):
    repo = make_repo(tmp_path / "repo", plain("one"))
    repo.write("router/policy.json", "{default_tier: 7b}")
    run = drive(repo, hosts={"a": host})
    assert (run.status, host.calls, run.rows) == (1, (), {})
    assert "policy.json" in run.stderr


# -- health check --------------------------------------------------------------------------------

UNREACHABLE_RUNS = {
    "plain": [],
    "--api": ["--api"],
    "--dry-run": ["--dry-run"],
}


@pytest.mark.parametrize("case", UNREACHABLE_RUNS)
def test_no_reachable_host_ends_it_with_status_2_before_any_work(tmp_path, gateway, case):
    repo = make_repo(tmp_path / "repo", plain("one"))
    hosts = {"attic": DEAD_URL, "cellar": "http://127.0.0.1:10"}
    run = drive(repo, *UNREACHABLE_RUNS[case], "--gateway-path", gateway, hosts=hosts)
    assert run.status == 2
    assert (run.ledger, run.rows, gateway_calls(gateway)) == ({}, {}, [])
    assert "mark:one" not in run.stdout
    said = run.stdout + run.stderr
    assert all(word in said for word in ("attic", DEAD_URL, "cellar", "http://127.0.0.1:10"))


@pytest.mark.parametrize("value", ["1", " Yes ", "TRUE", "on"])
def test_these_words_leave_the_health_check_on(tmp_path, value):
    repo = make_repo(tmp_path / "repo", plain("one"))
    env = {"ENRICH_HEALTHCHECK_ENABLED": value}
    assert drive(repo, hosts={"a": DEAD_URL}, env=env).status == 2


@pytest.mark.parametrize("value", ["0", "", "enabled"])
def test_any_other_word_turns_the_health_check_off(tmp_path, value):
    repo = make_repo(tmp_path / "repo", plain("one"))
    env = {"ENRICH_HEALTHCHECK_ENABLED": value}
    run = drive(repo, hosts={"a": DEAD_URL}, env=env)
    assert (run.status, run.ledger["one"]["reason"]) == (0, "runtime")


def test_each_host_gets_one_cheap_request(tmp_path):
    repo = make_repo(tmp_path / "repo")
    with FakeOllama() as first, FakeOllama() as second:
        drive(repo, hosts={"a": first, "b": second})
        assert [len(host.requests) for host in (first, second)] == [1, 1]
        assert first.calls + second.calls == ()


@pytest.mark.parametrize(("status", "expected"), [(204, 0), (299, 0), (404, 2), (503, 2)])
def test_any_2xx_counts_as_reachable_and_nothing_else(tmp_path, status, expected):
    repo = make_repo(tmp_path / "repo")
    with serving(status) as url:
        assert drive(repo, hosts={"a": url}).status == expected


def test_the_timeout_of_the_health_check_comes_from_the_environment(tmp_path):
    repo = make_repo(tmp_path / "repo")
    env = {"ENRICH_HEALTHCHECK_TIMEOUT_SECONDS": "0.3"}
    with serving(200, wait=20) as url:
        run = drive(repo, hosts={"a": url}, env=env)
    assert run.status == 2
    assert run.seconds < 4


# -- hosts ---------------------------------------------------------------------------------------


def hosts_tried(tmp_path, env):
    """Return (label, call count) of the hosts that a span which always fails is taken to."""
    repo = make_repo(tmp_path / "repo", plain("R_1"))
    run = drive(repo, "--router", "off", env=env | {"ENRICH_HEALTHCHECK_ENABLED": "0"})
    return [attempt["host"] for attempt in run.metrics["R_1"]["attempt_details"]]


def test_the_host_chain_as_it_may_be_written(tmp_path):
    with FakeOllama(lettered("R_1")) as first, FakeOllama(lettered("R_1")) as second:
        address = second.url.removeprefix("http://")
        chain = f" , attic = {first.url}// ,empty=, {address} ,=,= {first.url} ,attic={second.url}/"
        tried = hosts_tried(tmp_path, {"ENRICH_OLLAMA_HOSTS": chain})
        calls = sorted(
            (call.started, "12"[host is second]) for host in (first, second) for call in host.calls
        )
    assert tried == ["attic", "host2", "host3", "attic"]
    assert "".join(which for _, which in calls) == "1212"


def test_a_chain_of_nothing_falls_back_to_athena_and_then_ollama_url(tmp_path):
    with FakeOllama(lettered("R_1")) as first, FakeOllama(lettered("R_1")) as second:
        env = {
            "ENRICH_OLLAMA_HOSTS": " , x= ",
            "ATHENA_OLLAMA_URL": first.url,
            "OLLAMA_URL": second.url,
        }
        assert hosts_tried(tmp_path, env) == ["athena", "localhost", "localhost"]
        assert (len(first.calls), len(second.calls)) == (1, 2)


def test_the_label_of_ollama_url(tmp_path):
    with FakeOllama(lettered("R_1")) as fake:
        env = {"OLLAMA_URL": f"{fake.url}/", "OLLAMA_HOST_LABEL": "desk"}
        assert set(hosts_tried(tmp_path, env)) == {"desk"}
        assert len(fake.calls) == 3


def test_an_empty_ollama_url_is_dropped(tmp_path):
    with FakeOllama(lettered("R_1")) as fake:
        env = {"ATHENA_OLLAMA_URL": fake.url, "OLLAMA_URL": ""}
        assert hosts_tried(tmp_path, env) == ["athena"] * 3


def test_the_configured_chain_beats_athena_and_ollama_url(tmp_path):
    with FakeOllama(lettered("R_1")) as fake:
        env = {
            "ENRICH_OLLAMA_HOSTS": f"attic={fake.url}",
            "ATHENA_OLLAMA_URL": DEAD_URL,
            "OLLAMA_URL": DEAD_URL,
        }
        assert hosts_tried(tmp_path, env) == ["attic"] * 3


def test_with_no_host_at_all_attempts_fail_as_runtime_and_one_host_is_counted(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"))
    env = {"OLLAMA_URL": "", "ENRICH_HEALTHCHECK_ENABLED": "0"}
    run = drive(repo, "--retries", 1, env=env)
    record = run.ledger["one"]
    assert (run.status, record["reason"], record["attempts"]) == (0, "runtime", 2)


# -- the index -----------------------------------------------------------------------------------


def test_which_index_is_used(tmp_path, host):
    """All three variables name one; then the first of them is dropped, and so on."""
    repo = make_repo(tmp_path / "repo")
    env = {
        "LLMC_RAG_INDEX_PATH": "in/the/first.db",
        "EMBEDDING_INDEX_PATH": str(tmp_path / "second.db"),
        "EMBEDDING_INDEX_NAME": "third.db",
    }
    places = (*list(env.values())[:2], ".rag/third.db", ".rag/standard.db")
    for place in places:
        repo.add(f"src/{Path(place).stem}.py", plain(Path(place).stem))
        (repo.root / place).parent.mkdir(parents=True, exist_ok=True)
        repo.index.rename(repo.root / place)
        make_index(repo.index)
    (repo.root / places[-1]).rename(repo.index)
    used = []
    for dropped in ("", *env):
        env.pop(dropped, None)
        before = len(host.calls)
        drive(repo, hosts={"a": host}, env=env)
        used += asked(host)[before:]
    assert used == ["first", "second", "third", "standard"]


# -- the work list -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A run over files of every kind; the names say what should become of them."""
    repo = make_repo(tmp_path_factory.mktemp("work") / "repo")
    for path in (
        "kept/first.py",
        "build/by_git.py",
        "docs/by_ragignore.py",
        "vendor/lib/by_prefix.py",
        "a/vendor/kept_as_prefixes_are_from_the_root.py",
        "x/y/by_pattern.gen.py",
        "kept/last.py",
    ):
        repo.add(path, plain(path.split("/")[-1].split(".")[0]))
    repo.add("kept/gone.py", plain("gone_1"), plain("gone_2"))
    repo.add("kept/done.py", plain("done"))
    repo.execute("INSERT INTO enrichments (span_hash) VALUES (?)", repo.hashes["done"])
    repo.execute("INSERT INTO enrichments (span_hash) VALUES (?)", repo.hashes["gone_2"])
    repo.execute("INSERT INTO embeddings VALUES (?, x'00')", repo.hashes["gone_1"])
    repo.write(".gitignore", "build/\n")
    repo.write(".ragignore", "docs/\n!docs/never\n")
    (repo.root / "kept/gone.py").unlink()
    env = {"LLMC_RAG_EXCLUDE": "vendor/, *.gen.py"}
    with FakeOllama() as fake:
        yield drive(repo, hosts={"a": fake}, env=env), fake


def test_ignored_paths_and_spans_with_a_row_are_skipped(work):
    _, fake = work
    assert asked(fake) == ["first", "kept_as_prefixes_are_from_the_root", "last"]


def test_the_index_rows_of_ignored_files_stay(work):
    run, _ = work
    paths = {row["path"] for row in run.repo.query("SELECT path FROM files")}
    assert {"build/by_git.py", "docs/by_ragignore.py", "vendor/lib/by_prefix.py"} <= paths


def test_a_missing_file_loses_its_row(work):
    run, _ = work
    assert run.repo.query("SELECT * FROM files WHERE path = 'kept/gone.py'") == []


def test_a_missing_file_takes_with_it_all_that_hangs_on_its_spans(work):
    run, _ = work
    gone = (run.repo.hashes["gone_1"], run.repo.hashes["gone_2"])
    for table in ("spans", "enrichments", "embeddings"):
        assert run.repo.query(f"SELECT * FROM {table} WHERE span_hash IN (?, ?)", *gone) == []


def test_a_missing_file_leaves_no_record(work):
    run, _ = work
    assert not run.ledger.keys() & {"gone_1", "gone_2"}


def test_max_spans_is_not_used_up_by_skipped_spans(tmp_path, host):
    repo = make_repo(tmp_path / "repo")
    for number in range(4):
        repo.add(f"skip/{number}.py", plain(f"skipped{number}"))
    repo.add("kept.py", plain("kept"))
    drive(
        repo,
        *("--max-spans", 1, "--batch-size", 1),
        hosts={"a": host},
        env={"LLMC_RAG_EXCLUDE": "skip/"},
    )
    assert asked(host) == ["kept"]


def test_cooldown_skips_files_that_changed_lately(tmp_path, host):
    repo = make_repo(tmp_path / "repo")
    repo.add("young.py", plain("young"), age=60)
    repo.add("old.py", plain("old"), age=300)
    drive(repo, "--cooldown", 120, hosts={"a": host})
    assert asked(host) == ["old"]


def test_without_cooldown_a_file_changed_just_now_is_taken(tmp_path, host):
    repo = make_repo(tmp_path / "repo")
    repo.add("young.py", plain("young"), age=0)
    drive(repo, hosts={"a": host})
    assert asked(host) == ["young"]


# -- the excerpt and the prompt ------------------------------------------------------------------


def wide(name, text, length):
    """A span of one line of this length that ends in the text."""
    start = f"# mark:{name} "
    return Piece(name, start + "x" * (length - len(start) - len(text)) + text)


JSON_TEXT = '{"mark:json": [1, {"a": null}], "b": "{"}'


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run over spans whose routing metrics are known, with room for all of their prompts."""
    repo = make_repo(
        tmp_path_factory.mktemp("measured") / "repo",
        wide("exact", "{", 800),
        wide("over", "{(x", 801),
        wide("far", "{" * 30, 5000),
        Piece("bytes", b"# mark:bytes \xff\xfe caf\xc3\xa9\n"),
        Piece("json", JSON_TEXT),
        Piece("calls", "# mark:calls f(x) g(y)\n"),
        Piece("closers", "# mark:closers [[}]]\n", lines=7),
        Piece("empty", ""),
    )
    repo.write("presets/enrich_7b_ollama.yaml", "num_ctx: 32768\n")
    with FakeOllama() as fake:
        yield drive(repo, "--local", "--start-tier", "7b", hosts={"a": fake}), fake


def sizes(record):
    names = ("line_count", "nesting_depth", "node_count", "schema_depth")
    return tuple(record[name] for name in names)


def test_text_of_800_characters_is_measured_whole(measured):
    assert sizes(measured[0].ledger["exact"]) == (1, 1, 1, 1)


def test_longer_text_is_measured_by_its_first_799_characters(measured):
    assert sizes(measured[0].ledger["over"]) == (1, 1, 1, 1)
    assert sizes(measured[0].ledger["far"]) == (1, 0, 0, 0)


def test_json_is_measured_by_its_nodes_and_levels(measured):
    assert sizes(measured[0].ledger["json"])[2:] == (6, 4)


def test_a_closing_parenthesis_counts_as_nesting(measured):
    assert sizes(measured[0].ledger["calls"]) == (1, 4, 0, 0)


def test_a_closer_pops_to_its_opener_or_all(measured):
    assert sizes(measured[0].ledger["closers"]) == (7, 2, 2, 2)


def test_tokens_out_has_its_floor(measured):
    assert {record["tokens_out"] for record in measured[0].ledger.values()} == {1200}


def test_tokens_in_is_a_quarter_of_the_prompt_rounded_up(measured):
    run, fake = measured
    for call in fake.calls:
        if "mark:" in call.prompt:
            record = run.ledger[marked(call.prompt)]
            assert record["tokens_in"] == math.ceil(len(call.prompt) / 4)


def test_bad_bytes_are_replaced(measured):
    _, fake = measured
    assert sum("# mark:bytes \ufffd\ufffd caf\xe9" in call.prompt for call in fake.calls) == 1


def test_an_empty_span_is_tried_and_measures_nothing(measured):
    assert sizes(measured[0].ledger["empty"]) == (1, 0, 0, 0)


def test_the_prompt_carries_the_code_whole(measured):
    _, fake = measured
    [prompt] = [call.prompt for call in fake.calls if "mark:far" in call.prompt]
    assert "x" * 4900 in prompt
    assert "{" * 30 in prompt


def test_a_prompt_that_the_context_cannot_take_is_cut_and_says_so(tmp_path, host):
    long = "".join(f"value = {number}\n" for number in range(5000))
    repo = make_repo(tmp_path / "repo", Piece("long", f"# mark:long\n{long}"))
    drive(repo, "--router", "off", hosts={"a": host})
    [call] = host.calls
    assert not call.call.prompt_cut  # the server would have cut it silently
    assert "value = 4999" not in call.prompt
    assert "not shown" in call.prompt


def test_a_span_of_too_many_tokens_starts_at_nano(tmp_path, host, gateway):
    repo = make_repo(
        tmp_path / "repo",
        Piece("below", "# mark:below\n" + "x" * 4 * 20000, lines=1),
        Piece("above", "# mark:above\n" + "x" * 4 * 27000, lines=1),
    )
    run = drive(repo, "--gateway-path", gateway, hosts={"a": host})
    assert [run.ledger[name]["router_tier"] for name in ("below", "above")] == ["7b", "nano"]


def test_the_route_by_depth_lines_and_nesting(tmp_path, host, gateway):
    repo = make_repo(
        tmp_path / "repo",
        deep("deep"),
        Piece("six", "# mark:six {{{{{{ }}}}}}\n"),
        plain("sixty", lines=60),
        plain("sixty_one", lines=61),
        Piece("nested", "# mark:nested f(x) g(y)\n"),
        Piece("flat", "# mark:flat f(x) g(\n"),
    )
    run = drive(repo, "--gateway-path", gateway, hosts={"a": host})
    assert {name: record["router_tier"] for name, record in run.ledger.items()} == {
        "deep": "nano",
        "six": "14b",
        "sixty": "7b",
        "sixty_one": "14b",
        "nested": "14b",
        "flat": "7b",
    }


def test_the_limits_of_the_route_come_from_the_environment(tmp_path, host, gateway):
    repo = make_repo(
        tmp_path / "repo",
        Piece("nodes", "# mark:nodes [][][]\n"),
        Piece("depth", "# mark:depth [[]]\n", lines=1),
        plain("lines", lines=5),
        plain("short", lines=4),
        Piece("nested", "# mark:nested f(\n"),
    )
    env = {
        "ROUTER_NODE_LIMIT": "2",
        "ROUTER_DEPTH_LIMIT": "1",
        "ROUTER_NESTING_LIMIT": "0",
        "ROUTER_LINE_THRESHOLDS": "9, 4",
    }
    run = drive(repo, "--gateway-path", gateway, hosts={"a": host}, env=env)
    assert {name: record["router_tier"] for name, record in run.ledger.items()} == {
        "nodes": "nano",
        "depth": "nano",
        "lines": "14b",
        "short": "7b",
        "nested": "14b",
    }


@pytest.mark.parametrize("value", ["5,0", "-1,5", "5", "5,6,7", "5,six", ""])
def test_line_thresholds_that_are_not_two_positive_integers_are_60_and_100(tmp_path, host, value):
    repo = make_repo(tmp_path / "repo", plain("sixty", lines=60), plain("more", lines=61))
    run = drive(repo, hosts={"a": host}, env={"ROUTER_LINE_THRESHOLDS": value})
    assert [record["router_tier"] for record in run.ledger.values()] == ["7b", "14b"]


def test_models_by_tier_and_nothing_else_on_the_wire(tmp_path, host):
    """With no gateway and no second host in sight, two calls are all that two spans take."""
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two", lines=61))
    drive(repo, hosts={"a": host})
    assert [call.model for call in host.calls] == [SMALL_MODEL, LARGE_MODEL]
    assert len(host.requests) == 3


def test_an_index_of_nothing_pending_ends_well_and_makes_the_logs(tmp_path, host):
    repo = make_repo(tmp_path / "repo")
    run = drive(repo, hosts={"a": host})
    assert (run.status, (repo.root / "logs").is_dir()) == (0, True)
