"""Answers that are there are taken wherever they stand; of others it is said why there is none."""

import gzip
import itertools
import json

import pytest

from llmc.backends._dialects import find_limit
from llmc.backends._stream import MAX_LINE_BYTES
from llmc.backends.builder import BackendConfig, CallPolicy
from llmc.backends.ollama import OllamaBackend
from llmc.backends.openai import OpenAIBackend
from llmc.enrichment import prompts
from llmc.errors import BackendError, CredentialsError, RateLimitedError, TurnedAwayError
from llmc.models import Span
from llmc.net.client import Client
from llmc.settings.gateways import Endpoint
from llmc.settings.presets import TierPreset
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama, Reply
from llmc.testing.openai import FakeOpenAI
from tests.peers import Server, make_certificate, says, secured

GOOD = '{"summary_120w": "Adds two numbers."}'
ITEM = {"lines": [3, 900], "path": "m.py", "attempt": 1}
MODELS = (f"odd-{number}" for number in itertools.count())


def prompt_of(code):
    return prompts.build(Span(1, "m.py", "python", "f", "function", 3, 900, 0, 9, "sha256:x"), code)


PROMPT = prompt_of("def add(left, right):\n    return left + right")
LONG = prompt_of("def f(i):\n" + "    total = total + first_part(i) * second_part(i)\n" * 300)


def openai(fake, model=None, *, timeout=10.0):
    name = model or next(MODELS)
    return OpenAIBackend(
        BackendConfig("cloud", "openai"),
        Endpoint(f"{fake.url}/v1/chat/completions", name, name),
        policy=CallPolicy(timeout=timeout),
        client=Client(),
    )


def ollama(fake, *, timeout=10.0):
    return OllamaBackend(
        BackendConfig("host", "ollama", url=fake.url),
        TierPreset("7b", "qwen:7b", "15m", {"num_ctx": 3072}),
        label="attic",
        default_model=None,
        policy=CallPolicy(timeout=timeout, retry_wait=0.0),
        client=Client(),
    )


def chunk(finish=None, **delta):
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def stream(*chunks, end="\n\n", done=True):
    return "".join(f"data: {part}{end}" for part in (*chunks, *(["[DONE]"] if done else [])))


def answer(body, kind="text/event-stream", **headers):
    return faults.HttpStatus(200, body=body, headers={"Content-Type": kind, **headers})


def take(*script):
    """Have the gateway's backend ask a server with these answers; return what it accepts."""
    with FakeOpenAI(list(script)) as fake:
        result, _ = openai(fake).generate(PROMPT, item=ITEM)
    return result.summary_120w


def refuse(*script):
    """Return the error of the gateway's backend."""
    with FakeOpenAI(list(script)) as fake, pytest.raises(BackendError) as caught:
        openai(fake, timeout=3.0).generate(PROMPT, item=ITEM)
    return caught.value


# -- where an answer may stand ---------------------------------------------------------------------

ANSWER = json.loads(GOOD)
TOOL = {"index": 0, "function": {"name": "enrichment", "arguments": GOOD}}
HALF, REST = GOOD[:20], GOOD[20:]
PLACES = {
    "thoughts that a template opened": [chunk(content="f { return; } it is.</think>" + GOOD)],
    "reasoning_content": [chunk(content="", reasoning_content=GOOD)],
    "reasoning": [chunk(reasoning="Well { so: " + HALF), chunk(content=None, reasoning=REST)],
    "thinking": [chunk(content="\n", thinking="I'd say " + GOOD + " and be done")],
    "a tool's arguments": [chunk(tool_calls=[TOOL])],
    "a tool's arguments in pieces": [
        chunk(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in (HALF, REST)
    ],
    "a tool's arguments as an object": [
        chunk(tool_calls=[{"function": {"arguments": json.loads(GOOD)}}])
    ],
    "a function's arguments": [chunk(function_call={"name": "f", "arguments": GOOD})],
    "reasoning under an old and a new name": [
        chunk(reasoning=part, reasoning_content=part) for part in (HALF, REST)
    ],
    "reasoning_details": [chunk(reasoning_details=[{"type": "reasoning.text", "text": GOOD}])],
    "reasoning as an object": [chunk(reasoning={"content": GOOD})],
    "a part that is thoughts": [
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": GOOD}]}])
    ],
    "parts that are texts": [chunk(content=[HALF, REST])],
    "within an object of a tool's": [
        chunk(tool_calls=[{"function": {"arguments": json.dumps({"enrichment": ANSWER})}}])
    ],
    "thoughts in prose": [chunk(content="So {x} is it. Here is my response: " + GOOD)],
    "thoughts of a harmony without marks": [chunk(content="analysisWe {x}.assistantfinal" + GOOD)],
    "thoughts of another channel": [chunk(content="<|channel>thought\n{ hm <channel|>" + GOOD)],
    "thoughts between other marks": [
        chunk(content="<|begin_of_thought|>{ hm <|end_of_thought|>" + GOOD)
    ],
    "thoughts in capitals": [chunk(content="<THINK>{ hm</THINK>" + GOOD)],
    "the text as an object": [chunk(content=json.loads(GOOD))],
    "a message in place of a delta": [
        json.dumps({"choices": [{"message": {"content": GOOD}, "finish_reason": "stop"}]})
    ],
}


@pytest.mark.parametrize("name", PLACES)
def test_an_answer_is_taken_where_it_stands(name):
    assert take(answer(stream(*PLACES[name], chunk("stop")))) == "Adds two numbers."


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning_content": GOOD},
        {"content": "", "tool_calls": [TOOL]},
        {"content": "{ hm </think>" + GOOD},
    ],
)
def test_an_answer_in_one_piece_is_taken_where_it_stands(message):
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert take(answer(body, "application/json")) == "Adds two numbers."


