"""Any OpenAI-compatible chat completions server: OpenAI, Azure, Gemini, vLLM, llama.cpp, ...

They differ in what they take. Each server and model is asked in the strictest way first; what it
refuses is left out, and that is remembered for the rest of the process, so it is found out once.
The reply is read as it is written: a deadline, a cancel or a runaway ends it at once. A busy server
is waited for, within the attempt's deadline.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from llmc.backends._base import (
    MAX_REPLY_TOKENS,
    BackendConfig,
    Backpressure,
    CallPolicy,
    Surroundings,
    accept_from_gateway,
)
from llmc.backends._failures import declined, quoted, unanswered
from llmc.backends._stream import Guard, events, without_thoughts
from llmc.enrichment.prompts import fit, make_chat_messages
from llmc.enrichment.reply import build_schema
from llmc.errors import BackendError, ConnectError, RateLimitedError, RequestError, Usage
from llmc.models import Enrichment
from llmc.net.client import Client, Exchange, address
from llmc.records.egress import Destination
from llmc.settings.gateways import Endpoint
from llmc.settings.targets import Key, Target

Reply = tuple[str, dict[str, Any]]
"""The reply's text, and the server's usage counts."""

LINGER_SEC = 2.0
"""How long the counts are waited for once the reply is whole."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server was found to take; `response_format` goes json_schema, json_object, none."""

    response_format: str = "json_schema"
    stream_options: bool = True
    bound: str = "max_tokens"


_UNKNOWN = ("unsupported", "not supported", "unrecognized", "unknown", "unexpected", "extra")
"""How servers say that they don't know a parameter, as against a value they don't like."""

_dialects: dict[tuple[str, str], Dialect] = {}
_dialects_lock = threading.Lock()


class OpenAIBackend:
    """One model behind one chat completions URL."""

    def __init__(
        self,
        config: BackendConfig,
        endpoint: Endpoint,
        *,
        policy: CallPolicy,
        client: Client,
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self._policy = policy
        self._client = client
        self.options: Mapping[str, Any] = config.options or {}

    @property
    def config(self) -> BackendConfig:
        return self._config

    @property
    def destination(self) -> Destination:
        return Destination("openai", self._endpoint.url, self._endpoint.model)

    def describe_host(self) -> str | None:
        """Return the server's address, without path, password or key."""
        return address(self._endpoint.url)

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt; waits for a busy server until the attempt's deadline."""
        text, meta = self.ask(prompt)
        require, hide = self._policy.require_summary, self._client.redaction
        accepted = accept_from_gateway(text, prompt, item, meta, require_summary=require, hide=hide)
        return accepted, meta

    def ask(self, prompt: str) -> Reply:
        """Return a reply as it came, and what is known of it. Raises BackendError if none did."""
        fitted = fit(prompt, self.options, MAX_REPLY_TOKENS)
        text, usage = self._answer(fitted)
        details = _mapping(usage.get("prompt_tokens_details"))
        meta: dict[str, Any] = {
            "backend": "gateway",
            "host": self.describe_host(),
            "model": self._endpoint.label,
            "options": None,
            "prompt_eval_count": usage.get("prompt_tokens"),
            "prompt_cached_count": details.get("cached_tokens"),
            "completion_tokens": usage.get("completion_tokens"),
            "cut_lines": getattr(fitted, "cut_lines", 0),
        }
        return text, meta

    def _answer(self, prompt: str) -> Reply:
        deadline = time.monotonic() + self._policy.timeout
        refused: set[Dialect] = set()
        waits = Backpressure(deadline, self._client.cancellation)
        while True:
            dialect = _dialects.get(self._key, self._first_dialect())
            try:
                return self._stream(prompt, dialect, deadline - time.monotonic())
            except _RefusedError as refusal:
                refused.add(dialect)
                simpler = _without(dialect, str(refusal.reason))
                if simpler is None or simpler in refused:
                    raise refusal.reason from None
                with _dialects_lock:
                    _dialects[self._key] = simpler
            except RateLimitedError as error:
                waits.pause(error)
            except RequestError as error:
                busy = None if isinstance(error, ConnectError) else waits.last
                raise busy or unanswered(error) from error

    @property
    def _key(self) -> tuple[str, str]:
        return self._endpoint.url, self._endpoint.model

    def _first_dialect(self) -> Dialect:
        host = urlsplit(self._endpoint.url).hostname or ""
        theirs = host.endswith((".openai.com", ".openai.azure.com"))
        return Dialect(bound="max_completion_tokens" if theirs else "max_tokens")

    def _request(self, prompt: str, dialect: Dialect) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": make_chat_messages(prompt),
            "stream": True,
            dialect.bound: MAX_REPLY_TOKENS,
        }
        if dialect.stream_options:
            request["stream_options"] = {"include_usage": True}
        if dialect.response_format == "json_schema":
            form = {"name": "enrichment", "schema": build_schema()}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        elif dialect.response_format == "json_object":
            request["response_format"] = {"type": "json_object"}
        return request | {key: value for key, value in self.options.items() if key != "num_ctx"}

    def _stream(self, prompt: str, dialect: Dialect, timeout: float) -> Reply:
        guard, finished = Guard(), False
        usage: dict[str, Any] = {}
        body = json.dumps(self._request(prompt, dialect)).encode()
        with self._open(body, timeout) as exchange:
            if "event-stream" not in (exchange.header("content-type") or ""):
                return self._whole(exchange.read())
            try:
                for event in events(exchange.chunks()):
                    if event == b"[DONE]":
                        finished = True
                        exchange.drain()
                        break
                    chunk = self._object(event)
                    usage = _mapping(chunk.get("usage")) or usage
                    piece, ended = _piece(chunk)
                    if ended and not finished:
                        finished = True
                        exchange.hasten(LINGER_SEC)
                    if guard.feed(piece):
                        break
            except RequestError:
                if not finished:  # once the reply is whole, only its counts are missing
                    raise
        if guard.stop and not guard.complete:
            detail = f"stopped: {guard.stop} ({len(guard.text)} chars)"
            raise self._refused("truncation", detail, guard.text)
        if not guard.stop and not finished:
            raise self._runtime("ended the stream without an end")
        if not guard.text.strip():
            raise self._runtime("sent an empty reply")
        return without_thoughts(guard.text), usage

    def _whole(self, raw: bytes) -> Reply:
        """Read the answer of a server that doesn't stream."""
        answer = self._object(raw)
        text = _content(_mapping(_first(answer.get("choices")).get("message")))
        if not text.strip():
            raise self._runtime("sent no choices[0].message.content")
        return without_thoughts(text), _mapping(answer.get("usage"))

    def _object(self, raw: bytes) -> dict[str, Any]:
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._runtime("sent a body that is not JSON") from error
        if not isinstance(found, dict):
            raise self._runtime("sent JSON that is not an object")
        if found.get("error"):
            raise self._runtime(f"broke off: {quoted(self._client, found['error'])}")
        return found

    def _open(self, body: bytes, timeout: float) -> Exchange:
        headers = {"Content-Type": "application/json"}
        if self._endpoint.key:
            secret = self._endpoint.key.get_secret_value()
            bearer = self._endpoint.key_header == "authorization"
            headers[self._endpoint.key_header] = f"Bearer {secret}" if bearer else secret
        exchange = self._client.request(
            "POST", self._endpoint.url, body=body, headers=headers, timeout=timeout, resend=True
        )
        if exchange.status < 300:
            return exchange
        with exchange:
            failure = declined(exchange, self.describe_host())
        raise _RefusedError(failure) if exchange.status in (400, 404, 422) else failure

    def _runtime(self, what: str) -> BackendError:
        return BackendError(f"{self.describe_host()} {what}", failure_type="runtime")

    def _refused(self, kind: str, detail: str, text: str) -> BackendError:
        failure = (kind, detail, self._client.redaction(text))
        usage = Usage(model=self._endpoint.label)
        return BackendError(detail, failure_type=kind, failure=failure, usage=usage)


