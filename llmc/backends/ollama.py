"""Ollama over its native API.

Two manners of speaking: the batch driver's plain prompt to /api/generate, and the constrained one,
a chat whose reply follows the schema and has a bound. Both read the answer the same way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from llmc.backends._base import MAX_REPLY_TOKENS, BackendConfig, CallPolicy, accept
from llmc.errors import BackendError, HostUnreachableError, RateLimitedError
from llmc.models import Enrichment
from llmc.presets import TierPreset
from llmc.prompts import chat_messages, fit
from llmc.reply import schema
from llmc.transport import CancelledError, Client, ConnectError, RequestError


class OllamaBackend:
    """One model on one host; model, options and keep_alive are the preset's or `config`'s."""

    def __init__(
        self,
        config: BackendConfig,
        preset: TierPreset,
        *,
        label: str | None,
        default_model: str | None,
        policy: CallPolicy,
        client: Client,
    ) -> None:
        self._config = config
        self._label = label
        self._policy = policy
        self._client = client
        self.model = config.model or preset.model or default_model or ""
        self.options: Mapping[str, Any] = {**preset.options, **(config.options or {})}
        self.keep_alive = preset.keep_alive if config.keep_alive is None else config.keep_alive

    @property
    def config(self) -> BackendConfig:
        return self._config

    def describe_host(self) -> str | None:
        """Return the host's label, its URL if it has none."""
        return self._label or self._config.url

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt: up to `tries` HTTP calls until one brings a usable reply."""
        if not self._config.url:
            raise BackendError(
                "no Ollama host is configured; set ENRICH_OLLAMA_HOSTS", failure_type="runtime"
            )
        text, meta = self._answer(json.dumps(self._request(prompt)).encode())
        meta |= {
            "backend": "ollama",
            "host": self.describe_host(),
            "model": self.model,
            "options": self.options,
        }
        return accept(text, item, meta, require_summary=self._policy.require_summary), meta

    def _request(self, prompt: str) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.model, "options": dict(self.options)}
        if self.keep_alive is not None:
            request["keep_alive"] = self.keep_alive
        if not self._policy.structured:
            return request | {"prompt": prompt, "stream": False}
        request["options"].setdefault("num_predict", MAX_REPLY_TOKENS)
        request["options"].setdefault("temperature", 0)
        fitted = fit(prompt, self.options, MAX_REPLY_TOKENS)
        return request | {
            "messages": chat_messages(fitted),
            "format": schema(),
            "stream": True,
        }

    def _answer(self, body: bytes) -> tuple[str, dict[str, Any]]:
        for left in reversed(range(self._policy.tries)):
            try:
                return self._call(body)
            except _TransientError as error:
                if not left:
                    raise error.reason from error
                time.sleep(self._policy.retry_wait)
        raise AssertionError("tries is at least 1")

    def _call(self, body: bytes) -> tuple[str, dict[str, Any]]:
        path = "/api/chat" if self._policy.structured else "/api/generate"
        try:
            with self._client.request(
                "POST",
                f"{self._config.url}{path}",
                body=body,
                headers={"Content-Type": "application/json"},
                timeout=self._policy.timeout,
            ) as exchange:
                raw = exchange.read()
                if exchange.status >= 300:
                    raise _TransientError(self._status_error(exchange.status, raw))
        except CancelledError as error:
            raise BackendError("cancelled", failure_type="runtime") from error
        except ConnectError as error:
            raise _TransientError(
                HostUnreachableError(str(error), failure_type="runtime")
            ) from error
        except RequestError as error:
            raise _TransientError(BackendError(str(error), failure_type="runtime")) from error
        text, meta = _read_body(raw, str(self.describe_host()))
        if self._policy.structured and "error" in meta:
            # The batch driver's contract takes what came before; here half a reply is none.
            raise _transient(f"{self.describe_host()} broke off: {meta['error']!s:.300}")
        return text, meta

    def _status_error(self, status: int, raw: bytes) -> BackendError:
        detail = raw[:300].decode("utf-8", "replace").strip()
        text = f"{self.describe_host()} answered HTTP {status}: {detail}"
        if status == 404 and "not found" in detail:
            text += f"; run: ollama pull {self.model}"
        kind = RateLimitedError if status in (429, 503) else BackendError
        return kind(text, failure_type="runtime")


class _TransientError(Exception):
    """This call failed in a way that may pass; `reason` is what to raise if it doesn't."""

    def __init__(self, reason: BackendError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _read_body(raw: bytes, host: str) -> tuple[str, dict[str, Any]]:
    """Return (reply text, the last object's other fields) of a JSON or JSON-lines body."""
    try:
        body = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise _transient(f"{host} sent a body that is not UTF-8") from error
    if not body:
        raise _transient(f"{host} sent an empty body")
    parts = _objects(body, host)
    text = "".join(_reply_text(part) for part in parts)
    if not text.strip():
        problem = next((part["error"] for part in parts if part.get("error")), "no reply text")
        raise _transient(f"{host} sent {problem!s:.300}")
    meta = {
        key: value
        for key, value in parts[-1].items()
        if key not in ("response", "message", "model", "context")
    }
    return text, meta


def _objects(body: str, host: str) -> list[dict[str, Any]]:
    try:
        try:
            found = [json.loads(body)]
        except ValueError:
            found = [json.loads(line) for line in body.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise BackendError(
            f"{host} sent neither JSON nor JSON lines", failure_type="runtime"
        ) from error
    if not all(isinstance(part, dict) for part in found):
        raise BackendError(f"{host} sent JSON that is not an object", failure_type="runtime")
    return found


def _reply_text(part: Mapping[str, Any]) -> str:
    text = part.get("response")
    if isinstance(text, str) and text:
        return text
    message = part.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    return text if isinstance(text, str) else ""


def _transient(text: str) -> _TransientError:
    return _TransientError(BackendError(text, failure_type="runtime"))
