"""The fake Ollama speaks as the real one does, and fails on the wire as told."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ollama
import pytest

from llmc.testing import faults
from llmc.testing.faults import FAULTS, QUICK_FAILURES
from llmc.testing.ollama import Call, FakeOllama, Reply, keep_alive_seconds
from llmc.testing.script import Fault, Scripted
from tests.wire import get, post, until

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {
    "summary_120w",
    "inputs",
    "outputs",
    "side_effects",
    "pitfalls",
    "usage_snippet",
    "evidence",
}


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        yield server


def answer(scripted: Scripted, **body: Any) -> tuple[int, bytes, dict[str, str]]:
    """Return what one call is answered with."""
    with FakeOllama([scripted]) as fake:
        return post(fake, **body)


def said(scripted: Scripted, **body: Any) -> dict[str, Any]:
    """Return the JSON of one reply that is not streamed."""
    return dict(json.loads(answer(scripted, **body)[1]))


def lines(scripted: Scripted, **body: Any) -> list[dict[str, Any]]:
    """Return the objects of one streamed reply."""
    return [json.loads(line) for line in answer(scripted, stream=True, **body)[1].splitlines()]


def raw(fake: FakeOllama, **body: Any) -> bytes:
    """Send one request and return every byte until the server closes; a reset raises."""
    content = json.dumps({"model": "m", "prompt": "p", "stream": False, **body}).encode()
    with socket.create_connection(("127.0.0.1", fake.port), timeout=20) as sock:
        sock.sendall(
            b"POST /api/generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
        )
        data = b""
        while piece := sock.recv(65536):
            data += piece
        return data


# The official client


def test_the_official_client_generates(fake: FakeOllama) -> None:
    reply = ollama.Client(fake.url).generate("qwen", "def area(r): ...")
    assert set(json.loads(reply.response or "")) == FIELDS
    assert reply.done
    assert reply.done_reason == "stop"
    assert reply.prompt_eval_count == 4
    assert reply.eval_count
    assert reply.eval_duration
    assert reply.total_duration


def test_the_official_client_joins_a_streamed_reply() -> None:
    with FakeOllama(lambda call: "0123456789" * 20) as fake:
        parts = list(ollama.Client(fake.url).generate("qwen", "p", stream=True))
    assert len(parts) > 2
    assert "".join(part.response or "" for part in parts) == "0123456789" * 20
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == 50


def test_the_official_client_chats(fake: FakeOllama) -> None:
    reply = ollama.Client(fake.url).chat("qwen", [{"role": "user", "content": "class Disc: ..."}])
    assert "Disc" in json.loads(reply.message.content or "")["summary_120w"]


def test_the_official_client_joins_a_streamed_chat() -> None:
    with FakeOllama(lambda call: "0123456789" * 20) as fake:
        client = ollama.Client(fake.url)
        parts = list(client.chat("qwen", [{"role": "user", "content": "p"}], stream=True))
    assert "".join(part.message.content or "" for part in parts) == "0123456789" * 20
    assert len(parts) > 2


def test_the_official_client_lists_the_installed_models() -> None:
    with FakeOllama(models=["qwen2.5:7b", "llama3:latest"]) as fake:
        listed = ollama.Client(fake.url).list().models
    assert [model.model for model in listed] == ["qwen2.5:7b", "llama3:latest"]
    assert listed[0].details is not None
    assert listed[0].details.parameter_size == "7B"


def test_the_official_client_shows_a_model() -> None:
    with FakeOllama(models=["qwen"], trained_context=2048) as fake:
        shown = ollama.Client(fake.url).show("qwen")
    assert shown.modelinfo is not None
    assert shown.modelinfo["fake.context_length"] == 2048


def test_the_official_client_sees_an_embedded_error() -> None:
    with FakeOllama([faults.StreamError("out of memory")]) as fake:
        stream = ollama.Client(fake.url).generate("qwen", "p", stream=True)
        with pytest.raises(ollama.ResponseError, match="out of memory"):
            list(stream)


def test_the_official_client_is_told_that_a_model_is_missing() -> None:
    with FakeOllama(models=["qwen"]) as fake:
        client = ollama.Client(fake.url)
        with pytest.raises(ollama.ResponseError, match="model 'llama' not found") as caught:
            client.generate("llama", "p")
    assert caught.value.status_code == 404


# Loading, unloading, what is loaded


def test_a_model_without_its_tag_is_its_latest() -> None:
    with FakeOllama(models=["llama3:latest"]) as fake:
        assert post(fake, model="llama3")[0] == 200


@pytest.mark.parametrize(
    ("keep_alive", "listed"), [(0, []), ("0", []), ("15m", ["m:latest"]), (-1, ["m:latest"])]
)
def test_keep_alive_decides_what_stays_loaded(keep_alive: Any, listed: list[str]) -> None:
    with FakeOllama() as fake:
        assert post(fake, keep_alive=keep_alive)[0] == 200
        assert [model.model for model in ollama.Client(fake.url).ps().models] == listed


def test_a_model_leaves_when_its_time_is_up(fake: FakeOllama) -> None:
    post(fake, keep_alive="100ms")
    assert until(lambda: json.loads(get(fake, "/api/ps")[1])["models"] == [])


def test_an_empty_prompt_loads_and_is_no_call() -> None:
    with FakeOllama(["the first"]) as fake:
        loaded = json.loads(post(fake, prompt="")[1])
        first = json.loads(post(fake)[1])
        assert (loaded["done_reason"], loaded["response"]) == ("load", "")
        assert first["response"] == "the first"
        assert [call.index for call in fake.calls] == [0]


def test_an_empty_prompt_with_keep_alive_0_unloads(fake: FakeOllama) -> None:
    post(fake)
    assert json.loads(post(fake, prompt="", keep_alive=0)[1])["done_reason"] == "unload"
    assert json.loads(get(fake, "/api/ps")[1]) == {"models": []}


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, 300), (0, 0), (90, 90), ("15m", 900), ("1h30m", 5400), ("0", 0)]
)
def test_keep_alive_is_read_as_ollama_reads_it(value: Any, seconds: float) -> None:
    assert keep_alive_seconds(value) == seconds


@pytest.mark.parametrize("value", ["", "5", "soon", "-1", [5]])
def test_a_keep_alive_that_ollama_cannot_read_is_a_400(fake: FakeOllama, value: Any) -> None:
    assert post(fake, keep_alive=value)[0] == 400


def test_loading_a_model_takes_its_time_and_a_change_counts_as_swap() -> None:
    with FakeOllama(swap_seconds=0.2) as fake:
        loads = [json.loads(post(fake, model=model)[1])["load_duration"] for model in "aaba"]
        durations = [(call.ended or 0) - call.started for call in fake.calls]
    assert [round(load / 1e9, 1) for load in loads] == [0.2, 0.0, 0.2, 0.2]
    assert min(durations[0], durations[2], durations[3]) >= 0.19
    assert (fake.loads, fake.swaps) == (3, 2)


def test_two_models_fit_where_two_may_be_loaded() -> None:
    with FakeOllama(max_loaded=2) as fake:
        for model in ("a", "b", "a", "b"):
            post(fake, model=model)
        assert (fake.loads, fake.swaps) == (2, 0)


def test_a_model_in_use_is_not_pushed_out() -> None:
    with (
        FakeOllama(swap_seconds=0.01, latency=0.3) as fake,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(post, fake, model="a")
        assert until(lambda: fake.in_flight == 1)
        second = pool.submit(post, fake, model="b")
        first.result(), second.result()
    assert fake.calls[1].queued > 0
    assert fake.peak_in_flight == 1


# Other paths


def test_the_root_says_that_it_runs(fake: FakeOllama) -> None:
    assert get(fake, "/") == (200, b"Ollama is running")


def test_head_has_no_body(fake: FakeOllama) -> None:
    assert get(fake, "/", "HEAD") == (200, b"")


def test_the_version_is_a_version(fake: FakeOllama) -> None:
    assert json.loads(get(fake, "/api/version")[1])["version"].count(".") == 2


def test_an_unknown_path_is_not_found(fake: FakeOllama) -> None:
    assert get(fake, "/api/nothing") == (404, b"404 page not found")


def test_a_wrong_method_is_refused(fake: FakeOllama) -> None:
    assert get(fake, "/api/generate")[0] == 405


@pytest.mark.parametrize("body", ["{", "[1]", '{"model": "m", "options": 5, "prompt": "p"}'])
def test_a_malformed_body_is_a_400(fake: FakeOllama, body: str) -> None:
    request = urllib.request.Request(fake.url + "/api/generate", body.encode(), method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    assert caught.value.code == 400
    assert "error" in json.loads(caught.value.read())
    caught.value.close()


def test_nonsense_instead_of_http_is_a_400(fake: FakeOllama) -> None:
    with socket.create_connection(("127.0.0.1", fake.port), timeout=20) as sock:
        sock.sendall(b"hello\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_chunked_request_is_read(fake: FakeOllama) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=20)
    body = iter([b'{"model": "m", ', b'"prompt": "p", "stream": false}'])
    with contextlib.closing(connection):
        connection.request("POST", "/api/generate", body, encode_chunked=True)
        assert connection.getresponse().status == 200
    assert fake.calls[0].prompt == "p"


def test_one_connection_serves_many_calls(fake: FakeOllama) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=20)
    with contextlib.closing(connection):
        for stream in (True, False, True):
            body = json.dumps({"model": "m", "prompt": "p", "stream": stream})
            connection.request("POST", "/api/generate", body)
            port = connection.sock.getsockname()[1]
            connection.getresponse().read()
            assert connection.sock.getsockname()[1] == port
    assert len(fake.calls) == 3


def test_it_binds_loopback_unless_told_otherwise(fake: FakeOllama) -> None:
    assert fake.url == f"http://127.0.0.1:{fake.port}"


# Scripts


def test_a_list_answers_in_order_of_arrival_then_the_default() -> None:
    with FakeOllama(["one", {"two": 2}, None, Reply("four")]) as fake:
        texts = [json.loads(post(fake)[1])["response"] for _ in range(5)]
    assert texts[:2] == ["one", '{"two": 2}']
    assert set(json.loads(texts[2])) == FIELDS
    assert texts[3] == "four"
    assert set(json.loads(texts[4])) == FIELDS


def test_a_function_sees_model_prompt_index_and_repetition() -> None:
    seen = []

    def script(call: Call) -> None:
        seen.append((call.index, call.model, call.prompt, call.seen, call.stream))

    with FakeOllama(script) as fake:
        post(fake, model="a", prompt="x")
        post(fake, model="a", prompt="x", stream=True)
        post(fake, model="b", prompt="x")
    assert seen == [
        (0, "a", "x", 0, False),
        (1, "a", "x", 1, True),
        (2, "b", "x", 0, False),
    ]


def test_what_a_script_raises_is_raised_at_the_end() -> None:
    def script(call: Call) -> None:
        assert call.model == "other"

    with pytest.raises(AssertionError), FakeOllama(script) as fake:
        assert post(fake)[0] == 500


def test_the_default_reply_depends_on_the_prompt_alone(fake: FakeOllama) -> None:
    first, again, other = (
        json.loads(post(fake, prompt=prompt, model=model)[1])["response"]
        for prompt, model in (("def f", "a"), ("def f", "b"), ("def g", "a"))
    )
    assert first == again != other


def test_counts_of_a_reply_are_sent_as_scripted() -> None:
    reply = said(Reply("x", done_reason="length", eval_count=0, prompt_eval_count=7))
    assert (reply["done_reason"], reply["eval_count"], reply["prompt_eval_count"]) == (
        "length",
        0,
        7,
    )


def test_num_predict_cuts_a_reply() -> None:
    reply = said("x" * 100, options={"num_predict": 5})
    assert (reply["response"], reply["done_reason"], reply["eval_count"]) == ("x" * 20, "length", 5)


def test_a_prompt_beyond_the_context_is_cut_silently(fake: FakeOllama) -> None:
    reply = json.loads(post(fake, prompt="x" * 400, options={"num_ctx": 50})[1])
    assert reply["prompt_eval_count"] == 50
    assert fake.calls[0].call.prompt_cut


def test_a_prompt_within_the_context_is_whole(fake: FakeOllama) -> None:
    assert json.loads(post(fake, prompt="x" * 400)[1])["prompt_eval_count"] == 100
    assert not fake.calls[0].call.prompt_cut


# Records


def test_a_record_holds_what_was_asked_and_answered(fake: FakeOllama) -> None:
    before = time.time()
    status, body, _ = post(fake, format="json", think=False, keep_alive="5m", options={"seed": 1})
    (call,) = fake.calls
    assert (call.index, call.method, call.path, call.model) == (0, "POST", "/api/generate", "m")
    assert call.body is not None
    assert call.body["format"] == "json"
    assert call.body["options"] == {"seed": 1}
    assert call.headers["host"] == f"127.0.0.1:{fake.port}"
    assert before <= call.started <= (call.ended or 0) <= time.time()
    assert call.status == status
    assert call.bytes_sent > len(body)
    assert not call.disconnected


def test_look_ups_are_requests_but_not_calls(fake: FakeOllama) -> None:
    get(fake, "/api/tags")
    post(fake)
    assert [request.path for request in fake.requests] == ["/api/tags", "/api/generate"]
    assert [call.path for call in fake.calls] == ["/api/generate"]


def test_a_call_in_flight_is_on_record() -> None:
    with FakeOllama([faults.SlowHeaders(30)]) as fake, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, fake)
        assert until(lambda: len(fake.calls) == 1)
        assert fake.calls[0].ended is None
        fake.close()
        assert isinstance(waiting.exception(), OSError)


def test_a_client_that_leaves_is_noticed_while_the_model_thinks() -> None:
    with FakeOllama([faults.SlowHeaders(30)]) as fake:
        body = b'{"model": "m", "prompt": "p"}'
        with socket.create_connection(("127.0.0.1", fake.port), timeout=20) as sock:
            sock.sendall(
                b"POST /api/generate HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            assert until(lambda: fake.in_flight == 1)
        assert until(lambda: fake.calls[0].disconnected)
        assert fake.in_flight == 0


def test_records_without_bodies_keep_the_rest() -> None:
    with FakeOllama(keep_bodies=False) as fake:
        post(fake, model="a")
        assert (fake.calls[0].body, fake.calls[0].prompt) == (None, "")
        assert fake.calls[0].model == "a"


def test_stats_count_faults_models_and_statuses() -> None:
    with FakeOllama([faults.HttpStatus(500), (faults.CutOutput(), faults.ThinkTags())]) as fake:
        post(fake, model="a")
        post(fake, model="b")
        stats = fake.stats()
    assert stats["faults"] == {"HttpStatus": 1, "CutOutput": 1, "ThinkTags": 1}
    assert stats["models"] == {"a": 1, "b": 1}
    assert stats["statuses"] == {"500": 1, "200": 1}


# Slots and concurrency


def test_no_more_calls_are_in_flight_than_slots() -> None:
    with FakeOllama(slots=2, latency=0.05) as fake, ThreadPoolExecutor(8) as pool:
        statuses = [status for status, *_ in pool.map(lambda _: post(fake), range(8))]
    assert statuses == [200] * 8
    assert fake.peak_in_flight == 2
    assert fake.peak_queued >= 1
    assert max(call.queued for call in fake.calls) > 0


def test_one_client_after_another_never_counts_as_two() -> None:
    with FakeOllama(slots=1, max_queue=0) as fake:
        client = ollama.Client(fake.url)
        for _ in range(200):
            client.generate("m", "p")
    assert fake.peak_in_flight == 1


def test_a_hundred_clients_at_once_are_all_served() -> None:
    barrier = threading.Barrier(100)

    def ask(number: int) -> str:
        barrier.wait(30)
        return str(json.loads(post(server, prompt=f"p{number}")[1])["response"])

    server = FakeOllama(lambda call: call.prompt, latency=0.5)
    with server as fake, ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask, range(100))) == [f"p{number}" for number in range(100)]
    assert sorted(call.index or 0 for call in fake.calls) == list(range(100))
    assert fake.peak_in_flight > 10


def test_latency_is_spent_on_each_reply() -> None:
    with FakeOllama(latency=0.3) as fake:
        begun = time.monotonic()
        post(fake)
        assert time.monotonic() - begun >= 0.29


def test_closing_is_quick_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    script: list[Scripted] = [faults.SlowHeaders(60), faults.SlowTokens(0.1), None]
    with FakeOllama(script, slots=2) as fake, ThreadPoolExecutor(3) as pool:

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                post(fake, stream=True)

        waiting = [pool.submit(ask) for _ in range(3)]
        assert until(lambda: fake.in_flight == 2)
        assert until(lambda: fake.peak_queued == 1)
        begun = time.monotonic()
        fake.close()
        assert time.monotonic() - begun < 3.0
        for call in waiting:
            call.result(timeout=10)
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not [name for name in left if name.startswith("llmc-fake")]


# Faults, as they are on the wire


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        (faults.HttpStatus(500, "llama runner died"), 500, "llama runner died"),
        (faults.HttpStatus(400, "bad option"), 400, "bad option"),
        (faults.ModelNotFound(), 404, "model 'm' not found"),
        (faults.RateLimited(), 429, "rate limit reached"),
        (faults.QueueFull(), 503, faults.QUEUE_FULL),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_carries_ollamas_error_object(
    fault: Fault, status: int, error: str, stream: bool
) -> None:
    got, body, _ = answer(fault, stream=stream)
    assert (got, json.loads(body)) == (status, {"error": error})


def test_an_error_status_may_carry_a_body_and_headers_of_ones_own() -> None:
    status, body, headers = answer(faults.HttpStatus(502, body="<html>", headers={"X-Who": "me"}))
    assert (status, body, headers["X-Who"]) == (502, b"<html>", "me")


@pytest.mark.parametrize(("value", "sent"), [(7, "7"), ("Wed, 21 Oct 2026", "Wed, 21 Oct 2026")])
def test_a_rate_limit_says_when_to_come_back(value: Any, sent: str) -> None:
    assert answer(faults.RateLimited(value))[2]["Retry-After"] == sent


def test_a_rate_limit_may_name_no_time() -> None:
    assert "Retry-After" not in answer(faults.RateLimited(None))[2]


def test_slow_headers_send_nothing_for_a_while() -> None:
    begun = time.monotonic()
    assert answer(faults.SlowHeaders(0.3))[0] == 200
    assert time.monotonic() - begun >= 0.29


def test_slow_tokens_arrive_one_by_one() -> None:
    with FakeOllama([("x" * 12, faults.SlowTokens(10))]) as fake:
        stream = ollama.Client(fake.url).generate("m", "p", stream=True)
        arrivals = [(part.response, time.monotonic()) for part in stream]
    assert [text for text, _ in arrivals] == ["xxxx"] * 3 + [""]
    assert arrivals[2][1] - arrivals[0][1] >= 0.15


def test_slow_tokens_delay_a_reply_that_is_not_streamed() -> None:
    begun = time.monotonic()
    answer(("x" * 12, faults.SlowTokens(10)))
    assert time.monotonic() - begun >= 0.29


def test_a_model_swap_takes_its_time_and_counts() -> None:
    with FakeOllama([faults.ModelSwap(0.2)]) as fake:
        assert json.loads(post(fake)[1])["load_duration"] >= 0.2e9
        assert fake.swaps == 1


def test_a_dropped_connection_gives_no_byte() -> None:
    with FakeOllama([faults.DropConnection()]) as fake:
        assert raw(fake) == b""
        assert (fake.calls[0].status, fake.calls[0].bytes_sent) == (None, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_dropped_mid_body_is_reset(stream: bool) -> None:
    with FakeOllama([faults.DropMidBody()]) as fake, pytest.raises(ConnectionResetError):
        raw(fake, stream=stream)


def test_a_connection_dropped_mid_body_had_begun_to_answer() -> None:
    with FakeOllama([faults.DropMidBody()]) as fake:
        with contextlib.suppress(ConnectionResetError):
            raw(fake)
        assert fake.calls[0].status == 200
        assert fake.calls[0].bytes_sent > 0


@pytest.mark.parametrize("stream", [False, True])
def test_half_a_body_is_less_than_its_content_length(stream: bool) -> None:
    with FakeOllama([faults.HalfBody()]) as fake:
        start, _, body = raw(fake, stream=stream).partition(b"\r\n\r\n")
    promised = int(start.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (faults.NotJson(), faults.HTML),
        (faults.NotJson(b"oops"), b"oops"),
        (faults.JsonNotObject(), b'["not", "an", "object"]'),
        (faults.JsonNotObject(5), b"5"),
        (faults.BlankBody(), b""),
        (faults.BlankBody(b" \n"), b" \n"),
    ],
)
def test_a_body_of_another_kind_comes_with_200(fault: Fault, body: bytes, stream: bool) -> None:
    assert answer(fault, stream=stream)[:2] == (200, body)


def test_a_body_can_be_other_than_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        answer(faults.NotUtf8())[1].decode()


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_reply_is_otherwise_proper(text: str) -> None:
    reply = said(faults.EmptyReply(text))
    assert (reply["response"], reply["done"]) == (text, True)


def test_an_empty_reply_streams_its_end_only() -> None:
    (last,) = lines(faults.EmptyReply())
    assert (last["response"], last["done"]) == ("", True)


def test_cut_output_is_half_a_json_with_reason_length() -> None:
    reply = said(faults.CutOutput())
    assert reply["done_reason"] == "length"
    assert reply["response"].startswith('{"summary_120w"')
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(reply["response"])


def test_endless_whitespace_ends_at_its_cap() -> None:
    reply = said(faults.EndlessWhitespace(tokens=10, per_second=None))
    assert reply["response"].strip() == "{"
    assert len(reply["response"]) > 30
    assert reply["done_reason"] == "length"


def test_endless_whitespace_ends_at_num_predict() -> None:
    reply = said(faults.EndlessWhitespace(per_second=None), options={"num_predict": 8})
    assert (len(reply["response"]), reply["eval_count"]) == (32, 8)


def test_endless_whitespace_ends_when_the_client_leaves() -> None:
    with FakeOllama([faults.EndlessWhitespace()]) as fake:
        stream = ollama.Client(fake.url).generate("m", "p", stream=True)
        texts = [next(stream).response or "" for _ in range(5)]
        del stream  # a generator: this closes its connection
        assert "".join(texts).strip() == "{"
        assert until(lambda: fake.calls[0].disconnected)


def test_a_runaway_repeats_itself() -> None:
    reply = said(faults.RepetitionRunaway("again ", tokens=100))
    assert reply["response"].count("again ") > 50
    assert (reply["done_reason"], reply["eval_count"]) == ("length", 100)


def test_a_wrong_schema_is_json_with_other_fields() -> None:
    fields = set(json.loads(said(faults.WrongSchema())["response"]))
    assert fields == FIELDS - {"summary_120w"} | {"synopsis", "confidence"}


def test_prose_is_no_json() -> None:
    assert "{" not in said(faults.Prose())["response"]


def test_think_tags_stand_before_the_answer() -> None:
    text = said(("{}", faults.ThinkTags("hm")))["response"]
    assert text == "<think>\nhm\n</think>\n\n{}"


def test_thoughts_may_come_in_their_own_field() -> None:
    reply = said(("{}", faults.ThinkingField("hm")))
    assert (reply["thinking"], reply["response"]) == ("hm", "{}")


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_may_end_up_among_the_thoughts(stream: bool) -> None:
    scripted = ("{}", faults.ThinkingField())
    parts = lines(scripted) if stream else [said(scripted)]
    assert "".join(part.get("thinking", "") for part in parts) == "{}"
    assert "".join(part["response"] for part in parts) == ""


def test_a_stream_error_comes_after_the_first_part() -> None:
    first, last = lines(faults.StreamError("boom"))
    assert first["done"] is False
    assert last == {"error": "boom"}


def test_a_stream_error_without_streaming_is_a_500() -> None:
    status, body, _ = answer(faults.StreamError("boom"))
    assert (status, json.loads(body)) == (500, {"error": "boom"})


def test_a_stopped_repetition_ends_its_stream_in_order_without_done() -> None:
    with FakeOllama([faults.RepetitionStop()]) as fake:
        body = raw(fake, stream=True).partition(b"\r\n\r\n")[2]
    assert body.endswith(b"\r\n0\r\n\r\n")
    assert b'"done":true' not in body


def test_a_stopped_repetition_that_is_not_streamed_is_not_done_either() -> None:
    reply = said(faults.RepetitionStop("ha, "))
    assert reply["done"] is False
    assert reply["response"].endswith("ha, ha, ")
    assert "done_reason" not in reply


def test_faults_combine_in_order() -> None:
    reply = said(("x" * 20, faults.CutOutput(), faults.ThinkTags("hm")))
    assert reply["response"].endswith("</think>\n\n" + "x" * 10)
    assert reply["done_reason"] == "length"


@pytest.mark.parametrize("name", [*FAULTS])
def test_every_fault_is_recorded_under_its_name(name: str) -> None:
    fault = FAULTS[name]
    with FakeOllama([fault]) as fake:
        content = b'{"model": "m", "prompt": "p", "stream": false}'
        with socket.create_connection(("127.0.0.1", fake.port), timeout=20) as sock:
            sock.sendall(
                b"POST /api/generate HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(content)
            )
            sock.sendall(content)
            assert until(lambda: len(fake.calls) == 1)
            if name in QUICK_FAILURES:
                assert until(lambda: fake.calls[0].ended is not None)
        assert until(lambda: fake.calls[0].ended is not None)
        assert fake.calls[0].faults == (type(fault).__name__,)


def ask_all(fake: FakeOllama, order: list[int]) -> dict[int, tuple[str, ...]]:
    for number in order:
        with contextlib.suppress(OSError, http.client.HTTPException):
            post(fake, prompt=f"prompt {number}")
    return {int(call.prompt.split()[1]): call.faults for call in fake.calls}


def test_random_faults_depend_on_the_prompt_and_not_on_the_order() -> None:
    with FakeOllama(faults.sometimes(0.5, seed=3)) as fake:
        forward = ask_all(fake, list(range(40)))
    with FakeOllama(faults.sometimes(0.5, seed=3)) as fake:
        backward = ask_all(fake, list(reversed(range(40))))
    assert forward == backward
    assert 5 < sum(bool(kinds) for kinds in forward.values()) < 35


def test_random_faults_refuse_a_rate_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, not 30"):
        faults.sometimes(30)


# The command line


@contextlib.contextmanager
def command(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the fake as a program; yield it with its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmc.testing.ollama", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_a_signal_and_prints_its_counts(end: signal.Signals) -> None:
    with command("--model", "qwen") as (process, url):
        ollama.Client(url).generate("qwen", "p")
        process.send_signal(end)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(output)["calls"] == 1


def test_the_command_fails_calls_as_told() -> None:
    with command("--fail", "1", "--fault", "http-400", "--seed", "1") as (_, url):
        with pytest.raises(ollama.ResponseError) as caught:
            ollama.Client(url).generate("m", "p")
        assert caught.value.status_code == 400


def test_counts_and_calls_can_be_asked_for_while_it_runs(fake: FakeOllama) -> None:
    post(fake, model="a")
    assert json.loads(get(fake, "/_fake/stats")[1])["calls"] == 1
    (call,) = json.loads(get(fake, "/_fake/calls")[1])
    assert call["call"]["body"]["model"] == "a"
    assert len(fake.requests) == 1


def test_the_command_says_why_it_cannot_serve(fake: FakeOllama) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmc.testing.ollama", "--port", str(fake.port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("cannot serve: ")


def test_help_explains_every_option() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmc.testing.ollama", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    for option in ("--slots", "--latency", "--fail", "--seed", "--model", "--swap-seconds"):
        assert option in done.stdout


def test_the_documentation_has_every_fault() -> None:
    table = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    missing = {
        type(fault).__name__
        for fault in FAULTS.values()
        if f"| `{type(fault).__name__}(" not in table
    }
    assert not missing
