"""Any OpenAI-compatible chat completions server: OpenAI, Azure, Gemini, vLLM, llama.cpp, ..."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmc.backends._base import MAX_REPLY_TOKENS, BackendConfig, CallPolicy, accept_from_gateway
from llmc.config import Endpoint
from llmc.errors import (
    BackendError,
    CredentialsError,
    HostUnreachableError,
    RateLimitedError,
)
from llmc.models import Enrichment
from llmc.prompts import chat_messages, fit
from llmc.reply import schema
from llmc.transport import Client, ConnectError, RequestError


class OpenAIBackend:
    """One model behind one chat completions URL. One HTTP call per attempt."""

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

    def describe_host(self) -> str | None:
        """Return the server's address, without path or key."""
        return self._endpoint.url.split("/chat/completions")[0]

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt: one HTTP call."""
        answer = self._call(json.dumps(self._request(prompt)).encode())
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise self._runtime("sent no choices[0].message.content") from error
        if not isinstance(text, str) or not text.strip():
            raise self._runtime("sent an empty reply")
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        meta: dict[str, Any] = {
            "backend": "gateway",
            "host": self.describe_host(),
            "model": self._endpoint.label,
            "options": None,
            "prompt_eval_count": usage.get("prompt_tokens"),
            "completion_tokens": usage.get("completion_tokens"),
        }
        require = self._policy.require_summary
        return accept_from_gateway(text, item, meta, require_summary=require), meta

    def _request(self, prompt: str) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": chat_messages(fit(prompt, self.options, MAX_REPLY_TOKENS)),
            "max_completion_tokens": MAX_REPLY_TOKENS,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "enrichment", "schema": schema()},
            },
        }
        return request | {key: v for key, v in self.options.items() if key != "num_ctx"}

    def _call(self, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._endpoint.key:
            secret = self._endpoint.key.get_secret_value()
            bearer = self._endpoint.key_header == "authorization"
            headers[self._endpoint.key_header] = f"Bearer {secret}" if bearer else secret
        try:
            with self._client.request(
                "POST",
                self._endpoint.url,
                body=body,
                headers=headers,
                timeout=self._policy.timeout,
            ) as exchange:
                raw = exchange.read()
                if exchange.status >= 300:
                    raise self._status_error(exchange.status, raw, exchange.header("retry-after"))
        except ConnectError as error:
            raise HostUnreachableError(str(error), failure_type="runtime") from error
        except RequestError as error:
            raise BackendError(str(error), failure_type="runtime") from error
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._runtime("sent a body that is not JSON") from error
        if not isinstance(answer, dict):
            raise self._runtime("sent JSON that is not an object")
        return answer

    def _runtime(self, what: str) -> BackendError:
        return BackendError(f"{self.describe_host()} {what}", failure_type="runtime")

    def _status_error(self, status: int, raw: bytes, retry_after: str | None) -> BackendError:
        detail = raw[:300].decode("utf-8", "replace").strip()
        if self._endpoint.key:
            detail = detail.replace(self._endpoint.key.get_secret_value(), "***")
        text = f"{self.describe_host()} answered HTTP {status}: {detail}"
        if status in (401, 403):
            return CredentialsError(text, failure_type="runtime")
        if status in (429, 503):
            limited = RateLimitedError(text, failure_type="runtime")
            if retry_after and retry_after.isdecimal():
                limited.retry_after = float(retry_after)
            return limited
        return BackendError(text, failure_type="runtime")
