"""What the driver sends and how it takes what comes back (SPEC §9 and §10)."""

import json
import os
import shutil
import sys

import pytest

from llmc.models import GpuStats
from llmc.run.gpu import LoadWatch
from llmc.testing import faults
from llmc.testing.gateway import GatewayReply, gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.driving import (
    LARGE_MODEL,
    NO_HOST,
    PARSE,
    SMALL_MODEL,
    TRUNCATION,
    VALIDATION,
    Is,
    Replies,
    drive,
    lettered,
    make_repo,
    marked,
    plain,
)

PRESET = "presets/enrich_7b_ollama.yaml"
GOOD = '{"summary_120w": "Does it."}'
CORES = Is(int, check=lambda value: 1 <= value <= (os.cpu_count() or 1))


# -- requests to Ollama --------------------------------------------------------------------------


def two_tiers(tmp_path, preset=None, env=None, flags=()):
    """Return what a host is sent for a span at 7b and for one at 14b."""
    repo = make_repo(tmp_path / "repo", plain("small"), plain("large", lines=61))
    if preset is not None:
        repo.write(PRESET, preset)
    with FakeOllama() as fake:
        drive(repo, *flags, hosts={"a": fake}, env=env)
        return [dict(call.body) for call in fake.calls]


def test_the_requests_without_a_preset_file(tmp_path):
    small, large = two_tiers(tmp_path)
    assert small == {
        "model": SMALL_MODEL,
        "prompt": small["prompt"],
        "stream": small["stream"],
        "keep_alive": "15m",
        "options": {"num_ctx": 3072, "num_batch": 48, "num_gpu": 64, "num_thread": CORES},
    }
    assert large == {
        "model": LARGE_MODEL,
        "prompt": large["prompt"],
        "stream": large["stream"],
        "keep_alive": "15m",
        "options": {"num_ctx": 3072, "num_batch": 24, "num_gpu": 64, "num_thread": CORES},
    }


def test_the_prompt_is_about_the_span(tmp_path):
    assert [marked(body["prompt"]) for body in two_tiers(tmp_path)] == ["small", "large"]


def test_a_preset_with_options_and_others_that_are_not_taken(tmp_path):
    small, large = two_tiers(
        tmp_path,
        "model: tiny:1b\n"
        "fallback_model: big:70b\n"
        "keep_alive: -1\n"
        "kv_type: q8_0\n"
        "num_ctx: 1\n"
        "options: {num_ctx: 8192, num_batch: 25, num_gpu: 10, num_thread: 3, temperature: 0.2}\n",
    )
    options = {"num_ctx": 8192, "num_thread": 3, "kv_type": "q8_0"}
    assert (small["model"], large["model"]) == ("tiny:1b", "big:70b")
    assert (small["keep_alive"], large["keep_alive"]) == (-1, -1)
    assert small["options"] == options | {"num_batch": 25, "num_gpu": 10}
    assert large["options"] == options | {"num_batch": 16, "num_gpu": 32}


def test_options_at_top_level(tmp_path):
    small, _ = two_tiers(
        tmp_path, "options: {}\nnum_ctx: 2048\nnum_batch: 8\nnum_gpu: 0\nnum_thread: 2\n"
    )
    assert small["options"] == {"num_ctx": 2048, "num_batch": 8, "num_gpu": 0, "num_thread": 2}


def test_beside_options_nothing_is_taken_from_the_top_level(tmp_path):
    small, _ = two_tiers(tmp_path, "options: {num_ctx: 8192}\nnum_batch: 8\nnum_gpu: 1\n")
    assert small["options"] == {
        "num_ctx": 8192,
        "num_batch": 48,
        "num_gpu": 64,
        "num_thread": CORES,
    }


def test_values_that_are_no_whole_numbers_mean_the_default(tmp_path):
    small, _ = two_tiers(
        tmp_path,
        'options: {num_ctx: "8192", num_batch: 3.5, num_gpu: none, num_thread: ""}\n',
    )
    assert small["options"] == {
        "num_ctx": 3072,
        "num_batch": 48,
        "num_gpu": 64,
        "num_thread": CORES,
    }


