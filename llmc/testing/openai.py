"""A fake of the OpenAI-compatible servers: OpenAI, Azure, Gemini's endpoint, llama.cpp, vLLM.

Scripts, faults, settings and records are those of the fake Ollama. Any path that ends in
/chat/completions is answered; Azure's form /openai/deployments/NAME/chat/completions takes the
model from NAME and wants `api-version` in the query and the key in the `api-key` header.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Any, Literal, Unpack
from urllib.parse import parse_qs

from llmc.testing._generation import Generation
from llmc.testing._http import Request
from llmc.testing._records import CallRecord
from llmc.testing._responses import Response, json_response
from llmc.testing._runners import Demand
from llmc.testing._server import Admitted, FakeServer
from llmc.testing._settings import Settings, SettingsArgs
from llmc.testing.script import Call, Reply, Script, count_tokens, enrichment_text

__all__ = ["Call", "CallRecord", "FakeOpenAI", "Reply", "SchemaSupport", "Script", "Settings"]

SchemaSupport = Literal["json_schema", "json_object", "none", "ignored"]
"""Which `response_format` is accepted; "ignored" takes all and heeds none."""

_ACCEPTED: dict[SchemaSupport, tuple[str, ...]] = {
    "json_schema": ("json_schema", "json_object", "text"),
    "json_object": ("json_object", "text"),
    "none": ("text",),
    "ignored": ("json_schema", "json_object", "text"),
}
_AZURE = re.compile(r"^/openai/deployments/([^/]+)/chat/completions$")
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def _error(status: int, message: str, param: str | None = None) -> bytes:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": _CODES.get(status)}
    return json.dumps({"error": error}).encode()


class OpenAIWords:
    """Chat completions: one object, or server-sent events."""

    stream_type = "text/event-stream; charset=utf-8"
    chunked_above: int | None = None
    head_waits = False

    def error(self, status: int, message: str) -> bytes:
        return _error(status, message)

    def stream_error(self, message: str) -> bytes:
        return b"data: " + _error(500, message) + b"\n\n"

    def whole(self, made: Generation) -> bytes:
        message = {"role": "assistant", **self._said(made.text, made.reply.thinking)}
        reason = made.reply.done_reason if made.reply.done else None
        choice = {"index": 0, "message": message, "finish_reason": reason}
        start = self._start(made.call, "chat.completion")
        return json.dumps({**start, "choices": [choice], "usage": self._usage(made)}).encode()

    def part(self, made: Generation, text: str, thinking: str = "") -> bytes:
        delta = {"role": "assistant", **self._said(text, thinking)}
        return self._chunk(made.call, [{"index": 0, "delta": delta, "finish_reason": None}])

    def last(self, made: Generation) -> bytes:
        end = [{"index": 0, "delta": {}, "finish_reason": made.reply.done_reason}]
        events = self._chunk(made.call, end)
        options = (made.call.body or {}).get("stream_options") or {}
        if options.get("include_usage"):
            events += self._chunk(made.call, [], usage=self._usage(made))
        return events + b"data: [DONE]\n\n"

    def _chunk(self, call: Call, choices: list[dict[str, Any]], **more: Any) -> bytes:
        value = {**self._start(call, "chat.completion.chunk"), "choices": choices, **more}
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    def _start(self, call: Call, kind: str) -> dict[str, Any]:
        name = f"chatcmpl-fake-{call.index}"
        return {"id": name, "object": kind, "created": int(time.time()), "model": call.model}

    def _said(self, text: str, thinking: str) -> dict[str, Any]:
        return {"content": text, **({"reasoning_content": thinking} if thinking else {})}

    def _usage(self, made: Generation) -> dict[str, int]:
        prompt, reply = made.prompt_eval_count, made.eval_count
        total = prompt + reply
        return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": total}


class FakeOpenAI(FakeServer):
    """A fake OpenAI-compatible server; further keyword arguments are the fields of `Settings`.

    With `api_key`, requests without that key get a 401. `models` None: every model is there.
    """

    words = OpenAIWords()

    def __init__(
        self,
        script: Script = None,
        *,
        models: Iterable[str] | None = None,
        api_key: str | None = None,
        schema_support: SchemaSupport = "json_schema",
        **settings: Unpack[SettingsArgs],
    ) -> None:
        super().__init__(script, **settings)
        self._models = None if models is None else tuple(models)
        self._api_key = api_key
        self._schema_support: SchemaSupport = schema_support

    def _open(self, request: Request) -> Admitted | Response | None:
        if request.method != "POST" or not request.path.endswith("/chat/completions"):
            return None
        if not self._is_allowed(request):
            return Response(401, _error(401, "Incorrect API key provided."))
        azure = _AZURE.match(request.path)
        if azure and "api-version" not in parse_qs(request.query):
            return Response(404, _error(404, "Resource not found: api-version is missing"))
        try:
            body = json.loads(request.body)
            call = self._call(request, body, azure.group(1) if azure else body.get("model"))
            wanted = (body.get("response_format") or {}).get("type", "text")
        except (ValueError, AttributeError, TypeError) as error:
            return Response(400, _error(400, f"We could not parse the JSON body: {error}"))
        if not call.model:
            return Response(400, _error(400, "you must provide a model parameter", "model"))
        if wanted not in _ACCEPTED[self._schema_support]:
            text = f"Invalid parameter: 'response_format' of type '{wanted}' is not supported."
            return Response(400, _error(400, text, "response_format"))
        return Admitted(call, Demand(call.model, call.model))

    def _is_allowed(self, request: Request) -> bool:
        if self._api_key is None:
            return True
        if _AZURE.match(request.path):
            return request.headers.get("api-key") == self._api_key
        return request.headers.get("authorization") == f"Bearer {self._api_key}"

    def _call(self, request: Request, body: dict[str, Any], model: str | None) -> Call:
        prompt = "\n".join(_content(message) for message in body.get("messages") or ())
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        return Call(
            index=None,
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=body,
            model=model or "",
            prompt=prompt,
            stream=bool(body.get("stream")),
            prompt_tokens=count_tokens(prompt),
            max_tokens=int(limit) if limit else None,
        )

    def _names(self) -> list[str]:
        if self._models is not None:
            return list(self._models)
        return list(dict.fromkeys(call.model for call in self.calls))

    def _is_installed(self, model: str) -> bool:
        return self._models is None or model in self._models

    def _default_text(self, call: Call) -> str:
        text = enrichment_text(call.prompt)
        if self._schema_support == "ignored":
            return f"Here is the JSON you asked for:\n\n```json\n{text}\n```\n"
        return text

    def _look_up(self, request: Request) -> Response:
        if not request.path.endswith("/models"):
            return Response(404, _error(404, f"Unknown request URL: {request.path}"))
        if request.method not in ("GET", "HEAD"):
            return Response(405, _error(405, "Not allowed"))
        if not self._is_allowed(request):
            return Response(401, _error(401, "Incorrect API key provided."))
        names = self._names()
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "fake"} for name in names
        ]
        return json_response({"object": "list", "data": models})


def _content(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text") or "") for part in content)
