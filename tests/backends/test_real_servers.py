"""Valid replies the first time, and an end to every call: on a real llama.cpp server over HTTP, and
on fakes for what a real one can't be made to do.
"""

import json
import logging
import threading
import time

import pytest
from pydantic import SecretStr

from llmc.backends._dialects import Dialect, simplify
from llmc.backends.builder import BackendConfig, CallPolicy
from llmc.backends.llamacpp import packaged_model
from llmc.backends.ollama import OllamaBackend
from llmc.backends.openai import OpenAIBackend
from llmc.enrichment import prompts
from llmc.errors import BackendError, RateLimitedError
from llmc.models import Span
from llmc.net.client import Client
from llmc.settings.gateways import Endpoint
from llmc.settings.presets import TierPreset
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama, Reply
from llmc.testing.openai import FakeOpenAI

CODE = "def add(left, right):\n    return left + right"
SPAN = Span(1, "m.py", "python", "add", "function", 3, 4, 0, len(CODE), "sha256:x")
ITEM = {"lines": [3, 4], "path": "m.py", "attempt": 1}
PROMPT = prompts.build(SPAN, CODE)
GOOD = '{"summary_120w": "Adds two numbers."}'

PENALTY = {"temperature": 0, "repeat_penalty": 1.1, "repeat_last_n": 48}


def openai(url, *, key=None, model="gpt-x", timeout=10.0, client=None, options=None):
    endpoint = Endpoint(f"{url}/v1/chat/completions", model, model, key)
    config = BackendConfig("cloud", "openai", options=options)
    policy = CallPolicy(timeout=timeout)
    return OpenAIBackend(config, endpoint, policy=policy, client=client or Client())


def ollama(url, *, timeout=10.0, client=None, num_ctx=3072, **policy):
    return OllamaBackend(
        BackendConfig("host", "ollama", url=url),
        TierPreset("7b", "qwen:7b", "15m", {"num_ctx": num_ctx}),
        label="attic",
        default_model=None,
        policy=CallPolicy(timeout=timeout, retry_wait=0.0, **policy),
        client=client or Client(),
    )


def seconds(call):
    started = time.monotonic()
    with pytest.raises(BackendError) as caught:
        call()
    return time.monotonic() - started, caught.value