NUM_GPU = {
    "auto": ("auto", None, (999, 999)),
    "auto_full": ("auto_full", None, (999, 999)),
    "auto_vram without a number": ("auto_vram_80", None, (999, 999)),
    "auto_vram with a number": ("auto_vram", "20", (20, 32)),
    "auto_vram with another word": ("auto_vram", "all", (999, 999)),
    "a number": ("40", "20", (40, 40)),
}


@pytest.mark.parametrize("case", NUM_GPU)
def test_num_gpu(tmp_path, case):
    value, wish, expected = NUM_GPU[case]
    env = {} if wish is None else {"ENRICH_NUM_GPU": wish}
    bodies = two_tiers(tmp_path, f"num_gpu: {value}\n", env)
    assert tuple(body["options"]["num_gpu"] for body in bodies) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("0", 0), ("-1", -1), ("30s", "30s"), ("null", "not sent")]
)
def test_keep_alive(tmp_path, value, expected):
    bodies = two_tiers(tmp_path, f"keep_alive: {value}\n")
    assert [body.get("keep_alive", "not sent") for body in bodies] == [expected, expected]


FALLBACK_MODELS = {
    "null": ("fallback_model: null\nmodel: m:7b\n", {}, "m:7b"),
    "empty": ('fallback_model: ""\nmodel: m:7b\n', {}, "m:7b"),
    "null, with OLLAMA_MODEL": ("fallback_model: null\n", {"OLLAMA_MODEL": "env:1b"}, "env:1b"),
    "given, OLLAMA_MODEL has no say": (
        "fallback_model: f:14b\n",
        {"OLLAMA_MODEL": "env:1b", "RAG_FALLBACK_MODEL": "rag:1b"},
        "f:14b",
    ),
}


@pytest.mark.parametrize("case", FALLBACK_MODELS)
def test_the_model_of_the_14b_tier(tmp_path, case):
    preset, env, expected = FALLBACK_MODELS[case]
    bodies = two_tiers(tmp_path, preset, env, ["--fallback-model", "flag:1b", "--model", "f:1b"])
    assert bodies[1]["model"] == expected


def test_neither_ollama_model_nor_the_flags_change_the_small_model(tmp_path):
    bodies = two_tiers(
        tmp_path,
        env={"OLLAMA_MODEL": "env:1b"},
        flags=["--fallback-model", "flag:1b", "--model", "flag:2b"],
    )
    assert bodies[0]["model"] == SMALL_MODEL


def test_nano_at_ollama_takes_the_7b_preset(tmp_path):
    bodies = two_tiers(tmp_path, flags=["--backend", "ollama", "--start-tier", "nano"])
    assert [body["model"] for body in bodies] == [SMALL_MODEL] * 2
    assert bodies[1]["options"]["num_batch"] == 48


# -- tries within one attempt --------------------------------------------------------------------

TRIED_AGAIN = {
    "status_400": faults.HttpStatus(400),
    "status_404": faults.ModelNotFound(),
    "status_500": faults.HttpStatus(500),
    "queue_full": faults.QueueFull(),
    "rate_limit": faults.RateLimited(60),
    "dropped": faults.DropConnection(),
    "reset": faults.DropMidBody(),
    "half_body": faults.HalfBody(),
    "not_utf8": faults.NotUtf8(),
    "nothing": faults.BlankBody(),
    "blanks": faults.BlankBody(b" \n\t\n"),
    "no_text": faults.EmptyReply(),
    "blank_text": faults.EmptyReply("  \n "),
    "thinking_only": faults.ThinkingField(),
    "no_reply_key": faults.NotJson(b'{"done": true}'),
    "error_object": faults.NotJson(b'{"error": "out of memory"}'),
    "text_is_a_number": faults.NotJson(b'{"response": 5}'),
    "lines_of_nothing": faults.NotJson(b'{"response": ""}\n{"response": " "}\n{"done": true}\n'),
}
REFUSED_AT_ONCE = {
    "html": faults.NotJson(),
    "half_json": faults.NotJson(b'{"response": "{}"'),
    "a_list": faults.JsonNotObject(["{}"]),
    "a_string": faults.JsonNotObject("{}"),
    "a_number": faults.JsonNotObject(7),
    "null": faults.JsonNotObject(None),
}