def test_the_text_counts_where_thoughts_hold_an_answer_too():
    draft = '{"summary_120w": "A draft."}'
    assert take(answer(stream(chunk(reasoning=draft), chunk("stop", content=GOOD)))) == (
        "Adds two numbers."
    )


@pytest.mark.parametrize("opening", ["<think>", "[THINK]", "<thought>", ""])
def test_a_draft_among_thoughts_that_come_bit_by_bit_is_not_the_answer(opening):
    end = opening.replace("<", "</").replace("[", "[/") or "</think>"
    aloud = 'Maybe {"summary_120w": "A draft."}, but that says too little of what it is for.'
    bits = [chunk(content=char) for char in f"{opening}{aloud}{end}{GOOD}"]
    assert take(answer(stream(*bits, chunk("stop")))) == "Adds two numbers."


@pytest.mark.parametrize("field", ["thinking", "tool"])
def test_ollamas_answer_is_taken_where_it_stands(field):
    tool = [{"function": {"name": "f", "arguments": json.loads(GOOD)}}]
    aside = {"thinking": GOOD} if field == "thinking" else {"tool_calls": tool}
    body = json.dumps({"message": {"content": "", **aside}, "done": True, "done_reason": "stop"})
    with FakeOllama([answer(body + "\n", "application/x-ndjson")]) as fake:
        result, _ = ollama(fake).generate(PROMPT, item=ITEM)
    assert result.summary_120w == "Adds two numbers."


# -- how an answer may come ------------------------------------------------------------------------

