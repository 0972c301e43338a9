"""The fake OpenAI-compatible server: wording, keys, Azure's paths, what it takes as a format."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping
from typing import Any

import pytest

from llmc.testing import faults
from llmc.testing.openai import FakeOpenAI, Reply, SchemaSupport

PATH = "/v1/chat/completions"
AZURE = "/openai/deployments/gpt-nano/chat/completions"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "e", "schema": {}}}


def post(
    fake: FakeOpenAI, path: str = PATH, headers: Mapping[str, str] | None = None, **body: Any
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=20)
    body = {"model": "m", "messages": [{"role": "user", "content": "def f(): ..."}], **body}
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()


def events(stream: bytes) -> list[str]:
    return [event.removeprefix("data: ") for event in stream.decode().split("\n\n") if event]


def test_a_completion_has_a_message_a_reason_and_a_usage() -> None:
    with FakeOpenAI([Reply("hello", done_reason="length")]) as fake:
        reply = json.loads(post(fake)[1])
    assert reply["choices"][0]["message"] == {"role": "assistant", "content": "hello"}
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_stream_is_made_of_events_and_ends_with_done() -> None:
    with FakeOpenAI(["0123456789" * 20]) as fake:
        *parts, done = events(post(fake, stream=True, stream_options={"include_usage": True})[1])
    chunks = [json.loads(part) for part in parts]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert done == "[DONE]"
    assert "".join(delta.get("content", "") for delta in deltas) == "0123456789" * 20
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 50


def test_a_stream_without_include_usage_has_none() -> None:
    with FakeOpenAI() as fake:
        assert b'"usage"' not in post(fake, stream=True)[1]


@pytest.mark.parametrize("limit", [{"max_tokens": 5}, {"max_completion_tokens": 5}])
def test_max_tokens_cuts_the_reply(limit: dict[str, Any]) -> None:
    with FakeOpenAI(lambda call: "x" * 100) as fake:
        choice = json.loads(post(fake, **limit)[1])["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("x" * 20, "length")


@pytest.mark.parametrize(
    ("support", "accepted"),
    [
        ("json_schema", {"json_schema", "json_object", None}),
        ("json_object", {"json_object", None}),
        ("none", {None}),
        ("ignored", {"json_schema", "json_object", None}),
    ],
)
def test_a_response_format_is_taken_or_refused(
    support: SchemaSupport, accepted: set[str | None]
) -> None:
    formats: dict[str | None, Any] = {
        None: None,
        "json_object": {"type": "json_object"},
        "json_schema": SCHEMA,
    }
    with FakeOpenAI(schema_support=support) as fake:
        statuses = {kind: post(fake, response_format=form)[0] for kind, form in formats.items()}
    assert {kind for kind, status in statuses.items() if status == 200} == accepted
    assert set(statuses.values()) <= {200, 400}


def test_an_ignored_schema_gets_json_wrapped_in_prose() -> None:
    with FakeOpenAI(schema_support="ignored") as fake:
        reply = json.loads(post(fake, response_format=SCHEMA)[1])
    assert reply["choices"][0]["message"]["content"].startswith("Here is")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer no"}, 401), ({"Authorization": "Bearer key"}, 200)],
)
def test_a_key_is_asked_for(headers: dict[str, str], status: int) -> None:
    with FakeOpenAI(api_key="key") as fake:
        assert post(fake, headers=headers)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"), [({"Authorization": "Bearer key"}, 401), ({"api-key": "key"}, 200)]
)
def test_azure_wants_the_key_in_its_own_header(headers: dict[str, str], status: int) -> None:
    with FakeOpenAI(api_key="key") as fake:
        assert post(fake, AZURE + "?api-version=2024-10-21", headers)[0] == status


def test_azure_takes_the_model_from_the_path() -> None:
    with FakeOpenAI() as fake:
        reply = json.loads(post(fake, AZURE + "?api-version=2024-10-21")[1])
    assert reply["model"] == fake.calls[0].model == "gpt-nano"


def test_azure_wants_a_version() -> None:
    with FakeOpenAI() as fake:
        assert post(fake, AZURE)[0] == 404


def test_the_path_of_geminis_endpoint_is_answered() -> None:
    with FakeOpenAI() as fake:
        assert post(fake, "/v1beta/openai/chat/completions")[0] == 200


def test_models_are_listed() -> None:
    with FakeOpenAI(models=["a", "b"]) as fake:
        connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/models")
            listed = json.loads(connection.getresponse().read())
    assert [model["id"] for model in listed["data"]] == ["a", "b"]


def test_a_model_that_is_not_there_is_a_404_with_its_code() -> None:
    with FakeOpenAI(models=["a"]) as fake:
        status, body = post(fake)
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("status", [400, 429, 500])
def test_errors_are_objects_with_a_message(status: int) -> None:
    with FakeOpenAI([faults.HttpStatus(status, "told so")]) as fake:
        got, body = post(fake)
    assert (got, json.loads(body)["error"]["message"]) == (status, "told so")


def test_a_stream_error_is_an_event() -> None:
    with FakeOpenAI([faults.StreamError("boom")]) as fake:
        *_, last = events(post(fake, stream=True)[1])
    assert json.loads(last)["error"]["message"] == "boom"


def test_a_stream_error_without_streaming_is_plain_json() -> None:
    with FakeOpenAI([faults.StreamError("boom")]) as fake:
        assert json.loads(post(fake)[1])["error"]["message"] == "boom"


def test_content_in_parts_is_joined_into_the_prompt() -> None:
    content = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    with FakeOpenAI() as fake:
        post(fake, messages=[{"role": "user", "content": content}])
    assert fake.calls[0].prompt == "one\ntwo"


@pytest.mark.parametrize("messages", [5, [5], "text"])
def test_malformed_messages_are_a_400(messages: Any) -> None:
    with FakeOpenAI() as fake:
        assert post(fake, messages=messages)[0] == 400