@pytest.fixture(scope="module")
def tries(tmp_path_factory):
    """One span per fault, which hits its first call; two tries per attempt, two attempts."""
    spoilt = TRIED_AGAIN | REFUSED_AT_ONCE
    repo = make_repo(tmp_path_factory.mktemp("tries") / "repo", *map(plain, spoilt))
    with FakeOllama(Replies({name: [fault, GOOD] for name, fault in spoilt.items()})) as fake:
        yield drive(repo, "--retries", 2, "--router", "off", hosts={"a": fake})


@pytest.mark.parametrize("name", TRIED_AGAIN)
def test_a_call_that_may_do_better_is_made_again_within_the_attempt(tries, name):
    record = tries.ledger[name]
    assert (record["result"], record["attempts"]) == ("pass", 1)


@pytest.mark.parametrize("name", REFUSED_AT_ONCE)
def test_a_body_of_another_kind_ends_the_attempt_at_once(tries, name):
    record = tries.ledger[name]
    assert (record["result"], record["attempts"]) == ("pass", 2)


def counted(tmp_path, fault, *flags):
    """Return (calls, attempts, reason) of a span whose every call meets the fault."""
    repo = make_repo(tmp_path / "repo", plain("one"))
    with FakeOllama(lambda call: fault) as fake:
        run = drive(repo, *flags, hosts={"a": fake})
        return len(fake.calls), run.ledger["one"]["attempts"], run.ledger["one"]["reason"]


def test_each_attempt_has_as_many_tries_as_retries(tmp_path):
    fault = faults.HttpStatus(500)
    assert counted(tmp_path, fault, "--router", "off", "--retries", 2) == (4, 2, "runtime")


def test_without_retries_there_is_one_try_and_one_attempt(tmp_path):
    fault = faults.HttpStatus(500)
    assert counted(tmp_path, fault, "--router", "off", "--retries", 0) == (1, 1, "runtime")


def test_a_reply_that_came_back_is_never_asked_for_again_within_the_attempt(tmp_path):
    assert counted(tmp_path, PARSE, "--router", "off") == (3, 3, "parse")