class _RefusedError(Exception):
    """The server does not take the request as it was put."""

    def __init__(self, reason: BackendError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _without(dialect: Dialect, complaint: str) -> Dialect | None:
    """Return a dialect without what the complaint names, None if it names nothing of ours."""
    words = complaint.lower()
    if "stream_options" in words and dialect.stream_options:
        return replace(dialect, stream_options=False)
    if dialect.bound in words and any(word in words for word in _UNKNOWN):
        other = "max_completion_tokens" if dialect.bound == "max_tokens" else "max_tokens"
        return replace(dialect, bound=other)
    named = any(
        word in words for word in ("response_format", "json_schema", "json_object", "schema")
    )
    if named and dialect.response_format == "json_schema":
        return replace(dialect, response_format="json_object")
    if named and dialect.response_format == "json_object":
        return replace(dialect, response_format="none")
    return None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> dict[str, Any]:
    return _mapping(value[0]) if isinstance(value, list) and value else {}


def _content(message: dict[str, Any]) -> str:
    """Return a message's text; some servers send it as a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(_content({"content": _mapping(part).get("text")}) for part in content)
    return content if isinstance(content, str) else ""


def _piece(chunk: dict[str, Any]) -> tuple[str, bool]:
    """Return (text, whether it is the last) of a streamed chunk."""
    choice = _first(chunk.get("choices"))
    return _content(_mapping(choice.get("delta"))), bool(choice.get("finish_reason"))


def make(target: Target, around: Surroundings) -> OpenAIBackend:
    """Return the backend of a target."""
    key = target.key or Key()
    return OpenAIBackend(
        BackendConfig(target.name, "openai", model=target.model, options=target.options),
        Endpoint(target.place, target.model, target.model, key.secret, key.header, key.name),
        policy=around.policy,
        client=around.client,
    )