BODY = stream(chunk(content=HALF), chunk(content=REST), chunk("stop"))
FORMS = {
    "as plain text": answer(BODY, "text/plain; charset=utf-8"),
    "as JSON": answer(BODY, "application/json"),
    "as nothing": answer(BODY, ""),
    "with gzip": answer(gzip.compress(BODY.encode()), **{"Content-Encoding": "gzip"}),
    "with a mark": answer("\ufeff" + BODY),
    "with CRLF": answer(BODY.replace("\n", "\r\n")),
    "with CR": answer(BODY.replace("\n", "\r")),
    "with comments": answer(": waiting\n\n: waiting\n\n" + BODY.replace("data", ": x\ndata")),
    "with other fields": answer("retry: 10\nid: 1\nevent: message\n" + BODY),
    "with gzip, unsaid": answer(gzip.compress(BODY.encode())),
    "with a coding that is none": answer(BODY, **{"Content-Encoding": "utf-8"}),
    "without blank lines": answer(BODY.replace("\n\n", "\n")),
    "with pings": answer("event: ping\ndata: ping\n\ndata:\n\n" + BODY),
    "with a small end": answer(BODY.replace("[DONE]", '"[done]"')),
    "in lines": answer(BODY.replace("data: ", "").replace("[DONE]", "").replace("\n\n", "\n")),
    "without its end": answer(stream(chunk(content=GOOD), done=False)),
    "whole, with a mark, as a stream": answer(
        "\ufeff" + json.dumps({"choices": [{"message": {"content": GOOD}}]})
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_answer_is_read_in_whatever_form_it_comes(name):
    assert take(FORMS[name]) == "Adds two numbers."


# -- why there is none -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "kind", "why"),
    [
        ([chunk("content_filter", content="")], "validation", "content_filter"),
        ([chunk("length", reasoning_content="hm " * 50)], "truncation", "'length'"),
        (
            [chunk(refusal="I can't "), chunk("stop", refusal="do it")],
            "validation",
            "I can't do it",
        ),
        ([chunk("tool_calls")], "runtime", "tool_calls"),
        ([chunk("length", content=GOOD[:25])], "truncation", "'length'"),
        ([chunk("content_filter", content=GOOD[:25])], "truncation", "'content_filter'"),
        ([chunk("stop", content="I would rather not.")], "truncation", "JSON"),
    ],
)
def test_a_reply_that_is_none_says_why(chunks, kind, why):
    error = refuse(answer(stream(*chunks)))
    assert error.failure_type == kind
    assert why in str(error)


def test_a_filter_is_named_in_an_answer_of_one_piece():
    choice = {"message": {"content": None}, "finish_reason": "content_filter"}
    error = refuse(answer(json.dumps({"choices": [choice]}), "application/json"))
    assert "content_filter" in str(error)


@pytest.mark.parametrize("backend", ["openai", "ollama"])
def test_a_stream_that_ends_in_order_without_its_end_is_a_truncation_with_its_text(backend):
    if backend == "openai":
        error = refuse(answer(stream(chunk(content=HALF), done=False)))
    else:
        parts = [{"message": {"content": part}, "done": False} for part in ('{"summ', "ha ha")]
        body = "".join(f"{json.dumps(part)}\n" for part in parts)
        with (
            FakeOllama([answer(body, "application/x-ndjson")]) as fake,
            pytest.raises(BackendError) as caught,
        ):
            ollama(fake).generate(PROMPT, item=ITEM)
        error = caught.value
    kind, detail, text = error.failure
    assert kind == "truncation"
    assert "without an end" in detail
    assert text.startswith('{"summ')


# -- errors inside a 200 ---------------------------------------------------------------------------

LIMITED = [
    {"error": {"message": "Rate limit exceeded: free-models-per-min", "code": 429}},
    {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
    {"error": {"message": "slow down", "type": "rate_limit_error"}},
    {"error": {"message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}},
    {"error": {"message": "Overloaded", "type": "overloaded_error"}},
    {"error": {"message": "Provider returned error: too many requests", "code": 500}},
    {"error": "rate limit reached, try again later"},
    {"object": "error", "message": "busy", "code": 503},
    {"choices": [{"error": {"code": "429", "message": "x"}, "finish_reason": "error"}]},
    [{"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}}],
]


@pytest.mark.parametrize("said", LIMITED, ids=lambda said: json.dumps(said)[:40])
@pytest.mark.parametrize("form", ["whole", "in a stream"])
def test_a_rate_limit_inside_a_200_is_waited_for(said, form):
    body = json.dumps(said)
    if form == "in a stream":
        limited = answer(stream(chunk(content=HALF), body))
    else:
        limited = answer(body, "application/json")
    assert take(limited, answer(BODY)) == "Adds two numbers."


def test_a_rate_limit_inside_a_200_that_lasts_is_one():
    body = json.dumps(LIMITED[0])
    error = refuse(*[answer(body, "application/json", **{"Retry-After": "20"})] * 9)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 20


def test_ollamas_rate_limit_inside_a_200_is_waited_for():
    limited = answer('{"error": "too many requests, try again later"}\n', "application/x-ndjson")
    with FakeOllama([limited, Reply(text=GOOD)]) as fake:
        result, _ = ollama(fake).generate(PROMPT, item=ITEM)
    assert result.summary_120w


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"error": {"message": "no such key", "code": 401}}, CredentialsError),
        ({"error": {"message": "model exploded", "code": 500}}, BackendError),
        ({"detail": "Not authenticated"}, BackendError),
    ],
)
def test_another_error_inside_a_200_is_not_waited_for(said, kind):
    error = refuse(answer(json.dumps(said), "application/json"))
    assert isinstance(error, kind)
    assert not isinstance(error, RateLimitedError)
    assert next(iter(said.values())) == said.get("detail") or "broke off" in str(error)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ('event: error\ndata: {"code": "insufficient_quota"}\n\n', TurnedAwayError, "quota"),
        ("event: error\ndata: the card caught fire\n\n", BackendError, "caught fire"),
        ("<!DOCTYPE html><title>Log in</title>", BackendError, "web page"),
        ("\n<html><body>Log in", BackendError, "web page"),
        ('{"error": "model \'x\' not found"}', TurnedAwayError, "not found"),
        ('{"success": false, "message": "Token expired"}', BackendError, "Token expired"),
    ],
)
def test_what_comes_in_place_of_an_answer_is_said(body, kind, said):
    error = refuse(answer(body))
    assert type(error) is kind
    assert said in str(error)