def test_all_transport_errors_are_runtime(tmp_path):
    assert counted(tmp_path, faults.NotJson(), "--router", "off") == (3, 3, "runtime")


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A run over replies that come as JSON lines."""

    def body(*parts, **end):
        said = [{"response": part, "done": False} for part in parts]
        last = {"response": "", "done": True, **end}
        return faults.NotJson(b"".join(json.dumps(x).encode() + b"\n" for x in [*said, last]))

    replies = {
        "joined": [body('{"summary_120w": "In ', 'parts."}', done_reason="stop", eval_count=9)],
        "length": [body('{"a": ', "oops}", done_reason="length", eval_count=9)],
        "max_tokens": [body('{"a": ', "oops}", done_reason="Max_Tokens", eval_count=9)],
        "no_tokens": [body('{"a": ', "oops}", done_reason="stop", eval_count=0)],
        "stop": [body('{"a": ', "oops}", done_reason="stop", eval_count=9)],
        "good_despite_length": [body(GOOD, done_reason="LENGTH", eval_count=9)],
    }
    repo = make_repo(tmp_path_factory.mktemp("lines") / "repo", *map(plain, replies))
    with FakeOllama(Replies(replies)) as fake:
        yield drive(repo, "--retries", 1, "--router", "off", hosts={"a": fake})


def test_json_lines_are_joined(lines):
    assert lines.rows["joined"]["summary"] == "In parts."


def test_done_reason_and_eval_count_are_those_of_the_last_line(lines):
    assert {name: record["reason"] for name, record in lines.ledger.items()} == {
        "joined": "success",
        "length": "truncation",
        "max_tokens": "truncation",
        "no_tokens": "truncation",
        "stop": "parse",
        "good_despite_length": "success",
    }


# -- the gateway as a program --------------------------------------------------------------------


def ask_program(tmp_path, replies=(), *flags, env=None, name="gateway", default=None):
    """Enrich one span, "one", with a gateway program; return the run and its calls."""
    repo = make_repo(tmp_path / "repo", plain("one"))
    path = write_gateway(tmp_path / name, replies, default=default or GatewayReply())
    run = drive(repo, "--api", "--gateway-path", path, *flags, env=NO_HOST | (env or {}))
    return run, gateway_calls(path)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return ask_program(tmp_path_factory.mktemp("program"))


def test_the_program_gets_api_and_nothing_else(program):
    _, [call] = program
    assert call.argv == ("--api",)


def test_the_program_runs_in_the_repository(program):
    run, [call] = program
    assert call.cwd == str(run.repo.root)


def test_the_program_gets_the_prompt_on_its_standard_input(program):
    run, [call] = program
    assert marked(call.prompt) == "one"
    assert -(-len(call.prompt) // 4) == run.ledger["one"]["tokens_in"]


def test_the_program_gets_three_defaults_in_its_environment_and_no_model(program):
    _, [call] = program
    assert call.env == {
        "GEMINI_MODEL": None,
        "LLM_DISABLED": "false",
        "NEXT_PUBLIC_LLM_DISABLED": "false",
        "LLM_GATEWAY_DISABLE_RAG": "1",
    }


def test_what_the_environment_says_stands(tmp_path):
    env = {
        "GEMINI_MODEL": "gemini-x",
        "LLM_DISABLED": "true",
        "NEXT_PUBLIC_LLM_DISABLED": "",
        "LLM_GATEWAY_DISABLE_RAG": "0",
    }
    _, [call] = ask_program(tmp_path, env=env)
    assert call.env == env


def test_the_program_gets_the_whole_environment(tmp_path):
    repo = make_repo(tmp_path / "repo", plain("one"))
    path = tmp_path / "gateway"
    path.write_text(
        f"#!{sys.executable} -IS\n"
        "import json, os\n"
        "print(json.dumps({'summary_120w': os.environ['SOMETHING_ELSE']}))\n"
    )
    path.chmod(0o755)
    env = NO_HOST | {"SOMETHING_ELSE": "is passed on"}
    run = drive(repo, "--api", "--gateway-path", path, env=env)
    assert run.rows["one"]["summary"] == "is passed on"


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
@pytest.mark.parametrize(
    ("flags", "argv"), [([], ("--api",)), (["--verbose"], ("--api", "--debug"))]
)
def test_a_js_file_is_run_by_node(tmp_path, flags, argv):
    run, [call] = ask_program(tmp_path, [], *flags, name="gateway.js")
    assert (call.argv, call.cwd) == (argv, str(run.repo.root))
    assert marked(call.prompt) == "one"
    assert run.ledger["one"]["result"] == "pass"


GATEWAY_REPLIES = {
    "status 1 with good output": (GatewayReply(GOOD, exit_code=1), "runtime"),
    "blank output": (GatewayReply(" \n\t\n"), "runtime"),
    "no output": (GatewayReply(""), "runtime"),
    "status 3 with nothing": (GatewayReply("", exit_code=3), "runtime"),
    "too late": (GatewayReply(GOOD, sleep=20), "runtime"),
    "wrong keys": (GatewayReply(VALIDATION), "validation"),
    "broken JSON": (GatewayReply(PARSE), "parse"),
    "prose": (GatewayReply("Sure, here you are."), "truncation"),
    "a complaint beside the answer": (GatewayReply(GOOD, stderr="careful"), "success"),
    "an answer in blanks": (GatewayReply(f"\n\n  {GOOD}\n\n"), "success"),
    "it does not read the prompt": (GatewayReply(GOOD, read_stdin=False), "success"),
}


@pytest.mark.parametrize("case", GATEWAY_REPLIES)
def test_what_a_gateway_program_may_do(tmp_path, case):
    reply, reason = GATEWAY_REPLIES[case]
    seconds = 0.7 if case == "too late" else 30
    run, calls = ask_program(tmp_path, [reply], "--retries", 1, "--gateway-timeout", seconds)
    assert (run.status, run.ledger["one"]["reason"], len(calls)) == (0, reason, 1)


def test_a_program_has_no_inner_tries(tmp_path):
    run, calls = ask_program(tmp_path, default=GatewayReply(exit_code=1))
    assert (len(calls), run.ledger["one"]["attempts"]) == (3, 3)


def test_the_output_of_a_program_is_stripped(tmp_path):
    run, _ = ask_program(tmp_path, [f"\n  {TRUNCATION}  \n\n"], "--retries", 1)
    assert list(run.saved.values()) == [TRUNCATION]


LABELS = {
    "nothing set": ({}, "gemini"),
    "GEMINI_MODEL": ({"GEMINI_MODEL": "gemini-x"}, "gemini-x"),
    "Azure, all three": (
        {
            "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9",
            "AZURE_OPENAI_KEY": "k",
            "AZURE_OPENAI_DEPLOYMENT": "dep-1",
            "GEMINI_MODEL": "gemini-x",
        },
        "dep-1",
    ),
    "Azure, one is empty": (
        {
            "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9",
            "AZURE_OPENAI_KEY": "",
            "AZURE_OPENAI_DEPLOYMENT": "dep-1",
            "GEMINI_MODEL": "gemini-x",
        },
        "gemini-x",
    ),
    "GEMINI_MODEL is empty: --model": ({"GEMINI_MODEL": ""}, "the-flag"),
}


@pytest.mark.parametrize("case", LABELS)
def test_the_label_of_a_gateway_success(tmp_path, case):
    env, label = LABELS[case]
    run, _ = ask_program(tmp_path, [], "--model", "the-flag", env=env)
    assert run.ledger["one"]["result_model"] == label
    assert run.rows["one"]["model"] == label


def test_an_empty_label_is_recorded_as_the_default_of_model(tmp_path):
    run, _ = ask_program(tmp_path, env={"GEMINI_MODEL": ""})
    assert run.ledger["one"]["result_model"] == "qwen2.5:7b"


# -- the gateway built in ------------------------------------------------------------------------


def ask_server(tmp_path, fake, env, *flags):
    repo = make_repo(tmp_path / "repo", plain("one"))
    return drive(repo, "--api", "--retries", 1, *flags, env=NO_HOST | env)


def test_without_a_path_an_openai_compatible_server_is_asked(tmp_path):
    with FakeOpenAI(api_key="k") as fake:
        env = {
            "OPENAI_BASE_URL": f"{fake.url}/v1",
            "OPENAI_API_KEY": "k",
            "GEMINI_MODEL": "m-1",
        }
        run = ask_server(tmp_path, fake, env)
    [call] = fake.calls
    assert (call.path, call.model, marked(call.prompt)) == ("/v1/chat/completions", "m-1", "one")
    assert (run.ledger["one"]["result_model"], run.ledger["one"]["tier_used"]) == ("m-1", "nano")


def test_a_server_is_recorded_as_gemini_without_gemini_model(tmp_path):
    with FakeOpenAI() as fake:
        run = ask_server(tmp_path, fake, {"OPENAI_BASE_URL": f"{fake.url}/v1"})
    assert run.ledger["one"]["result_model"] == "gemini"


@pytest.mark.parametrize(
    ("reply", "recorded"), [(GOOD, "the-flag"), (PARSE, "")], ids=["success", "refused"]
)
def test_an_empty_label_of_a_server_is_as_that_of_a_program(tmp_path, reply, recorded):
    with FakeOpenAI([reply]) as fake:
        env = {"OPENAI_BASE_URL": f"{fake.url}/v1", "GEMINI_MODEL": ""}
        run = ask_server(tmp_path, fake, env, "--model", "the-flag")
    assert run.ledger["one"]["result_model"] == recorded


def test_azure_is_asked_at_its_deployment(tmp_path):
    with FakeOpenAI(api_key="k") as fake:
        env = {
            "AZURE_OPENAI_ENDPOINT": f"{fake.url}/",
            "AZURE_OPENAI_KEY": "k",
            "AZURE_OPENAI_DEPLOYMENT": "dep-1",
            "GEMINI_MODEL": "not-this",
        }
        run = ask_server(tmp_path, fake, env)
    [call] = fake.calls
    assert call.path == "/openai/deployments/dep-1/chat/completions"
    assert (call.status, run.ledger["one"]["result_model"]) == (200, "dep-1")


@pytest.mark.parametrize("missing", ["ENDPOINT", "KEY", "DEPLOYMENT"])
def test_azure_needs_all_three_of_its_variables(tmp_path, missing):
    with FakeOpenAI() as fake, FakeOpenAI() as azure:
        env = {
            "AZURE_OPENAI_ENDPOINT": azure.url,
            "AZURE_OPENAI_KEY": "k",
            "AZURE_OPENAI_DEPLOYMENT": "dep-1",
            f"AZURE_OPENAI_{missing}": "",
            "OPENAI_BASE_URL": f"{fake.url}/v1",
        }
        run = ask_server(tmp_path, fake, env)
    assert (len(fake.calls), len(azure.calls)) == (1, 0)
    assert run.ledger["one"]["result_model"] == "gemini"


SERVER_FAULTS = {
    "HTTP 500": (faults.HttpStatus(500), "runtime"),
    "rate limited": (faults.RateLimited(30), "runtime"),
    "not JSON": (faults.NotJson(), "runtime"),
    "not an object": (faults.JsonNotObject(), "runtime"),
    "dropped": (faults.DropConnection(), "runtime"),
    "half a body": (faults.HalfBody(), "runtime"),
    "an empty reply": (faults.EmptyReply(), "runtime"),
    "too late": (faults.SlowHeaders(20), "runtime"),
    "wrong keys": (VALIDATION, "validation"),
    "broken JSON": (PARSE, "parse"),
    "prose": (faults.Prose(), "truncation"),
    "one phrase for ever": (faults.RepetitionRunaway(), "truncation"),
}


@pytest.mark.parametrize("case", SERVER_FAULTS)
def test_the_built_in_gateway_fails_as_the_program_does(tmp_path, case):
    fault, reason = SERVER_FAULTS[case]
    with FakeOpenAI([fault]) as fake:
        env = {"OPENAI_BASE_URL": f"{fake.url}/v1"}
        seconds = 0.7 if case in ("too late", "rate limited") else 30
        run = ask_server(tmp_path, fake, env, "--gateway-timeout", seconds)
    assert (run.status, run.ledger["one"]["reason"], len(fake.calls)) == (0, reason, 1)


@pytest.mark.parametrize("fault", [VALIDATION, faults.Prose(), faults.RepetitionRunaway()])
def test_a_refused_reply_of_a_server_is_recorded_under_its_label(tmp_path, fault):
    with FakeOpenAI([fault]) as fake:
        env = {"OPENAI_BASE_URL": f"{fake.url}/v1", "GEMINI_MODEL": "m-1", "OPENAI_MODEL": "m-2"}
        run = ask_server(tmp_path, fake, env)
    assert run.ledger["one"]["result_model"] == "m-1"


def test_no_gateway_at_all_is_a_failure_of_the_span(tmp_path):
    run = ask_server(tmp_path, None, {})
    assert (run.status, run.ledger["one"]["reason"]) == (0, "runtime")


# -- GPU sampling --------------------------------------------------------------------------------

NVIDIA_SMI = """#!{python} -IS
# Two GPUs, the second one busy; the first one's load is in the file beside this program.
import os, sys
here = os.path.abspath(__file__)
with open(here + ".log", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
with open(here + ".log") as log:
    count = len(log.readlines())
words = " ".join(sys.argv[1:]).replace("=", " ").split()
fields = words[words.index("--query-gpu") + 1].split(",")
wanted = [words[i + 1] for i, word in enumerate(words) if word in ("-i", "--id")]
for gpu in map(int, wanted or "01"):
    load = {{"utilization.gpu": 10 * count if gpu == 0 else 99,
             "memory.used": 1000 * count if gpu == 0 else 80000}}
    print(", ".join(str(load[field]) for field in fields))
"""


@pytest.fixture
def gpu(tmp_path):
    """A folder with a fake nvidia-smi, to be put on PATH."""
    folder = tmp_path / "gpu"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(NVIDIA_SMI.format(python=sys.executable))
    program.chmod(0o755)
    return program


def load_of(record):
    names = ("gpu_util", "gpu_util_max", "vram_mib", "vram_avg_mib")
    return [record[name] for name in names]


def sampled(tmp_path, gpu, host, *flags, latency=0.0, env=None):
    """Enrich a span with an nvidia-smi on PATH; return the run and how often that was asked."""
    repo = make_repo(tmp_path / "repo", plain("one"))
    path = {"PATH": f"{gpu.parent}:{os.environ['PATH']}"}
    with FakeOllama(host=host, latency=latency) as fake:
        run = drive(repo, *flags, hosts={"a": fake}, env=path | (env or {}))
    log = gpu.with_name("nvidia-smi.log")
    return run, len(log.read_text().splitlines()) if log.exists() else 0


def load_after(samples):
    """What the first so many samples of the fake come to."""
    middle = (samples + 1) / 2
    return [10 * middle, 10 * samples, 1000 * samples, 1000 * middle]


def test_a_local_host_is_sampled_on_gpu_0(tmp_path, gpu):
    run, count = sampled(tmp_path, gpu, "127.0.0.1", latency=0.3)
    assert count == 1
    assert load_of(run.metrics["one"]) == load_after(1)


def test_samples_come_once_a_second_and_give_averages_and_maxima(tmp_path, gpu):
    run, count = sampled(tmp_path, gpu, "127.0.0.1", latency=2.2)
    assert count in (2, 3)
    assert load_of(run.metrics["one"]) in (load_after(2), load_after(3))


def test_the_ledger_has_the_same_load(tmp_path, gpu):
    run, _ = sampled(tmp_path, gpu, "127.0.0.1", latency=0.3)
    names = ("gpu_util", "gpu_util_max", "vram_mib")
    assert [run.ledger["one"][name] for name in names] == load_after(1)[:3]


def test_a_host_elsewhere_is_not_sampled(tmp_path, gpu):
    """127.0.0.2 is this machine too, but none of the names that count as this machine."""
    run, count = sampled(tmp_path, gpu, "127.0.0.2", latency=0.3)
    assert (count, load_of(run.metrics["one"])) == (0, [None] * 4)


def test_the_gateway_is_not_sampled(tmp_path, gpu):
    path = write_gateway(tmp_path / "gateway", [GatewayReply(sleep=0.3)])
    run, count = sampled(tmp_path, gpu, "127.0.0.1", "--api", "--gateway-path", path)
    assert (count, load_of(run.metrics["one"])) == (0, [None] * 4)


@pytest.mark.parametrize("program", ["exit 9", "echo no devices were found", "true"])
def test_a_tool_that_fails_leaves_null(tmp_path, gpu, program):
    gpu.write_text(f"#!/bin/sh\n{program}\n")
    run, _ = sampled(tmp_path, gpu, "127.0.0.1", latency=0.2)
    assert (run.status, load_of(run.metrics["one"])) == (0, [None] * 4)


def test_without_the_tool_there_is_null(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git"))
    repo = make_repo(tmp_path / "repo", plain("one"))
    with FakeOllama() as fake:
        run = drive(repo, hosts={"a": fake}, env={"PATH": str(tools)})
    assert load_of(run.metrics["one"]) == [None] * 4


@pytest.mark.parametrize(("memory", "warned"), [(6799, True), (6800, False)])
def test_a_peak_below_6800_mib_is_warned_of(tmp_path, gpu, memory, warned):
    gpu.write_text(f"#!/bin/sh\necho 90, {memory}\n")
    run, _ = sampled(tmp_path, gpu, "127.0.0.1", latency=0.2)
    assert ("6800" in run.stdout + run.stderr) == warned


LOW, BUSY = GpuStats(49.9, 60, 9000, 9000), GpuStats(50, 60, 9000, 9000)
STREAKS = {
    "300 s below": ([(LOW, 100)] * 3, 1),
    "299 s below": ([(LOW, 100)] * 2 + [(LOW, 99)], 0),
    "broken by a busy attempt": ([(LOW, 200), (BUSY, 1), (LOW, 200)], 0),
    "300 s at half": ([(BUSY, 400)], 0),
    "300 s of nothing sampled": ([(GpuStats(), 400)], 0),
}


@pytest.mark.parametrize("case", STREAKS)
def test_a_streak_of_300_s_below_half_is_warned_of(case):
    attempts, expected = STREAKS[case]
    watch = LoadWatch()
    found = [text for stats, seconds in attempts for text in watch.take(stats, seconds)]
    assert len(found) == expected


def test_each_attempt_has_samples_of_its_own(tmp_path, gpu):
    """The records tell the load of the last attempt."""
    repo = make_repo(tmp_path / "repo", plain("PG_1"))
    with FakeOllama(lettered("PG_1"), latency=0.3) as fake:
        path = {"PATH": f"{gpu.parent}:{os.environ['PATH']}"}
        run = drive(repo, hosts={"a": fake}, env=path)
    assert run.ledger["PG_1"]["attempts"] == 2
    assert load_of(run.metrics["PG_1"]) == [20, 20, 2000, 2000]