# -- a real server ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama():
    """The address of a real llama.cpp server with the small model, and its key."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(packaged_model())
    params.n_ctx = 4096
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.verbosity = -1
    params.api_keys = ["llama-key"]
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


@pytest.mark.embedded
def test_a_real_server_gives_a_valid_reply_and_counts_tokens(llama):
    backend = openai(llama, key=SecretStr("llama-key"), timeout=120, options=PENALTY)
    result, meta = backend.generate(PROMPT, item=ITEM)
    assert result.summary_120w
    assert meta["prompt_eval_count"] > 300
    assert 0 < meta["completion_tokens"] <= 1024


@pytest.mark.embedded
def test_a_real_server_reads_the_unchanging_part_once(llama):
    backend = openai(llama, key=SecretStr("llama-key"), timeout=120, options=PENALTY)
    backend.generate(PROMPT, item=ITEM)
    other = prompts.build(SPAN, "def mul(a, b):\n    return a * b")
    _, meta = backend.generate(other, item=ITEM)
    assert meta["prompt_eval_count"] - meta["prompt_cached_count"] < 80


@pytest.mark.embedded
def test_a_real_server_ends_by_the_deadline(llama):
    backend = openai(llama, key=SecretStr("llama-key"), timeout=0.2)
    taken, error = seconds(lambda: backend.generate(PROMPT, item=ITEM))
    assert error.failure_type == "runtime"
    assert taken < 5


@pytest.mark.embedded
def test_a_real_server_is_left_at_once_on_cancel(llama):
    client = Client()
    backend = openai(llama, key=SecretStr("llama-key"), timeout=60, client=client)
    threading.Timer(0.3, client.cancellation.cancel).start()
    taken, error = seconds(lambda: backend.generate(PROMPT, item=ITEM))
    assert "cancelled" in str(error)
    assert taken < 5


@pytest.mark.embedded
def test_a_real_server_refuses_a_wrong_key(llama):
    backend = openai(llama, key=SecretStr("planted-wrong-key"))
    _, error = seconds(lambda: backend.generate(PROMPT, item=ITEM))
    assert "HTTP 401" in str(error)
    assert "planted" not in str(error)


# -- a server's limits are found out once ----------------------------------------------------------


@pytest.mark.parametrize(
    ("support", "requests", "format_taken"),
    [
        ("json_schema", 1, "json_schema"),
        ("json_object", 2, "json_object"),
        ("none", 3, None),
        ("ignored", 1, "json_schema"),
    ],
)
def test_a_server_is_asked_as_strictly_as_it_takes(support, requests, format_taken):
    with FakeOpenAI(schema_support=support) as fake:
        result, _ = openai(fake.url, model=f"m-{support}").generate(PROMPT, item=ITEM)
        [call] = fake.calls
        assert len(fake.requests) == requests
    assert result.summary_120w
    assert (call.body.get("response_format") or {}).get("type") == format_taken


def test_what_a_server_takes_is_remembered():
    with FakeOpenAI(schema_support="none") as fake:
        for _ in range(3):
            openai(fake.url, model="m-memory").generate(PROMPT, item=ITEM)
        assert len(fake.requests) == 5  # two refusals, three replies


def test_a_server_that_refuses_everything_is_a_failure_not_a_loop():
    script = faults.HttpStatus(400, "unsupported: max_tokens, max_completion_tokens")
    with FakeOpenAI(lambda call: script) as fake:
        _, error = seconds(lambda: openai(fake.url, model="m-never").generate(PROMPT, item=ITEM))
        assert len(fake.requests) == 2
    assert "HTTP 400" in str(error)


def test_a_refusal_of_something_else_is_not_a_question_of_dialect():
    assert simplify(Dialect(), "HTTP 400: the model is not loaded") is None


def test_a_server_that_does_not_stream_is_understood():
    def whole(call):
        body = {"choices": [{"message": {"content": GOOD}}], "usage": {"prompt_tokens": 7}}
        return faults.HttpStatus(200, body=json.dumps(body), headers={"X-Plain": "1"})

    with FakeOpenAI(whole) as fake:
        result, meta = openai(fake.url, model="m-whole").generate(PROMPT, item=ITEM)
    assert (result.summary_120w, meta["prompt_eval_count"]) == ("Adds two numbers.", 7)


# -- back-pressure ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [faults.QueueFull(), faults.RateLimited(0.2)], ids=["503", "429"])
@pytest.mark.parametrize(
    ("fake_class", "backend"),
    [(FakeOllama, ollama), (FakeOpenAI, openai)],
    ids=["ollama", "openai"],
)
def test_a_busy_server_is_waited_for_not_failed(fake_class, backend, fault):
    with fake_class([fault, None]) as fake:
        result, _ = backend(fake.url).generate(PROMPT, item=ITEM)
        assert len(fake.requests) == 2
    assert result.summary_120w


@pytest.mark.parametrize(
    ("fake_class", "backend"),
    [(FakeOllama, ollama), (FakeOpenAI, openai)],
    ids=["ollama", "openai"],
)
def test_a_server_that_stays_busy_ends_with_the_attempt(fake_class, backend):
    with fake_class(lambda call: faults.RateLimited(0.3)) as fake:
        taken, error = seconds(lambda: backend(fake.url, timeout=1.0).generate(PROMPT, item=ITEM))
    assert isinstance(error, RateLimitedError)
    assert (error.retry_after, error.failure_type) == (0.3, "runtime")
    assert taken < 5


def test_a_wait_for_a_busy_server_ends_on_cancel():
    client = Client()
    with FakeOllama(lambda call: faults.RateLimited(20)) as fake:
        threading.Timer(0.3, client.cancellation.cancel).start()
        backend = ollama(fake.url, timeout=60, client=client)
        taken, _ = seconds(lambda: backend.generate(PROMPT, item=ITEM))
    assert taken < 10


# -- runaways and deadlines ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (faults.EndlessWhitespace(), "white space"),
        (faults.RepetitionRunaway(phrase="and again "), "repeats"),
    ],
    ids=["white space", "repetition"],
)
@pytest.mark.parametrize(
    ("fake_class", "backend"),
    [(FakeOllama, ollama), (FakeOpenAI, openai)],
    ids=["ollama", "openai"],
)
def test_a_runaway_is_stopped_early(fake_class, backend, fault, why):
    with fake_class([fault]) as fake:
        taken, error = seconds(lambda: backend(fake.url, timeout=30).generate(PROMPT, item=ITEM))
    assert error.failure[0] == "truncation"
    assert why in error.failure[1]
    assert taken < 15


def test_slow_tokens_end_by_the_total_deadline_and_free_the_server():
    with FakeOllama([faults.SlowTokens(3)]) as fake:
        taken, error = seconds(lambda: ollama(fake.url, timeout=1.0).generate(PROMPT, item=ITEM))
        deadline = time.monotonic() + 5
        while not fake.calls[0].disconnected and time.monotonic() < deadline:
            time.sleep(0.05)
        assert fake.calls[0].disconnected
    assert "deadline" in str(error)
    assert taken < 5


def test_the_deadline_covers_all_tries_of_an_attempt():
    with FakeOllama(lambda call: (faults.SlowHeaders(0.7), faults.HttpStatus(500))) as fake:
        taken, _ = seconds(
            lambda: ollama(fake.url, timeout=1.0, tries=5).generate(PROMPT, item=ITEM)
        )
    assert taken < 4


# -- prompts and thoughts --------------------------------------------------------------------------


def test_a_thinking_model_is_asked_not_to_think():
    with FakeOllama() as fake:
        ollama(fake.url).generate(PROMPT, item=ITEM)
        assert fake.calls[0].body["think"] is False


@pytest.mark.parametrize(
    ("fake_class", "backend"),
    [(FakeOllama, ollama), (FakeOpenAI, openai)],
    ids=["ollama", "openai"],
)
def test_thoughts_before_the_answer_are_left_out(fake_class, backend):
    reply = Reply(text="<think>maybe {like this}?</think>" + GOOD)
    with fake_class([reply]) as fake:
        result, _ = backend(fake.url).generate(PROMPT, item=ITEM)
    assert result.summary_120w == "Adds two numbers."


def test_a_prompt_that_the_server_cut_is_sent_again_shorter():
    dense = "\n".join("x" * 60 for _ in range(120))
    full = Reply(text=GOOD, prompt_eval_count=2048)
    with FakeOllama([full, Reply(text=GOOD, prompt_eval_count=900)]) as fake:
        result, meta = ollama(fake.url, num_ctx=2048).generate(
            prompts.build(SPAN, dense), item=ITEM
        )
        first, second = (call.body["messages"][-1]["content"] for call in fake.calls)
    assert len(second) < len(first)
    assert meta["cut_lines"] > 0
    assert result.summary_120w


def test_a_reply_to_a_prompt_that_is_cut_again_and_again_is_refused():
    full = Reply(text=GOOD, prompt_eval_count=2048)
    with FakeOllama(lambda call: full) as fake:
        _, error = seconds(lambda: ollama(fake.url, num_ctx=2048).generate(PROMPT, item=ITEM))
    assert error.failure[0] == "truncation"
    assert "num_ctx" in error.failure[1]


def test_the_unchanging_part_comes_first_byte_for_byte():
    with FakeOllama() as fake:
        ollama(fake.url).generate(PROMPT, item=ITEM)
        ollama(fake.url).generate(prompts.build(SPAN, "x = 1"), item=ITEM)
        one, other = (call.body["messages"] for call in fake.calls)
    assert one[:3] == other[:3]
    assert one[3] != other[3]


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        faults.HttpStatus(400, "bad planted-key-123"),
        faults.HttpStatus(500, "bad planted-key-123"),
        faults.StreamError("bad planted-key-123"),
        faults.RateLimited(100),
    ],
    ids=["400", "500", "stream", "429"],
)
def test_a_key_is_in_no_error_log_or_repr(fault, caplog):
    caplog.set_level(logging.DEBUG)
    key = SecretStr("planted-key-123")
    with FakeOpenAI(lambda call: fault) as fake:
        backend = openai(fake.url, key=key, model="m-keys", timeout=1)
        _, error = seconds(lambda: backend.generate(PROMPT, item=ITEM))
    shown = f"{error} {error!r} {error.__cause__!r} {error.attempts} {caplog.text}"
    assert "planted-key" not in shown + repr(vars(backend))


# -- what servers really send ----------------------------------------------------------------------


def raw(*chunks):
    """A reply whose body is these server-sent events, word for word."""
    body = "".join(f"data: {chunk}\n\n" for chunk in chunks)
    return faults.HttpStatus(200, body=body, headers={"Content-Type": "text/event-stream"})


def said(text, **more):
    return json.dumps({"choices": [{"delta": {"content": text}, **more}]})


ODD_STREAMS = {
    "null choice": ('{"choices": [null]}', said(GOOD, finish_reason="stop"), "[DONE]"),
    "text for a delta": ('{"choices": [{"delta": "x"}]}', said(GOOD, finish_reason="stop")),
    "parts": (said([{"type": "text", "text": GOOD}], finish_reason="stop"), "[DONE]"),
    "list for usage": (said(GOOD), '{"choices": [], "usage": [1]}', "[DONE]"),
    "list for details": (
        said(GOOD),
        '{"choices": [], "usage": {"prompt_tokens": 1, "prompt_tokens_details": [2]}}',
        "[DONE]",
    ),
    "no end but a finish_reason": (said(GOOD, finish_reason="stop"),),
}


@pytest.mark.parametrize("name", ODD_STREAMS)
def test_an_odd_stream_is_read_for_what_it_says(name):
    with FakeOpenAI(lambda call: raw(*ODD_STREAMS[name])) as fake:
        result, _ = openai(fake.url, model=f"m-{name}").generate(PROMPT, item=ITEM)
    assert result.summary_120w == "Adds two numbers."


@pytest.mark.parametrize("chunk", ["[]", "5", '"x"', "{", '{"choices": 7}'])
def test_nonsense_in_a_stream_is_a_failure_of_the_span(chunk):
    with FakeOpenAI(lambda call: raw(chunk)) as fake:
        backend = openai(fake.url, model="m-nonsense", timeout=3)
        _, error = seconds(lambda: backend.generate(PROMPT, item=ITEM))
    assert error.failure_type == "runtime"


def test_a_server_that_is_busy_for_no_time_is_not_hammered():
    with FakeOllama(lambda call: faults.RateLimited(0)) as fake:
        _, error = seconds(lambda: ollama(fake.url, timeout=2.0).generate(PROMPT, item=ITEM))
        assert len(fake.requests) <= 5
    assert isinstance(error, RateLimitedError)


def test_a_date_to_come_back_at_is_understood():
    fault = faults.RateLimited("Fri, 31 Dec 2999 23:59:59 GMT")
    with FakeOllama(lambda call: fault) as fake:
        taken, error = seconds(lambda: ollama(fake.url, timeout=5.0).generate(PROMPT, item=ITEM))
        assert len(fake.requests) == 1
    assert error.retry_after > 10**6
    assert taken < 4


def test_a_bound_that_is_too_large_is_not_a_question_of_its_name():
    text = "HTTP 400: max_tokens is too large: the maximum context length is 512"
    assert simplify(Dialect(), text) is None


def test_thoughts_with_braces_do_not_pass_for_the_answer():
    reply = Reply(text="<think>It returns {} when empty, say 40 characters more.</think>" + GOOD)
    with FakeOpenAI([reply]) as fake:
        result, _ = openai(fake.url, model="m-braces").generate(PROMPT, item=ITEM)
    assert result.summary_120w == "Adds two numbers."
