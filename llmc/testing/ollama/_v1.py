"""Ollama's OpenAI-compatible paths: a chat completion is a chat in other words."""

from __future__ import annotations

import json
from typing import Any

from llmc.testing._responses import MAX_LENGTH_KNOWN
from llmc.testing.ollama._models import Model
from llmc.testing.openai import OpenAIWords
from llmc.testing.script import Call

CHAT_PATH = "/v1/chat/completions"
_TYPES = {400: "invalid_request_error", 404: "not_found_error"}


def error_body(status: int, message: str) -> bytes:
    """Word an error."""
    kind = _TYPES.get(status, "api_error")
    error = {"message": message, "type": kind, "param": None, "code": None}
    return json.dumps({"error": error}).encode()


def model_entry(model: Model) -> dict[str, Any]:
    """Describe a model as a list of models does."""
    name = model.full_name
    return {
        "id": name.shown,
        "object": "model",
        "created": int(model.modified_at.timestamp()),
        "owned_by": name.namespace,
    }


def as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of /api/chat that asks for the same; raise TypeError on wrong types."""
    options = {"num_predict": body["max_tokens"]} if body.get("max_tokens") else {}
    wanted = body.get("response_format") or {}
    formats: dict[Any, Any] = {
        "json_object": "json",
        "json_schema": (wanted.get("json_schema") or {}).get("schema"),
    }
    return {
        "model": body.get("model"),
        "messages": [
            {**message, "content": _text(message.get("content"))}
            for message in body.get("messages") or ()
        ],
        "stream": bool(body.get("stream")),
        "format": formats.get(wanted.get("type")),
        "options": options,
    }


def _text(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return "\n".join(str(part.get("text") or "") for part in content)


class V1Words(OpenAIWords):
    """Chat completions as Ollama words them."""

    stream_type = "text/event-stream"
    chunked_above: int | None = MAX_LENGTH_KNOWN
    head_waits = True

    def error(self, status: int, message: str) -> bytes:
        return error_body(status, message)

    def stream_error(self, message: str) -> bytes:
        return b"data: " + error_body(500, message) + b"\n\n"

    def _start(self, call: Call, kind: str) -> dict[str, Any]:
        start = super()._start(call, kind)
        return {**start, "id": f"chatcmpl-{call.index}", "system_fingerprint": "fp_ollama"}

    def _said(self, text: str, thinking: str) -> dict[str, Any]:
        return {"content": text, **({"reasoning": thinking} if thinking else {})}