def test_a_web_page_in_place_of_ollamas_answer_is_called_that():
    page = answer("<!doctype html><html></html>", "text/html")
    with FakeOllama([page, page]) as fake, pytest.raises(BackendError, match="web page"):
        ollama(fake).generate(PROMPT, item=ITEM)


# -- what a server does not take -------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    ["Streaming is not supported", "Unsupported parameter: 'stream'", "stream must be false"],
)
@pytest.mark.parametrize("status", [400, 422, 501, 200])
def test_a_server_that_refuses_only_to_stream_is_asked_without_and_that_is_remembered(said, status):
    def script(call):
        if call.body.get("stream"):
            body = json.dumps({"error": {"message": said, "code": 400}})
            return faults.HttpStatus(status, body=body)
        return answer(json.dumps({"choices": [{"message": {"content": GOOD}}]}), "application/json")

    with FakeOpenAI(script) as fake:
        for model in (None, None):  # another model of the same server
            result, _ = openai(fake, model).generate(PROMPT, item=ITEM)
            assert result.summary_120w
        bodies = [call.body for call in fake.calls]
    assert [body["stream"] for body in bodies] == [True, False, False]
    assert "stream_options" not in bodies[-1]
    assert bodies[-1]["response_format"]["type"] == "json_schema"


def picky(minds, said, status=400):
    """Return a script that refuses what `minds` finds in a request."""
    body = json.dumps({"error": {"message": said}})
    good = answer(stream(chunk("stop", content=GOOD)))
    return lambda call: faults.HttpStatus(status, body=body) if minds(call.body) else good


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("System role not supported", 400),
        ("Developer instruction is not enabled for models/gemma", 400),
        ("'messages[0].role' does not support 'system' with this model.", 400),
        ("Conversation roles must alternate user/assistant/user/assistant", 500),
    ],
)
def test_a_server_without_the_systems_role_hears_it_from_the_user(said, status):
    def minds(body):
        return any(message["role"] == "system" for message in body["messages"])

    with FakeOpenAI(picky(minds, said, status)) as fake:
        openai(fake).generate(PROMPT, item=ITEM)
        roles = [message["role"] for message in fake.calls[-1].body["messages"]]
        first = fake.calls[-1].body["messages"][0]["content"]
    assert roles[::2] == ["user"] * len(roles[::2])
    assert first.startswith("You explain source code")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("JSON mode is not supported for this model", 400),
        ("Structured outputs are not supported by this model", 400),
        ("guided decoding is not available", 400),
        ("failed to parse grammar", 500),
    ],
)
def test_a_server_that_constrains_nothing_is_asked_in_words(said, status):
    with FakeOpenAI(picky(lambda body: "response_format" in body, said, status)) as fake:
        openai(fake).generate(PROMPT, item=ITEM)
        assert "response_format" not in fake.calls[-1].body


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens must be less than or equal to 512, less than the context_window of the model",
        (
            "max_tokens is too large: 1024. This model supports at most 512 completion tokens, "
            "whereas you provided 1024."
        ),
    ],
)
def test_a_bound_on_the_reply_is_kept_to(said):
    with FakeOpenAI(picky(lambda body: body["max_tokens"] > 512, said)) as fake:
        openai(fake).generate(LONG, item=ITEM)
        assert fake.calls[-1].body["max_tokens"] == 512


LIMITS = {
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
    "(3976 in the messages, 1024 in the completion).": 4096,
    "the request exceeds the available context size (4096 tokens), try increasing it": 4096,
    '{"code":400,"type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}': 4096,
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).": (
        1048576
    ),
    "prompt is too long: 210000 tokens > 200000 maximum": 200000,
    "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens": 4096,
    "the model is loaded with context length of only 4096 tokens, which is not enough": 4096,
    "Prompt contains 40000 tokens, too large for model with 32768 maximum context length": 32768,
    "This endpoint's maximum context length is 131,072 tokens.": 131072,
    "input length and `max_tokens` exceed context limit: 5000 + 1024 > 4096": 4096,
    "The decoder prompt (length 9000) is longer than the maximum model length of 4096.": 4096,
    "Please reduce the length of the messages. Current length is 9000 while limit is 8192": 8192,
    "Range of input length should be [1, 30720]": 30720,
    "Prompt is too long: it has 9000 tokens but the model supports only 8192 tokens": 8192,
    "input tokens exceed the configured limit of 272000 tokens. They were 300000.": 272000,
    "too many tokens: prompt tokens cannot exceed 4081 - received 9000": 4081,
    "the model 'x-4096' is not loaded": None,
    "Unsupported parameter: 'max_tokens'; 2048 is no good": None,
}


