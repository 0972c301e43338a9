"""What a run leaves behind: records, rows and saved replies, compared whole (SPEC §12 to §15)."""

import json
import math
import re
import shutil
import time
from datetime import UTC, datetime

import pytest

from llmc.testing import faults
from llmc.testing.gateway import GatewayReply, write_gateway
from llmc.testing.ollama import FakeOllama
from tests.driving import (
    LARGE_MODEL,
    LETTERS,
    NO_HOST,
    NUMBER,
    PARSE,
    SMALL_MODEL,
    STAMP,
    TRUNCATION,
    VALIDATION,
    Is,
    Replies,
    drive,
    json_lines,
    lettered,
    make_repo,
    marked,
    plain,
)

PRESET = "presets/enrich_7b_ollama.yaml"
OPTIONS = "options: {num_ctx: 4096, num_batch: 40, num_gpu: 33, num_thread: 2}\n"
CUT = "  Ein Anfang {\xfc\n "
LEDGER_KEYS = (
    "timestamp task_id path tier_used router_tier line_count nesting_depth node_count schema_depth "
    "tokens_in tokens_out k avg_score promo schema_ok tok_s gpu_util gpu_util_max vram_mib ctx "
    "batch num_thread num_gpu rss_mib attempts wall_ms result_model result reason"
)
METRICS_KEYS = (
    "timestamp repo_root span_hash path duration_sec model tier router_tier schema_ok tok_s "
    "gpu_util gpu_util_max vram_mib vram_avg_mib rss_mib ctx batch num_thread num_gpu attempts "
    "estimated_tokens_per_span"
)
SUCCESS_KEYS = (
    "spans_total enrichments_total estimated_remote_tokens_saved estimated_remote_tokens_repo_cap"
)


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A PATH with git but without an nvidia-smi that this machine may have."""
    folder = tmp_path_factory.mktemp("tools")
    (folder / "git").symlink_to(shutil.which("git"))
    return {"PATH": str(folder)}


RICH = {
    "summary_120w": "  Adds two numbers, \xfc.  ",
    "inputs": ["left: a number", "  ", 5, " right "],
    "outputs": "the sum",
    "side_effects": None,
    "pitfalls": {"not": "a list"},
    "usage_snippet": "\n" + "".join(f"add({n}, 1)\n" for n in range(14)),
    "tags": ["math", " sum ", None],
    "evidence": [
        {"field": "inputs", "lines": [5, 4], "because": "it says so"},
        {"field": "tags", "lines": [4, 4]},
        {"field": ["inputs"], "lines": [4, 4]},
        {"field": "outputs", "lines": [4]},
        "line 4",
    ],
}
PLANS = {
    "GG_1": LETTERS["G"],
    "PG_2": LETTERS["G"],
    "VVV_3": LETTERS["V"],
    "PPT_4": CUT,
    "TTP_5": PARSE,
    "RRR_6": LETTERS["R"],
    "PPV_7": VALIDATION,
    "PPR_8": LETTERS["R"],
}


@pytest.fixture(scope="module")
def records(tmp_path_factory, tools):
    """A run with every kind of end; the last letter of a name is the last outcome."""
    repo = make_repo(tmp_path_factory.mktemp("records") / "repo")
    repo.add("src/first.py", plain("before"), plain("rich"))
    repo.execute("INSERT INTO enrichments (span_hash) VALUES (?)", repo.hashes["before"])
    for name in PLANS:
        repo.add(f"src/{name}.py", plain(name))
    repo.write(PRESET, OPTIONS)
    replies = {
        name: [*(LETTERS[letter] for letter in name.split("_")[0][:-1]), last]
        for name, last in PLANS.items()
    }
    replies["rich"] = [json.dumps(RICH)]
    with FakeOllama(Replies(replies)) as fake:
        env = tools | {"TZ": "Asia/Tokyo"}
        before = time.time()
        run = drive(repo, "--schema-version", "v.9", hosts={"attic": fake}, env=env)
        yield run, fake, (before, time.time())


def tokens_in(fake, name):
    prompts = {len(call.prompt) for call in fake.calls if marked(call.prompt) == name}
    [length] = prompts
    return math.ceil(length / 4)


ENDS = {
    "rich": ("7b", "none", 1, "success"),
    "GG_1": ("7b", "none", 1, "success"),
    "PG_2": ("14b", "7b->14b", 2, "success"),
    "VVV_3": ("14b", "7b->14b", 3, "validation"),
    "PPT_4": ("14b", "7b->14b", 3, "truncation"),
    "TTP_5": ("14b", "7b->14b", 3, "parse"),
    "RRR_6": ("14b", "7b->14b", 3, "runtime"),
    "PPV_7": ("14b", "7b->14b", 3, "validation"),
    "PPR_8": ("14b", "7b->14b", 3, "runtime"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_ledger_record_whole(records, name):
    run, fake, _ = records
    tier, promo, attempts, reason = ENDS[name]
    good = reason == "success"
    assert run.ledger[name] == {
        "timestamp": STAMP,
        "task_id": run.repo.hashes[name],
        "path": run.repo.places[name][0],
        "tier_used": tier,
        "router_tier": tier,
        "line_count": 3,
        "nesting_depth": 0,
        "node_count": 0,
        "schema_depth": 0,
        "tokens_in": tokens_in(fake, name),
        "tokens_out": 1200,
        "k": None,
        "avg_score": None,
        "promo": promo,
        "schema_ok": good,
        "tok_s": NUMBER if good else None,
        "gpu_util": None,
        "gpu_util_max": None,
        "vram_mib": None,
        "ctx": 4096,
        "batch": 20 if tier == "14b" else 40,
        "num_thread": 2,
        "num_gpu": 33,
        "rss_mib": NUMBER,
        "attempts": attempts,
        "wall_ms": NUMBER,
        "result_model": LARGE_MODEL if tier == "14b" else SMALL_MODEL,
        "result": "pass" if good else "fail",
        "reason": reason,
    }


@pytest.mark.parametrize("name", ENDS)
def test_the_metrics_record_whole(records, name):
    run, _, _ = records
    tier, _, attempts, reason = ENDS[name]
    good = reason == "success"
    stored = list(run.rows).index(name) + 1 if good else None
    expected = {
        "timestamp": STAMP,
        "repo_root": str(run.repo.root),
        "span_hash": run.repo.hashes[name],
        "path": run.repo.places[name][0],
        "duration_sec": NUMBER,
        "model": LARGE_MODEL if tier == "14b" else SMALL_MODEL,
        "tier": tier,
        "router_tier": tier,
        "schema_ok": good,
        "tok_s": NUMBER if good else None,
        "gpu_util": None,
        "gpu_util_max": None,
        "vram_mib": None,
        "vram_avg_mib": None,
        "rss_mib": NUMBER,
        "ctx": 4096,
        "batch": 20 if tier == "14b" else 40,
        "num_thread": 2,
        "num_gpu": 33,
        "attempts": attempts,
        "estimated_tokens_per_span": 350,
    }
    if good:
        expected |= {
            "spans_total": 10,
            "enrichments_total": stored,
            "estimated_remote_tokens_saved": 350 * stored,
            "estimated_remote_tokens_repo_cap": 3500,
        }
    known = {*METRICS_KEYS.split(), *SUCCESS_KEYS.split()}
    assert {key: v for key, v in run.metrics[name].items() if key in known} == expected


def test_the_ledger_has_these_keys_and_no_others(records):
    run, _, _ = records
    keys = {tuple(sorted(record)) for record in run.ledger.values()}
    assert keys == {tuple(sorted(LEDGER_KEYS.split()))}


def test_every_span_has_one_line_in_either_file_in_their_order(records):
    run, _, _ = records
    assert list(run.ledger) == list(run.metrics) == list(ENDS)


def test_the_rows_are_those_of_the_successes(records):
    run, _, _ = records
    assert list(run.rows) == ["before", "rich", "GG_1", "PG_2"]


def test_a_rich_row_whole(records):
    """What is written to created_at as text comes back as an integer: so are DATETIME columns."""
    run, _, (before, after) = records
    row = dict(run.rows["rich"])
    texts = {
        key: row.pop(key) for key in ("evidence", "inputs", "outputs", "side_effects", "pitfalls")
    }
    assert row == {
        "span_hash": run.repo.hashes["rich"],
        "summary": "Adds two numbers, \xfc.",
        "tags": "math,sum",
        "model": SMALL_MODEL,
        "created_at": Is(int, check=lambda seconds: int(before) <= seconds <= after),
        "schema_ver": "v.9",
        "usage_snippet": "\n".join(f"add({n}, 1)" for n in range(12)),
    }
    assert {key: json.loads(text) for key, text in texts.items()} == {
        "inputs": ["left: a number", "right"],
        "outputs": ["the sum"],
        "side_effects": [],
        "pitfalls": [],
        "evidence": [
            {"field": "inputs", "lines": [5, 4]},
            {"field": "summary_120w", "lines": [4, 6]},
            {"field": "outputs", "lines": [4, 6]},
            {"field": "usage_snippet", "lines": [4, 6]},
        ],
    }


def test_a_plain_row_whole(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"))
    with FakeOllama(["{}"]) as fake:
        run = drive(repo, hosts={"a": fake})
    assert run.rows["one"] == {
        "span_hash": repo.hashes["one"],
        "summary": "",
        "tags": None,
        "evidence": "[]",
        "model": SMALL_MODEL,
        "created_at": Is(int),
        "schema_ver": "enrichment.v1",
        "inputs": "[]",
        "outputs": "[]",
        "side_effects": "[]",
        "pitfalls": "[]",
        "usage_snippet": None,
    }


# -- saved replies -------------------------------------------------------------------------------


def test_only_a_last_reply_that_cannot_be_read_is_saved(records):
    run, _, _ = records
    names = [run.repo.name(file.rsplit("_", 1)[0]) for file in run.saved]
    assert sorted(names) == ["PPT_4", "TTP_5"]


def test_the_saved_reply_is_the_raw_one(records):
    run, _, _ = records
    saved = {run.repo.name(file.rsplit("_", 1)[0]): text for file, text in run.saved.items()}
    assert saved == {"PPT_4": CUT, "TTP_5": PARSE}


def test_the_file_of_a_saved_reply_has_the_hash_and_the_time_in_utc(records):
    run, _, (before, after) = records
    for file in run.saved:
        found = re.fullmatch(r"(sha256:[0-9a-f]{64})_(\d{8}T\d{6}Z)\.json", file)
        assert found, file
        stamp = datetime.strptime(found[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        assert int(before) <= stamp <= after


# -- order and totals ----------------------------------------------------------------------------


def test_the_ledger_line_comes_after_the_metrics_line(tmp_path):
    """Both go to one file here, which shows their order."""
    repo = make_repo(tmp_path / "repo", plain("GG_1"), plain("VV_2"))
    both = repo.root / "logs/run_ledger.log"
    with FakeOllama(lettered("GG_1", "VV_2")) as fake:
        drive(repo, "--log", both, hosts={"a": fake})
    kinds = ["ledger" if "task_id" in line else "metrics" for line in json_lines(both)]
    assert kinds == ["metrics", "ledger"] * 2


def test_records_are_appended(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("GG_1"))
    repo.write("logs/run_ledger.log", '{"earlier": 1}\n')
    repo.write("logs/enrichment_metrics.jsonl", '{"earlier": 2}\n')
    with FakeOllama() as fake:
        drive(repo, hosts={"a": fake})
    for file in ("run_ledger.log", "enrichment_metrics.jsonl"):
        lines = json_lines(repo.root / "logs" / file)
        assert [len(lines), list(lines[0])] == [2, ["earlier"]]


def test_the_estimate_per_span_comes_from_llmc_toml(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("GG_1"), plain("VV_2"))
    repo.write("llmc.toml", "[enrichment]\nest_tokens_per_span = 100\n")
    with FakeOllama(lettered("GG_1", "VV_2")) as fake:
        run = drive(repo, hosts={"a": fake})
    assert [record["estimated_tokens_per_span"] for record in run.metrics.values()] == [100, 100]
    good = run.metrics["GG_1"]
    assert good["estimated_remote_tokens_saved"] == 100
    assert good["estimated_remote_tokens_repo_cap"] == 200


def test_a_failure_has_no_totals(records):
    run, _, _ = records
    assert not run.metrics["VVV_3"].keys() & set(SUCCESS_KEYS.split())


def test_log_fields_that_the_metrics_do_not_have_are_null(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("GG_1"), plain("VV_2"))
    policy = {"log_fields": ["attempts", "team", "spans_total"]}
    repo.write("router/policy.json", json.dumps(policy))
    with FakeOllama(lettered("GG_1", "VV_2")) as fake:
        run = drive(repo, hosts={"a": fake})
    chosen = [[record[name] for name in policy["log_fields"]] for record in run.metrics.values()]
    assert chosen == [[1, None, 2], [3, None, None]]
    assert not {"team", "spans_total"} & run.ledger["GG_1"].keys()


def test_tok_s_is_tokens_per_second(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"))
    body = json.dumps(
        {"response": "{}", "done": True, "eval_count": 30, "eval_duration": 2_000_000_000}
    )
    with FakeOllama([faults.NotJson(body.encode())]) as fake:
        run = drive(repo, hosts={"a": fake})
    assert run.ledger["one"]["tok_s"] == run.metrics["one"]["tok_s"] == 15


def test_durations_count_all_attempts(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("PG_1"))
    with FakeOllama(lettered("PG_1"), latency=0.2) as fake:
        run = drive(repo, hosts={"a": fake})
    assert 0.4 <= run.metrics["PG_1"]["duration_sec"] < 10
    assert 400 <= run.ledger["PG_1"]["wall_ms"] < 10000


# -- what a reply says of itself -----------------------------------------------------------------

OWN = {
    "text": ('{"model": "mine", "schema_version": "s.1"}', ("mine", "s.1")),
    "null": ('{"model": null, "schema_version": null}', (None, None)),
    "only_model": ('{"model": "mine"}', ("mine", "enrichment.v1")),
    "neither": ("{}", (SMALL_MODEL, "enrichment.v1")),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    repo = make_repo(tmp_path_factory.mktemp("own") / "repo", *map(plain, OWN))
    replies = Replies({name: [reply] for name, (reply, _) in OWN.items()})
    with FakeOllama(replies) as fake:
        yield drive(repo, hosts={"a": fake})


@pytest.mark.parametrize("name", OWN)
def test_the_reply_may_name_its_model_and_schema(own, name):
    row = own.rows[name]
    assert (row["model"], row["schema_ver"]) == OWN[name][1]


def test_what_a_reply_says_of_itself_stays_out_of_the_records(own):
    assert {record["result_model"] for record in own.ledger.values()} == {SMALL_MODEL}


# -- result_model --------------------------------------------------------------------------------

NULL_MODEL = "model: m:7b\nfallback_model: null\n"
RESULT_MODELS = {
    "refused: the model sent": ("P", "", [], {}, LARGE_MODEL),
    "runtime: the model sent": ("R", "", [], {}, LARGE_MODEL),
    "runtime, other model": ("R", "fallback_model: f:1b\n", [], {}, "f:1b"),
    "null: the 7b preset's": ("P", NULL_MODEL, ["--fallback-model", "flag:1b"], {}, "m:7b"),
    "null, runtime: too": ("R", NULL_MODEL, ["--fallback-model", "flag:1b"], {}, "m:7b"),
    "null, blank flag: too": ("P", NULL_MODEL, ["--fallback-model", " "], {}, "m:7b"),
    "null, $RAG_FALLBACK_MODEL: too": (
        "P",
        NULL_MODEL,
        [],
        {"RAG_FALLBACK_MODEL": "rag:1b"},
        "m:7b",
    ),
    "null, $OLLAMA_MODEL: that": (
        "P",
        NULL_MODEL,
        ["--fallback-model", "flag:1b"],
        {"OLLAMA_MODEL": "env:1b"},
        "env:1b",
    ),
    "empty, $OLLAMA_MODEL: that": (
        "P",
        'fallback_model: ""\n',
        ["--fallback-model", "flag:1b"],
        {"OLLAMA_MODEL": "env:1b"},
        "env:1b",
    ),
    "empty: the 7b preset's": ("T", 'model: m:7b\nfallback_model: ""\n', [], {}, "m:7b"),
    "success: the model sent": ("G", NULL_MODEL, [], {"OLLAMA_MODEL": "env:1b"}, "env:1b"),
    "success with an empty one: too": (
        "G",
        'fallback_model: ""\n',
        ["--fallback-model", "flag:1b"],
        {"OLLAMA_MODEL": "env:1b"},
        "env:1b",
    ),
}


@pytest.mark.parametrize("case", RESULT_MODELS)
def test_the_result_model_at_14b(tmp_path, case):
    letter, preset, flags, env, expected = RESULT_MODELS[case]
    repo = make_repo(tmp_path / "repo", plain(f"{letter}_1"))
    repo.write(PRESET, preset)
    with FakeOllama(lettered(f"{letter}_1")) as fake:
        words = ["--start-tier", "14b", "--retries", 1, "--model", "not-this"]
        run = drive(repo, *words, *flags, hosts={"a": fake}, env=env)
    [call, *_] = fake.calls
    assert call.model == expected
    assert run.ledger[f"{letter}_1"]["result_model"] == expected
    assert run.metrics[f"{letter}_1"]["model"] == expected
    assert run.metrics[f"{letter}_1"]["attempt_details"][-1]["model"] == expected


GATEWAY_MODELS = {
    "runtime: --fallback-model": (GatewayReply(exit_code=1), "flag:1b", {}, "flag:1b"),
    "runtime: even with a label": (
        GatewayReply(""),
        "flag:1b",
        {"GEMINI_MODEL": "gemini-x"},
        "flag:1b",
    ),
    "runtime, blank flag: OLLAMA_MODEL": (
        GatewayReply(""),
        "",
        {"OLLAMA_MODEL": "env:1b"},
        "env:1b",
    ),
    "refused: the label": (TRUNCATION, "flag:1b", {"GEMINI_MODEL": "gemini-x"}, "gemini-x"),
    "refused: the label by default": (VALIDATION, "flag:1b", {}, "gemini"),
    "refused with an empty label": (PARSE, "flag:1b", {"GEMINI_MODEL": ""}, ""),
}


@pytest.mark.parametrize("case", GATEWAY_MODELS)
def test_the_result_model_of_a_gateway_failure(tmp_path, case):
    reply, fallback, env, expected = GATEWAY_MODELS[case]
    repo = make_repo(tmp_path / "repo", plain("one"))
    path = write_gateway(tmp_path / "gateway", default=reply)
    words = ["--api", "--gateway-path", path, "--fallback-model", fallback, "--model", "not-this"]
    run = drive(repo, *words, env=NO_HOST | env)
    assert run.ledger["one"]["result_model"] == expected
    assert run.metrics["one"]["model"] == expected


def test_a_gateway_record_has_no_options(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"))
    path = write_gateway(tmp_path / "gateway", ["{}"], default=GatewayReply(exit_code=1))
    run = drive(repo, "--api", "--gateway-path", path, env=NO_HOST)
    for record in (*run.ledger.values(), *run.metrics.values()):
        names = ("ctx", "batch", "num_thread", "num_gpu")
        assert [record[name] for name in names] == [None] * 4


def test_the_options_are_those_of_the_last_attempt(tmp_path):
    """A start at nano under auto, promoted to 14b: the gateway had none, Ollama has."""
    repo = make_repo(tmp_path / "repo", plain("one"))
    path = write_gateway(tmp_path / "gateway", default=PARSE)
    repo.write(PRESET, OPTIONS)
    with FakeOllama() as fake:
        run = drive(repo, "--start-tier", "nano", "--gateway-path", path, hosts={"a": fake})
    record = run.ledger["one"]
    assert (record["promo"], record["batch"]) == ("nano->14b", 20)


# -- tier_used -----------------------------------------------------------------------------------

SIZES = {
    "70b and 18b": (("m:70b", "ollama"), ("m:18b", "14b")),
    "34b and 32b": (("m:34b", "7b"), ("m:32b", "ollama")),
    "1.5b and nano": (("m:1.5b", "7b"), ("NanoBig:14b", "nano")),
    "no size and 8B": (("plain", "ollama"), ("m:8B", "14b")),
    "both sizes and 9b": (("m:3b-13b", "14b"), ("m:9b", "14b")),
    "6.7b and 12b": (("m:6.7b", "7b"), ("m:12b", "14b")),
}


@pytest.mark.parametrize("case", SIZES)
def test_the_tier_used_is_read_from_the_model_on_success(tmp_path, case):
    (small, small_tier), (large, large_tier) = SIZES[case]
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two", lines=61))
    repo.write(PRESET, f"model: '{small}'\nfallback_model: '{large}'\n")
    with FakeOllama() as fake:
        run = drive(repo, hosts={"a": fake})
    used = [(record["tier_used"], record["router_tier"]) for record in run.ledger.values()]
    assert used == [(small_tier, "7b"), (large_tier, "14b")]
    assert [record["tier"] for record in run.metrics.values()] == [small_tier, large_tier]


def test_the_tier_used_of_a_failure_is_the_router_tier(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("V_1"))
    repo.write(PRESET, "model: 'm:70b'\n")
    with FakeOllama(lettered("V_1")) as fake:
        run = drive(repo, "--retries", 1, "--router", "off", hosts={"a": fake})
    assert run.ledger["V_1"]["tier_used"] == "7b"
    assert run.metrics["V_1"]["tier"] == "7b"


@pytest.mark.parametrize(("reply", "tier"), [("{}", "nano"), (VALIDATION, "7b")])
def test_a_gateway_success_is_nano_and_a_failure_its_router_tier(tmp_path, reply, tier):
    repo = make_repo(tmp_path / "repo", plain("one"))
    path = write_gateway(tmp_path / "gateway", default=reply)
    run = drive(repo, "--api", "--retries", 1, "--gateway-path", path, env=NO_HOST)
    assert (run.ledger["one"]["tier_used"], run.ledger["one"]["router_tier"]) == (tier, "7b")


# -- reading, normalising and validating, as far as it shows -------------------------------------

WORDS_120 = " ".join(["word"] * 120)
READ = {
    "fenced": ('Sure:\n```json\n{"summary_120w": "x"}\n```\nBye.', "success"),
    "list": ('[{"summary_120w": "x"}]', "success"),
    "summary_number": ('{"summary_120w": 5}', "success"),
    "words_120": (json.dumps({"summary_120w": WORDS_120}), "success"),
    "words_121": (json.dumps({"summary_120w": WORDS_120 + " more"}), "validation"),
    "chars_1200": (json.dumps({"summary_120w": "x" * 1200}), "success"),
    "chars_1201": (json.dumps({"summary_120w": "x" * 1201}), "validation"),
    "snippet_1201": (json.dumps({"usage_snippet": "x" * 1201}), "validation"),
    "extra_key": ('{"summary_120w": "x", "notes": []}', "validation"),
    "lines_outside": ('{"evidence": [{"field": "inputs", "lines": [0, 3]}]}', "validation"),
    "lines_beyond": ('{"evidence": [{"field": "inputs", "lines": [1, 4]}]}', "validation"),
    "lines_bool": ('{"evidence": [{"field": "inputs", "lines": [true, 2]}]}', "validation"),
    "model_number": ('{"model": 5}', "validation"),
    "prose": ("It adds numbers.", "truncation"),
    "open_braces": ('{"a": {"b": "}', "parse"),
    "two_open": ('{"a": {"b": {"c": "d"', "truncation"),
    "parse": (PARSE, "parse"),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    repo = make_repo(tmp_path_factory.mktemp("read") / "repo", *map(plain, READ))
    replies = Replies({name: [reply] for name, (reply, _) in READ.items()})
    with FakeOllama(replies) as fake:
        yield drive(repo, "--retries", 1, "--router", "off", hosts={"a": fake})


@pytest.mark.parametrize("name", READ)
def test_how_a_reply_is_taken(read, name):
    assert read.ledger[name]["reason"] == READ[name][1]
