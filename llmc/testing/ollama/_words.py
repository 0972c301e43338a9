"""Ollama's own JSON: one object, or one per line, fields in the order that it sends them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from llmc.testing._generation import Generation
from llmc.testing._responses import MAX_LENGTH_KNOWN
from llmc.testing.ollama._json import encode
from llmc.testing.script import Call, count_tokens

VOCABULARY = 151_936
"""How many tokens the models of the Qwen 2.5 family know."""


def moment(at: datetime | None = None) -> str:
    """Write a time (default: now) as Ollama does."""
    return (at or datetime.now(UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")


class OllamaWords:
    """How /api/generate and /api/chat answer."""

    stream_type = "application/x-ndjson"
    chunked_above: int | None = MAX_LENGTH_KNOWN
    head_waits = True

    def error(self, status: int, message: str) -> bytes:
        return encode({"error": message})

    def stream_error(self, message: str) -> bytes:
        return self.error(200, message) + b"\n"

    def whole(self, made: Generation) -> bytes:
        said = self._said(made.call, made.text, made.reply.thinking)
        return encode({**self._start(made.call), **said, **self._end(made)})

    def part(self, made: Generation, text: str, thinking: str = "") -> bytes:
        said = self._said(made.call, text, thinking)
        return encode({**self._start(made.call), **said, "done": False}) + b"\n"

    def last(self, made: Generation) -> bytes:
        said = self._said(made.call, "", "")
        return encode({**self._start(made.call), **said, **self._end(made)}) + b"\n"

    def bare(self, model: str, path: str, reason: str) -> bytes:
        """Word the answer to a request that loads or unloads a model."""
        call = Call(None, "POST", path, {}, model=model)
        end = {"done": True, "done_reason": reason}
        return encode({**self._start(call), **self._said(call, "", ""), **end})

    def _start(self, call: Call) -> dict[str, Any]:
        return {"model": call.model, "created_at": moment()}

    def _said(self, call: Call, text: str, thinking: str) -> dict[str, Any]:
        thought = {"thinking": thinking} if thinking else {}
        if call.path == "/api/chat":
            return {"message": {"role": "assistant", "content": text, **thought}}
        return {"response": text, **thought}

    def _end(self, made: Generation) -> dict[str, Any]:
        if not made.reply.done:
            return {"done": False}
        end: dict[str, Any] = {"done": True, "done_reason": made.reply.done_reason}
        if made.call.index is None:
            return end
        if made.call.path == "/api/generate" and not (made.call.body or {}).get("raw"):
            end["context"] = _context(made)
        now = time.monotonic()
        worked = int((now - made.begun) * 1e9)
        return {
            **end,
            "total_duration": int((now - made.arrived) * 1e9),
            "load_duration": int(made.load_seconds * 1e9),
            "prompt_eval_count": made.prompt_eval_count,
            "prompt_eval_duration": max(1, worked // 10),
            "eval_count": made.eval_count,
            "eval_duration": max(1, worked * 9 // 10),
        }


def _context(made: Generation) -> list[int]:
    """Make up the tokens of prompt and reply: their number is right."""
    size = count_tokens(made.call.prompt) + count_tokens(made.text)
    return [place * 7919 % VOCABULARY for place in range(1, size + 1)]