@pytest.mark.parametrize("said", LIMITS)
def test_a_limit_on_tokens_is_read_out_of_a_complaint(said):
    assert find_limit(f"http://10.0.0.1:8080 answered HTTP 400: {said}") == LIMITS[said]


def test_a_prompt_is_made_to_fit_the_limit_that_the_server_names():
    def script(call):
        if len(call.prompt) / 3.5 + call.body["max_tokens"] > 2000:
            said = "This model's maximum context length is 2000 tokens. You requested more."
            return faults.HttpStatus(400, said)
        return GOOD

    model = next(MODELS)
    with FakeOpenAI(script) as fake:
        _, meta = openai(fake, model).generate(LONG, item=ITEM)
        assert len(fake.calls) == 2
        openai(fake, model).generate(LONG, item=ITEM)
        assert len(fake.calls) == 3
        assert fake.calls[-1].body["max_tokens"] == 500
    assert meta["cut_lines"] > 0


def test_a_prompt_that_cannot_be_made_to_fit_fails_with_that_said():
    said = faults.HttpStatus(400, "This model's maximum context length is 300 tokens.")
    with FakeOpenAI(lambda call: said) as fake, pytest.raises(BackendError) as caught:
        openai(fake).generate(LONG, item=ITEM)
    assert "takes 300 tokens" in str(caught.value)
    assert caught.value.failure is None


# -- bounds ----------------------------------------------------------------------------------------

BOMB = b'{"choices": [' + b"[]," * (MAX_LINE_BYTES // 2) + b"[]]}"


@pytest.mark.parametrize(
    "body",
    [BOMB, b"data: " + BOMB + b"\n\n", b"data: []\n" * 200_000],
    ids=["whole", "line", "event"],
)
def test_what_is_too_long_is_refused_unparsed(body):
    error = refuse(answer(body))
    assert error.failure_type == "runtime"
    assert "bytes" in str(error)


@pytest.mark.parametrize("structured", [True, False], ids=["chat", "plain"])
def test_what_is_too_long_of_ollama_is_refused_unparsed(structured):
    with FakeOllama([answer(BOMB + b"\n", "application/x-ndjson")]) as fake:
        backend = ollama(fake)
        backend._policy = CallPolicy(timeout=10.0, structured=structured)
        with pytest.raises(BackendError, match="exceeds"):
            backend.generate(PROMPT, item=ITEM)


# -- certificates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("structured", [True, False], ids=["chat", "plain"])
def test_a_certificate_that_is_not_believed_is_an_error_at_once(tmp_path, structured):
    pair = make_certificate(tmp_path, "localhost", "-days", "2")
    server = Server(secured(pair, says(b"")))
    backend = OllamaBackend(
        BackendConfig("host", "ollama", url=f"https://localhost:{server.port}"),
        TierPreset("7b", "qwen:7b", "15m", {"num_ctx": 3072}),
        label="attic",
        default_model=None,
        policy=CallPolicy(tries=3, retry_wait=0.0, timeout=20.0, structured=structured),
        client=Client(),
    )
    with pytest.raises(CredentialsError, match="SSL_CERT_FILE"):
        backend.generate(PROMPT, item=ITEM)
    server.stop()
    assert server.connections == 1


def test_a_gateways_certificate_that_is_not_believed_is_an_error_at_once(tmp_path):
    pair = make_certificate(tmp_path, "localhost", "-days", "2")
    server = Server(secured(pair, says(b"")))
    endpoint = Endpoint(f"https://localhost:{server.port}/v1/chat/completions", "m", "m")
    policy, config = CallPolicy(timeout=20.0), BackendConfig("cloud", "openai")
    with pytest.raises(CredentialsError, match="SSL_CERT_FILE"):
        OpenAIBackend(config, endpoint, policy=policy, client=Client()).generate(PROMPT, item=ITEM)
    server.stop()
    assert server.connections == 1
