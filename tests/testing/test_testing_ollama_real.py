"""The fake Ollama does what a real one, 0.12.3, was seen to do.

Where a real server answers in a way that surprises, the test's name says so.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import ollama
import pytest

from llmc.testing import faults
from llmc.testing.ollama import REPEAT_LIMIT, FakeOllama, Model, Reply
from llmc.testing.ollama._formats import fitted
from llmc.testing.ollama._json import encode
from tests.wire import get, post, send, until

CHAT = "/api/chat"
V1 = "/v1/chat/completions"
IN_FULL = "registry.ollama.ai/library/m:latest"
VOCAL = ("completion", "tools", "thinking", "insert")


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        yield server


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def ask(fake: FakeOllama, path: str = "/api/generate", **body: Any) -> dict[str, Any]:
    """Return the JSON that one call is answered with."""
    return dict(json.loads(post(fake, path, **body)[1]))


def running(fake: FakeOllama) -> list[dict[str, Any]]:
    return list(json.loads(get(fake, "/api/ps")[1])["models"])


def raw(fake: FakeOllama, path: str = "/api/generate", **body: Any) -> bytes:
    """Send one call and return every byte of the answer."""
    content = json.dumps({"model": "m", "prompt": "p", **body}).encode()
    head = f"POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", fake.port), timeout=20) as sock:
        sock.sendall(head.encode() + content)
        data = b""
        while piece := sock.recv(65536):
            data += piece
        return data


# Framing


def test_each_token_is_a_part_and_a_chunk_of_its_own() -> None:
    with FakeOllama(["abcdefghij"]) as fake:
        body = raw(fake).partition(b"\r\n\r\n")[2]
    chunks = body.split(b"\r\n")[1::2]
    texts = [json.loads(chunk)["response"] for chunk in chunks if chunk]
    assert texts == ["abcd", "efgh", "ij", ""]


def test_the_json_is_escaped_as_go_escapes_it() -> None:
    with FakeOllama(["<a>&\u2028\u2029é"]) as fake:
        body = post(fake)[1]
    assert b'"response":"\\u003ca\\u003e\\u0026\\u2028\\u2029\xc3\xa9"' in body


def test_half_a_character_is_replaced() -> None:
    assert encode("a\ud83db") == '"a\ufffdb"'.encode()


def test_a_short_reply_has_a_length_and_a_long_one_comes_in_chunks() -> None:
    with FakeOllama(["x", "x" * 3000]) as fake:
        short, long = (post(fake) for _ in range(2))
    assert short[2]["Content-Length"] == str(len(short[1]))
    assert (long[2]["Transfer-Encoding"], "Content-Length" in long[2]) == ("chunked", False)
    assert json.loads(long[1])["response"] == "x" * 3000


def test_a_stream_says_nothing_before_its_first_token() -> None:
    with FakeOllama([("x" * 8, faults.SlowTokens(0.5))]) as fake:
        content = b'{"model": "m", "prompt": "p"}'
        with socket.create_connection(("127.0.0.1", fake.port), timeout=20) as sock:
            head = b"POST /api/generate HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
            sock.sendall(head % len(content) + content)
            first = sock.recv(65536)
    assert b'"response":"xxxx"' in first


def test_a_stream_comes_in_chunks_as_lines_of_json(fake: FakeOllama) -> None:
    _, _, headers = post(fake, stream=True)
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("path", ["/", "/api/tags", "/api/nothing"])
def test_every_answer_has_a_date(fake: FakeOllama, path: str) -> None:
    date = parsedate_to_datetime(send(fake, "GET", path)[2]["Date"])
    assert abs((datetime.now(UTC) - date).total_seconds()) < 60


def test_a_plain_reply_ends_with_the_tokens_of_its_context(fake: FakeOllama) -> None:
    plain, raw_mode = ask(fake, prompt="x" * 40), ask(fake, prompt="x" * 40, raw=True)
    assert len(plain["context"]) == 10 + plain["eval_count"]
    assert "context" not in raw_mode


# Loading and unloading


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/generate", {"prompt": ""}, {"response": ""}),
        (CHAT, {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
    ],
)
@pytest.mark.parametrize(("keep", "reason"), [("5m", "load"), (0, "unload")])
def test_a_request_to_load_is_no_stream(
    fake: FakeOllama, path: str, body: dict[str, Any], said: dict[str, Any], keep: Any, reason: str
) -> None:
    status, answer, headers = post(fake, path, **body, stream=True, keep_alive=keep)
    value = json.loads(answer)
    created = value.pop("created_at")
    assert (status, headers["Content-Length"]) == (200, str(len(answer)))
    assert value == {"model": "m", **said, "done": True, "done_reason": reason}
    assert datetime.fromisoformat(created).tzinfo is not None


def test_unloading_what_is_not_loaded_loads_nothing(fake: FakeOllama) -> None:
    post(fake, prompt="", keep_alive=0)
    assert fake.loads == 0


def test_a_chat_of_less_than_a_second_unloads_too(fake: FakeOllama) -> None:
    assert ask(fake, CHAT, messages=[], keep_alive="900ms")["done_reason"] == "unload"


def test_a_call_that_names_no_time_leaves_the_models_time_as_it_is(fake: FakeOllama) -> None:
    post(fake, keep_alive=-1)
    post(fake)
    expires = datetime.fromisoformat(running(fake)[0]["expires_at"])
    assert expires.year > 2200


def test_a_load_takes_its_time_even_without_a_prompt() -> None:
    with FakeOllama(swap_seconds=0.2) as fake:
        post(fake, prompt="")
        assert ask(fake)["load_duration"] < 0.1e9
        assert fake.loads == 1


# Runners


@pytest.mark.parametrize(
    "options",
    [
        {"num_ctx": 2048},
        {"num_batch": 24},
        {"num_gpu": 10},
        {"main_gpu": 1},
        {"num_thread": 3},
        {"use_mmap": False},
    ],
)
def test_other_load_options_restart_the_runner(options: dict[str, Any]) -> None:
    with FakeOllama(swap_seconds=0.1) as fake:
        post(fake)
        assert ask(fake, options=options)["load_duration"] >= 0.1e9
        assert (fake.loads, fake.reloads, fake.swaps) == (2, 1, 0)


@pytest.mark.parametrize(
    "options",
    [{}, {"num_ctx": 4096}, {"temperature": 1}, {"num_predict": 9}, {"num_gpu": -1}, {"odd": 1}],
)
def test_options_of_the_reply_leave_the_runner_alone(
    fake: FakeOllama, options: dict[str, Any]
) -> None:
    post(fake)
    post(fake, options=options)
    assert (fake.loads, fake.reloads) == (1, 0)


def test_a_model_may_bring_options_of_its_own() -> None:
    with FakeOllama(models=[Model("m", options={"num_ctx": 1024, "num_predict": 2})]) as fake:
        reply = ask(fake)
        assert running(fake)[0]["context_length"] == 1024
    assert (reply["eval_count"], reply["done_reason"]) == (2, "length")


def test_two_names_of_one_file_share_a_runner() -> None:
    models = [Model("a", blob="sha256-1"), Model("b", blob="sha256-1"), Model("c")]
    with FakeOllama(models=models, max_loaded=3) as fake:
        for model in "abc":
            post(fake, model=model)
        assert fake.loads == 2


def test_a_copy_shares_the_runner_of_its_original(fake: FakeOllama) -> None:
    post(fake)
    ollama.Client(fake.url).copy("m", "twin")
    post(fake, model="twin")
    assert (fake.loads, fake.swaps) == (1, 0)


def test_a_reload_waits_for_the_calls_in_flight() -> None:
    with FakeOllama([faults.SlowHeaders(0.3)]) as fake, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, fake)
        assert until(lambda: fake.in_flight == 1)
        post(fake, options={"num_ctx": 512})
        first.result()
        assert fake.peak_in_flight == 1
        assert fake.calls[1].queued > 0


def test_a_call_that_leaves_the_gpu_to_the_server_takes_the_runner_as_it_is(
    fake: FakeOllama,
) -> None:
    post(fake, options={"num_gpu": 10})
    post(fake)
    assert (fake.loads, fake.reloads) == (1, 0)


def test_every_model_has_slots_of_its_own() -> None:
    with (
        FakeOllama(lambda call: faults.SlowHeaders(60), slots=1, max_loaded=3) as fake,
        ThreadPoolExecutor(3) as pool,
    ):
        for model in "abc":
            pool.submit(post, fake, model=model)
        assert until(lambda: fake.in_flight == 3)
        assert (fake.loads, fake.swaps) == (3, 0)
        fake.close()


def test_more_calls_than_a_model_has_slots_wait_and_are_never_refused() -> None:
    with (
        FakeOllama(slots=1, max_queue=0, latency=0.05) as fake,
        ThreadPoolExecutor(6) as pool,
    ):
        post(fake)
        statuses = [status for status, *_ in pool.map(lambda _: post(fake), range(6))]
    assert statuses == [200] * 6
    assert fake.peak_in_flight == 1
    assert fake.peak_queued > 1


def test_a_full_line_before_a_load_is_refused_in_ollamas_words() -> None:
    with (
        FakeOllama([faults.SlowHeaders(60)], max_queue=1) as fake,
        ThreadPoolExecutor(3) as pool,
    ):
        pool.submit(post, fake, model="a")
        assert until(lambda: fake.in_flight == 1)
        for waiting in (1, 2):  # the first stands at the head, and takes no place in the queue
            pool.submit(post, fake, model="b")
            assert until(partial(lambda count: fake.peak_queued == count, waiting))
        status, body, _ = post(fake, model="b")
        fake.close()
    assert status == 503
    message = "server busy, please try again.  maximum pending requests exceeded"
    assert json.loads(body) == {"error": message}


def test_a_call_to_a_loaded_model_passes_those_that_wait_for_another() -> None:
    with (
        FakeOllama([faults.SlowHeaders(60)], max_queue=0) as fake,
        ThreadPoolExecutor(2) as pool,
    ):
        pool.submit(post, fake, model="a")
        assert until(lambda: fake.in_flight == 1)
        pool.submit(post, fake, model="b")
        assert until(lambda: fake.peak_queued == 1)
        assert post(fake, model="a")[0] == 200
        fake.close()


# The context


def test_num_ctx_is_cut_down_to_what_the_model_was_trained_for() -> None:
    with FakeOllama(trained_context=100) as fake:
        reply = ask(fake, prompt="x" * 1000, options={"num_ctx": 5000})
    assert reply["prompt_eval_count"] == 100
    assert fake.calls[0].call.prompt_cut


def test_what_is_running_says_the_num_ctx_that_was_asked_for_all_the_same() -> None:
    with FakeOllama(trained_context=100) as fake:
        post(fake, options={"num_ctx": 5000})
        assert running(fake)[0]["context_length"] == 5000


def test_a_context_has_at_least_four_tokens(fake: FakeOllama) -> None:
    assert ask(fake, prompt="x" * 1000, options={"num_ctx": 1})["prompt_eval_count"] == 4


def test_whole_turns_are_dropped_from_a_chat_that_is_too_long(fake: FakeOllama) -> None:
    turns = [{"role": "system", "content": "s" * 40}, user("a" * 400), user("b" * 100), user("c")]
    reply = ask(fake, CHAT, messages=turns, options={"num_ctx": 60})
    (call,) = fake.calls
    assert (call.call.turns_dropped, call.call.prompt_cut) == (1, True)
    assert reply["prompt_eval_count"] == math.ceil((40 + 1 + 100 + 1 + 1) / 4)


def test_the_last_turn_stays_and_loses_its_middle_alone(fake: FakeOllama) -> None:
    reply = ask(fake, CHAT, messages=[user("a"), user("b" * 400)], options={"num_ctx": 60})
    assert (fake.calls[0].call.turns_dropped, reply["prompt_eval_count"]) == (1, 60)


def test_even_the_systems_words_go_when_the_turn_after_them_is_too_long(fake: FakeOllama) -> None:
    turns = [{"role": "system", "content": "be brief"}, user("b" * 400)]
    ask(fake, CHAT, messages=turns, options={"num_ctx": 60})
    assert fake.calls[0].call.turns_dropped == 1


def test_a_chat_that_fits_is_read_whole(fake: FakeOllama) -> None:
    ask(fake, CHAT, messages=[user("a"), user("b")])
    assert (fake.calls[0].call.turns_dropped, fake.calls[0].call.prompt_cut) == (0, False)


@pytest.mark.parametrize(("length", "shifted"), [(160, False), (161, True)])
def test_a_reply_that_outgrows_the_context_shifts_it_and_says_nothing(
    length: int, shifted: bool
) -> None:
    with FakeOllama(["y" * length]) as fake:
        reply = ask(fake, prompt="x" * 80, options={"num_ctx": 60})
    assert fake.calls[0].shifted is shifted
    assert (reply["prompt_eval_count"], reply["done_reason"]) == (20, "stop")
    assert reply["eval_count"] == math.ceil(length / 4)


@pytest.mark.parametrize("options", [{}, {"num_predict": -1}, {"num_predict": 10**6}])
def test_a_reply_without_a_bound_ends_after_ten_contexts(options: dict[str, Any]) -> None:
    with FakeOllama(["y" * 4000]) as fake:
        reply = ask(fake, options={"num_ctx": 20, **options})
    assert (reply["eval_count"], reply["done_reason"]) == (200, "length")


# Repetition


def test_a_token_that_repeats_itself_breaks_the_reply_off() -> None:
    with FakeOllama(["{" + "ha, " * 100], repeat_limit=REPEAT_LIMIT) as fake:
        body = post(fake, stream=True)[1]
    parts = [json.loads(line) for line in body.splitlines()]
    assert not any(part["done"] for part in parts)
    assert parts[-1]["response"] == " ha,"
    assert len(parts) == 1 + 1 + REPEAT_LIMIT


def test_blanks_of_any_kind_are_one_token_to_it() -> None:
    with FakeOllama([faults.EndlessWhitespace(per_second=None)], repeat_limit=30) as fake:
        reply = ask(fake)
    assert reply["done"] is False
    assert len(reply["response"]) < 200


def test_repetitions_up_to_the_limit_are_let_through() -> None:
    text = "ha, " * 31 + "end"
    with FakeOllama([text], repeat_limit=30) as fake:
        reply = ask(fake)
    assert (reply["response"], reply["done"]) == (text, True)


# What is refused, and how


MISSING = "model 'nope' not found"
REFUSED: list[tuple[str, Any, int, str]] = [
    ("/api/generate", {}, 404, "model '' not found"),
    ("/api/generate", {"model": "a b"}, 404, "model 'a b' not found"),
    ("/api/generate", {"model": "nope", "prompt": "p"}, 404, MISSING),
    ("/api/generate", None, 400, "missing request body"),
    ("/api/generate", b"{", 400, "unexpected EOF"),
    ("/api/generate", b"hello", 400, "invalid character 'h' looking for beginning of value"),
    ("/api/generate", b'{"a": NaN}', 400, "invalid character 'N' looking for beginning of value"),
    (CHAT, {}, 400, "model is required"),
    (CHAT, {"model": "/"}, 400, "model is required"),
    (CHAT, {"model": "nope", "messages": [user("x")]}, 404, MISSING),
    ("/api/show", {}, 400, "model is required"),
    ("/api/show", {"model": "nope"}, 404, MISSING),
    ("/api/show", {"model": "a b"}, 500, "invalid model path"),
    ("/api/embed", {"model": "nope", "input": "x"}, 404, MISSING),
    ("/api/embed", {"model": "m", "input": 5}, 400, "invalid input type"),
    ("/api/embed", {"model": "m", "input": ["x", 5]}, 400, "invalid input type"),
    ("/api/embeddings", {}, 400, "model is required"),
    ("/api/embeddings", {"model": "nope"}, 404, 'model "nope" not found, try pulling it first'),
    ("/api/copy", {"source": "nope", "destination": "x"}, 404, 'model "nope" not found'),
    ("/api/copy", {"source": "m"}, 400, 'destination "" is invalid'),
    ("/api/pull", {"model": ""}, 400, "invalid model name"),
]


@pytest.mark.parametrize(("path", "body", "status", "message"), REFUSED)
def test_a_bad_request_is_refused_with_ollamas_status_and_words(
    path: str, body: Any, status: int, message: str
) -> None:
    with FakeOllama(models=["m"]) as fake:
        got, answer, _ = send(fake, "POST", path, body)
    assert (got, json.loads(answer)) == (status, {"error": message})


OF_TYPE = "json: cannot unmarshal {} into Go struct field {} of type {}"
WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("model", 5, OF_TYPE.format("number", "GenerateRequest.model", "string")),
    ("prompt", ["a"], OF_TYPE.format("array", "GenerateRequest.prompt", "string")),
    ("stream", "yes", OF_TYPE.format("string", "GenerateRequest.stream", "bool")),
    ("raw", 1, OF_TYPE.format("number", "GenerateRequest.raw", "bool")),
    ("options", 5, OF_TYPE.format("number", "GenerateRequest.options", "map[string]interface {}")),
    ("context", [1.5], OF_TYPE.format("number 1.5", "GenerateRequest.context", "int")),
    ("keep_alive", "5", 'time: missing unit in duration "5"'),
    ("keep_alive", "5x", 'time: unknown unit "x" in duration "5x"'),
    ("keep_alive", "", 'time: invalid duration ""'),
    ("keep_alive", True, "Unsupported type: 'bool'"),
    (
        "think",
        "max",
        'invalid think value: "max" (must be "high", "medium", "low", true, or false)',
    ),
    ("think", 1, 'think must be a boolean or string ("high", "medium", "low")'),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG_TYPES)
def test_a_field_of_the_wrong_type_is_a_400(
    fake: FakeOllama, field: str, value: Any, message: str
) -> None:
    status, answer, _ = post(fake, **{field: value})
    assert (status, json.loads(answer)) == (400, {"error": message})
    assert fake.calls == ()


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hi", OF_TYPE.format("string", "ChatRequest.messages", "[]api.Message")),
        (["hi"], OF_TYPE.format("string", "ChatRequest.messages", "api.Alias")),
        ([user(5)], OF_TYPE.format("number", "ChatRequest.messages.content", "string")),  # type: ignore[arg-type]
        ([{"content": []}], OF_TYPE.format("array", "ChatRequest.messages.content", "string")),
    ],
)
def test_messages_of_the_wrong_type_are_a_400(
    fake: FakeOllama, messages: Any, message: str
) -> None:
    status, answer, _ = post(fake, CHAT, messages=messages)
    assert (status, json.loads(answer)) == (400, {"error": message})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_ctx": "big"}, 'option "num_ctx" must be of type integer'),
        ({"num_ctx": True}, 'option "num_ctx" must be of type integer'),
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
    ],
)
def test_an_option_of_the_wrong_type_is_a_500(
    fake: FakeOllama, options: dict[str, Any], message: str
) -> None:
    status, answer, _ = post(fake, options=options)
    assert (status, json.loads(answer)) == (500, {"error": message})


@pytest.mark.parametrize(
    "body",
    [
        b'{"MODEL": "m", "Prompt": "p", "stream": false} and more',
        b'{"model": "m", "prompt": "p", "options": null, "keep_alive": null, "think": null}',
        b'{"model": "m", "prompt": "\xff"}',
    ],
)
def test_what_go_lets_pass_is_let_pass(fake: FakeOllama, body: bytes) -> None:
    assert send(fake, "POST", "/api/generate", body)[0] == 200


@pytest.mark.parametrize("number", [b"1e400", b"9" * 400])
def test_a_number_that_no_float_holds_is_a_400(fake: FakeOllama, number: bytes) -> None:
    body = b'{"model": "m", "prompt": "p", "options": {"num_ctx": %s}}' % number
    assert send(fake, "POST", "/api/generate", body)[0] == 400


@pytest.mark.parametrize("path", ["/api/generate", CHAT])
@pytest.mark.parametrize(
    "name", ["QWEN:7B", "library/qwen:7b", "registry.ollama.ai/library/Qwen:7b"]
)
def test_a_name_may_be_written_in_any_case_and_in_full(path: str, name: str) -> None:
    with FakeOllama(models=["qwen:7b"]) as fake:
        status, answer, _ = post(fake, path, model=name, messages=[user("x")])
        assert (status, json.loads(answer)["model"]) == (200, name)
        assert running(fake)[0]["name"] == "qwen:7b"


def test_a_malformed_name_is_none_of_the_installed() -> None:
    with pytest.raises(ValueError, match="is no model name"):
        FakeOllama(models=["two words"])


# Formats, thoughts, tools


SCHEMA = {
    "type": "object",
    "properties": {
        "summary_120w": {"type": "string"},
        "score": {"type": "number"},
        "kind": {"enum": ["function", "class"]},
    },
    "required": ["summary_120w", "score", "kind"],
}


@pytest.mark.parametrize("path", ["/api/generate", CHAT])
def test_the_default_reply_follows_a_schema(fake: FakeOllama, path: str) -> None:
    reply = ask(fake, path, messages=[user("def area(): ...")], format=SCHEMA)
    value = json.loads(reply["message"]["content"] if path == CHAT else reply["response"])
    assert (value["score"], value["kind"]) == (0, "function")
    assert "area" in value["summary_120w"]
    assert set(value) == {"summary_120w", "score", "kind"}


@pytest.mark.parametrize("wanted", [None, "", "json"])
def test_json_and_nothing_are_formats(fake: FakeOllama, wanted: Any) -> None:
    assert isinstance(json.loads(ask(fake, format=wanted)["response"]), dict)


BAD_FORMATS = [
    ("xml", r'invalid format: "\"xml\""; expected "json" or a valid JSON Schema object'),
    (5, 'invalid format: "5"; expected "json" or a valid JSON Schema object'),
    ({"type": "nonsense"}, "invalid JSON schema in format"),
    ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "invalid JSON schema in format"),
]


@pytest.mark.parametrize(("wanted", "message"), BAD_FORMATS)
def test_a_bad_format_is_a_500(fake: FakeOllama, wanted: Any, message: str) -> None:
    status, answer, _ = post(fake, format=wanted)
    assert (status, json.loads(answer)) == (500, {"error": message})


def test_a_bad_format_of_a_stream_is_an_error_within_a_200(fake: FakeOllama) -> None:
    status, answer, headers = post(fake, format="xml", stream=True)
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
    assert json.loads(answer)["error"].startswith("invalid format")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "a"),
        ({"type": ["string", "null"]}, "a"),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "string"}}}, "a"),
        ({"const": 7}, 7),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({}, "a"),
        (True, "a"),
    ],
)
def test_a_value_is_made_to_fit_a_schema(schema: Any, value: Any) -> None:
    assert fitted(schema, "a") == value


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/generate", {"think": True}, f"{IN_FULL} does not support thinking"),
        (CHAT, {"think": True}, f"{IN_FULL} does not support thinking"),
        (CHAT, {"think": "low"}, f"{IN_FULL} does not support thinking"),
        ("/api/generate", {"think": "low"}, 'think value "low" is not supported for this model'),
        (CHAT, {"tools": [{}]}, f"{IN_FULL} does not support tools"),
        ("/api/generate", {"suffix": "}"}, f"{IN_FULL} does not support insert"),
    ],
)
def test_a_model_refuses_what_it_cannot_do(
    fake: FakeOllama, path: str, body: dict[str, Any], message: str
) -> None:
    status, answer, _ = post(fake, path, messages=[user("x")], **body)
    assert (status, json.loads(answer)) == (400, {"error": message})


@pytest.mark.parametrize("body", [{"think": True}, {"tools": [{}]}, {"think": False}])
def test_a_model_that_can_does_it(body: dict[str, Any]) -> None:
    with FakeOllama(models=[Model("m", capabilities=VOCAL)]) as fake:
        assert post(fake, CHAT, messages=[user("x")], **body)[0] == 200


def test_not_to_think_is_something_every_model_can(fake: FakeOllama) -> None:
    assert post(fake, think=False)[0] == 200


@pytest.mark.parametrize(("path", "what"), [("/api/generate", "generate"), (CHAT, "chat")])
def test_a_model_for_embeddings_does_not_talk(path: str, what: str) -> None:
    with FakeOllama(models=[Model("m", capabilities=("embedding",))]) as fake:
        status, answer, _ = post(fake, path, messages=[user("x")])
    assert (status, json.loads(answer)) == (400, {"error": f'"m" does not support {what}'})


# Look-ups


def test_the_newest_model_is_listed_first() -> None:
    models = [
        Model("old", modified_at=datetime(2024, 1, 1, tzinfo=UTC)),
        Model("new", modified_at=datetime(2025, 6, 1, tzinfo=UTC)),
    ]
    with FakeOllama(models=models) as fake:
        client = ollama.Client(fake.url)
        client.copy("old", "newest")
        listed = client.list().models
    assert [model.model for model in listed] == ["newest:latest", "new:latest", "old:latest"]
    assert listed[0].digest == listed[2].digest != listed[1].digest


def test_what_is_running_is_told_with_its_memory_and_end(fake: FakeOllama) -> None:
    post(fake, keep_alive="10m", options={"num_ctx": 1000})
    (model,) = ollama.Client(fake.url).ps().models
    assert model.expires_at is not None
    left = (model.expires_at - datetime.now(UTC)).total_seconds()
    assert (model.model, model.context_length) == ("m:latest", 1000)
    assert model.size == model.size_vram
    assert 500 < left <= 600


def test_a_larger_context_and_more_slots_take_more_memory() -> None:
    sizes = []
    for slots, num_ctx in ((1, 1000), (1, 2000), (2, 1000)):
        with FakeOllama(slots=slots) as fake:
            post(fake, options={"num_ctx": num_ctx})
            sizes.append(running(fake)[0]["size"])
    assert sizes[0] < sizes[1] == sizes[2]


@pytest.mark.parametrize(
    ("settings", "options", "vram"),
    [({"vram": 10**9}, {}, 10**9), ({}, {"num_gpu": 0}, 0)],
)
def test_a_model_may_lie_partly_or_wholly_outside_the_gpu(
    settings: dict[str, Any], options: dict[str, Any], vram: int
) -> None:
    with FakeOllama(**settings) as fake:
        post(fake, options=options)
        assert running(fake)[0]["size_vram"] == vram < running(fake)[0]["size"]


def test_the_model_that_stays_longest_is_told_first() -> None:
    with FakeOllama(max_loaded=2) as fake:
        post(fake, model="short", keep_alive="1m")
        post(fake, model="long", keep_alive="9m")
        assert [model["name"] for model in running(fake)] == ["long:latest", "short:latest"]


def test_a_model_shows_what_it_is() -> None:
    shown_as = Model("m", context_length=2048, capabilities=VOCAL, family="qwen2", template="T")
    with FakeOllama(models=[shown_as]) as fake:
        shown = ollama.Client(fake.url).show("m")
    assert shown.modelinfo is not None
    assert shown.modelinfo["qwen2.context_length"] == 2048
    assert shown.capabilities == list(VOCAL)
    assert (shown.template, shown.modified_at) == ("T", shown_as.modified_at)


def test_a_deleted_model_is_gone_and_its_copy_stays() -> None:
    with FakeOllama(models=["m"]) as fake:
        client = ollama.Client(fake.url)
        client.copy("m", "twin")
        assert client.delete("M").status == "success"
        assert [model.model for model in client.list().models] == ["twin:latest"]
        assert post(fake)[0] == 404
        with pytest.raises(ollama.ResponseError, match="model 'm' not found"):
            client.delete("m")


def test_a_deleted_model_is_gone_where_every_model_is_there(fake: FakeOllama) -> None:
    ollama.Client(fake.url).delete("m")
    assert post(fake)[0] == 404


def test_deleting_is_no_post(fake: FakeOllama) -> None:
    assert send(fake, "POST", "/api/delete", {"model": "m"})[0] == 405


def test_a_pull_finds_nothing_but_what_is_there() -> None:
    with FakeOllama(models=["m"]) as fake:
        client = ollama.Client(fake.url)
        assert client.pull("m").status == "success"
        with pytest.raises(ollama.ResponseError, match="file does not exist") as caught:
            client.pull("nope")
        assert caught.value.status_code == 500
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            list(client.pull("nope", stream=True))


def test_head_asks_whether_it_runs(fake: FakeOllama) -> None:
    status, body, headers = send(fake, "HEAD", "/")
    assert (status, body, headers["Content-Length"]) == (200, b"", "17")


def test_a_refused_request_is_on_record_with_its_body(fake: FakeOllama) -> None:
    send(fake, "POST", "/api/show", {"model": ""})
    assert fake.requests[0].body == {"model": ""}


# Embeddings


def test_embeddings_have_length_1_and_depend_on_the_text(fake: FakeOllama) -> None:
    client = ollama.Client(fake.url)
    one, same, other = (client.embed("e", text).embeddings[0] for text in ("a", "a", "b"))
    assert list(one) == list(same) != list(other)
    assert (len(one), round(sum(x * x for x in one), 6)) == (768, 1.0)


def test_several_texts_are_embedded_at_once() -> None:
    with FakeOllama(models=[Model("e", embedding_length=16)]) as fake:
        answer = ollama.Client(fake.url).embed("e", ["x" * 40, "y"], dimensions=4)
    assert [len(vector) for vector in answer.embeddings] == [4, 4]
    assert answer.prompt_eval_count == 11
    assert fake.loads == 1


def test_embedding_nothing_loads_the_model(fake: FakeOllama) -> None:
    assert json.loads(send(fake, "POST", "/api/embed", {"model": "e"})[1])["embeddings"] == []
    assert [model["name"] for model in running(fake)] == ["e:latest"]


@pytest.mark.parametrize(("truncate", "status"), [(True, 200), (False, 400)])
def test_a_text_beyond_the_context_is_cut_or_refused(
    fake: FakeOllama, truncate: bool, status: int
) -> None:
    body = {"model": "e", "input": "x" * 400, "truncate": truncate, "options": {"num_ctx": 50}}
    assert send(fake, "POST", "/api/embed", body)[0] == status


def test_the_old_way_to_embed_gives_one_vector(fake: FakeOllama) -> None:
    assert len(ollama.Client(fake.url).embeddings("e", "text").embedding) == 768


# OpenAI's words


def test_its_models_are_listed_in_openais_words() -> None:
    with FakeOllama(models=["qwen:7b"]) as fake:
        entry = {"id": "qwen:7b", "object": "model", "created": 1735689600, "owned_by": "library"}
        assert json.loads(get(fake, "/v1/models")[1]) == {"object": "list", "data": [entry]}
        assert json.loads(get(fake, "/v1/models/qwen:7b")[1]) == entry
        status, body = get(fake, "/v1/models/nope")
    assert (status, json.loads(body)["error"]["message"]) == (404, "model 'nope' not found")


def test_no_models_are_null_in_openais_words() -> None:
    with FakeOllama(models=[]) as fake:
        assert json.loads(get(fake, "/v1/models")[1])["data"] is None


def test_it_chats_in_openais_words() -> None:
    with FakeOllama([Reply("hello", thinking="hm")]) as fake:
        body = ask(fake, V1, messages=[user("x" * 40)], max_tokens=9)
    choice = body["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "hello", "reasoning": "hm"}
    assert (choice["finish_reason"], body["system_fingerprint"]) == ("stop", "fp_ollama")
    assert body["usage"]["prompt_tokens"] == 10


def test_it_streams_in_openais_words(fake: FakeOllama) -> None:
    body = post(fake, V1, messages=[user("x")], stream=True)[1]
    assert body.endswith(b"data: [DONE]\n\n")
    assert post(fake, V1, messages=[user("x")], stream=True)[2]["Content-Type"] == (
        "text/event-stream"
    )


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"messages": []}, 400, "invalid_request_error"),
        ({"messages": [user("x")], "model": "nope"}, 404, "not_found_error"),
        ({"messages": [user("x")], "model": ""}, 400, "invalid_request_error"),
    ],
)
def test_it_refuses_in_openais_words(body: dict[str, Any], status: int, kind: str) -> None:
    with FakeOllama(models=["m"]) as fake:
        got, answer, _ = post(fake, V1, **body)
    assert (got, json.loads(answer)["error"]["type"]) == (status, kind)


@pytest.mark.parametrize(
    "response_format",
    [{"type": "json_schema", "json_schema": {"schema": SCHEMA}}, {"type": "json_object"}],
)
def test_a_response_format_is_a_format(fake: FakeOllama, response_format: dict[str, Any]) -> None:
    body = ask(fake, V1, messages=[user("x")], response_format=response_format)
    value = json.loads(body["choices"][0]["message"]["content"])
    assert ("score" in value) is (response_format["type"] == "json_schema")


def test_a_stopped_repetition_has_no_end_in_openais_words() -> None:
    with FakeOllama(lambda call: faults.RepetitionStop()) as fake:
        streamed = post(fake, V1, messages=[user("x")], stream=True)[1]
        whole = ask(fake, V1, messages=[user("x")])
    assert b"[DONE]" not in streamed
    assert whole["choices"][0]["finish_reason"] is None
