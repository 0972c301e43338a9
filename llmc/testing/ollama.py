"""A fake Ollama: the real protocol on a real socket, with no model behind it.

    with FakeOllama([Reply("{}"), faults.HttpStatus(500)], slots=2) as fake:
        ...                       # point the code under test at fake.url
    assert [call.model for call in fake.calls] == [...]

From a shell: `python -m llmc.testing.ollama --help`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from llmc.testing._exchange import Generation
from llmc.testing._http import Request
from llmc.testing._server import CallRecord, FakeServer, Response, json_response
from llmc.testing._settings import Settings
from llmc.testing.script import Call, Reply, Script, Scripted, count_tokens

__all__ = ["Call", "CallRecord", "FakeOllama", "Reply", "Script", "Settings"]

VERSION = "0.12.0"
DEFAULT_KEEP_ALIVE = 300.0
FOREVER = 290 * 365 * 86400.0
MODEL_BYTES = 4_683_087_332
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_LOOK_UPS = {
    "/": ("GET", "HEAD"),
    "/api/tags": ("GET", "HEAD"),
    "/api/ps": ("GET",),
    "/api/version": ("GET", "HEAD"),
    "/api/show": ("POST",),
    "/api/pull": ("POST",),
}
_CALLS = ("/api/generate", "/api/chat")


def keep_alive_seconds(value: Any) -> float:
    """Read a keep_alive: seconds, or text such as "15m" and "1h30m"; below 0 is for ever.

    None is Ollama's default of five minutes. Raise ValueError for anything else.
    """
    if value is None:
        return DEFAULT_KEEP_ALIVE
    if isinstance(value, str):
        if value == "0":
            return 0.0
        digits = value.removeprefix("-")
        parts = _DURATION.findall(digits)
        if not parts or "".join(number + unit for number, unit in parts) != digits:
            raise ValueError(f'time: invalid duration "{value}"')
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        return FOREVER if value.startswith("-") else seconds
    if isinstance(value, int | float):
        return FOREVER if value < 0 else float(value)
    raise ValueError(f"invalid keep_alive {value!r}")


def _now() -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}.{time.time_ns() % 10**9:09d}Z"


class OllamaWords:
    """Ollama's own JSON: one object, or one per line."""

    stream_type = "application/x-ndjson"

    def error(self, status: int, message: str) -> bytes:
        return json.dumps({"error": message}).encode()

    def stream_error(self, message: str) -> bytes:
        return self.error(200, message) + b"\n"

    def whole(self, made: Generation) -> bytes:
        said = self._said(made.call, made.text, made.reply.thinking)
        return json.dumps({**self._start(made.call), **said, **self._end(made)}).encode()

    def part(self, made: Generation, text: str, thinking: str = "") -> bytes:
        said = self._said(made.call, text, thinking)
        return json.dumps({**self._start(made.call), **said, "done": False}).encode() + b"\n"

    def last(self, made: Generation) -> bytes:
        said = self._said(made.call, "", "")
        return json.dumps({**self._start(made.call), **said, **self._end(made)}).encode() + b"\n"

    def _start(self, call: Call) -> dict[str, Any]:
        return {"model": call.model, "created_at": _now()}

    def _said(self, call: Call, text: str, thinking: str) -> dict[str, Any]:
        thought = {"thinking": thinking} if thinking else {}
        if call.path == "/api/chat":
            return {"message": {"role": "assistant", "content": text, **thought}}
        return {"response": text, **thought}

    def _end(self, made: Generation) -> dict[str, Any]:
        end: dict[str, Any] = {"done": True, "done_reason": made.done_reason}
        if made.done_reason in ("load", "unload"):
            return end
        elapsed = int(made.elapsed * 1e9)
        loading = int(made.load_seconds * 1e9)
        return {
            **end,
            "total_duration": elapsed,
            "load_duration": loading,
            "prompt_eval_count": made.prompt_eval_count,
            "prompt_eval_duration": max(1, (elapsed - loading) // 10),
            "eval_count": made.eval_count,
            "eval_duration": max(1, (elapsed - loading) * 9 // 10),
        }


class FakeOllama(FakeServer):
    """A fake Ollama server; the keyword arguments are the fields of `Settings`."""

    words = OllamaWords()

    def _open(self, request: Request) -> Call | Response | None:
        if request.path not in _CALLS or request.method != "POST":
            return None
        if not request.body:
            return json_response({"error": "missing request body"}, 400)
        try:
            body = json.loads(request.body)
            keep_alive_seconds(body.get("keep_alive"))
            call = self._call(request, body)
        except (ValueError, AttributeError, TypeError) as error:
            return json_response({"error": f"invalid request: {error}"}, 400)
        return call if call.model else json_response({"error": "model is required"}, 400)

    def _call(self, request: Request, body: dict[str, Any]) -> Call:
        options = body.get("options") or {}
        prompt = _prompt(body)
        tokens = count_tokens(str(body.get("system") or "") + prompt)
        context = int(options.get("num_ctx") or self.settings.context_length)
        limit = int(options.get("num_predict") or 0)
        return Call(
            index=None,
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=body,
            model=str(body.get("model") or ""),
            prompt=prompt,
            stream=body.get("stream", True) is not False,
            prompt_tokens=min(tokens, context),
            prompt_cut=tokens > context,
            max_tokens=limit if limit > 0 else None,
        )

    def _scripted(self, call: Call) -> Scripted:
        if call.index is None and self._is_installed(call.model):
            unload = self._keep_seconds(call) == 0
            return Reply("", done_reason="unload" if unload else "load")
        return super()._scripted(call)

    def _asks_for_reply(self, call: Call) -> bool:
        return bool(call.prompt)  # without a prompt, Ollama loads or unloads the model

    def _keep_seconds(self, call: Call) -> float:
        return keep_alive_seconds((call.body or {}).get("keep_alive"))

    def _look_up(self, request: Request) -> Response:
        allowed = ("POST",) if request.path in _CALLS else _LOOK_UPS.get(request.path)
        if allowed is None:
            return Response(404, b"404 page not found", "text/plain")
        if request.method not in allowed:
            return Response(405, b"405 method not allowed", "text/plain")
        match request.path:
            case "/":
                return Response(200, b"Ollama is running", "text/plain; charset=utf-8")
            case "/api/version":
                return json_response({"version": VERSION})
            case "/api/tags":
                return json_response({"models": [_tag(name) for name in self._names()]})
            case "/api/ps":
                return json_response({"models": self._running_models()})
            case "/api/show":
                return self._show(request)
        return json_response({"error": "pull model manifest: file does not exist"}, 404)

    def _running_models(self) -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        return [
            {
                "name": name,
                **_tag(name),
                "size_vram": MODEL_BYTES,
                "expires_at": (now + timedelta(seconds=min(seconds, FOREVER))).isoformat(),
                "context_length": self.settings.context_length,
            }
            for name, seconds in self._slots.loaded().items()
        ]

    def _show(self, request: Request) -> Response:
        try:
            asked = json.loads(request.body or b"{}")
            model = str(asked.get("model") or asked.get("name") or "")
        except (ValueError, AttributeError) as error:
            return json_response({"error": f"invalid request: {error}"}, 400)
        if not model or not self._is_installed(model):
            return json_response({"error": f"model '{model}' not found"}, 404)
        tag = _tag(model)
        return json_response(
            {
                "modelfile": f"FROM {model}",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": tag["details"],
                "model_info": {
                    "general.architecture": "fake",
                    "fake.context_length": self.settings.context_length,
                },
                "capabilities": ["completion"],
                "modified_at": tag["modified_at"],
            }
        )


def _prompt(body: dict[str, Any]) -> str:
    if "messages" not in body:
        return str(body.get("prompt") or "")
    return "\n".join(str(message.get("content") or "") for message in body["messages"] or ())


def _tag(name: str) -> dict[str, Any]:
    size = re.search(r"(\d+(?:\.\d+)?)b", name.lower())
    return {
        "name": name,
        "model": name,
        "modified_at": "2025-01-01T00:00:00Z",
        "size": MODEL_BYTES,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "fake",
            "families": ["fake"],
            "parameter_size": f"{size.group(1)}B" if size else "7B",
            "quantization_level": "Q4_K_M",
        },
    }


if __name__ == "__main__":
    from llmc.testing._cli import main

    sys.exit(main())
