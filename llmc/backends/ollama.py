"""Ollama over its native API.

Two manners of speaking. The batch driver's: a plain prompt to /api/generate, a number of tries. The
constrained one: a chat whose reply follows the schema, is bounded, and is read as it is written, so
that a deadline, a cancel or a runaway ends it at once. A busy server is waited for, within the
attempt's deadline, rather than counted as a failure of the span.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from llmc.backends._base import (
    MAX_REPLY_TOKENS,
    BackendConfig,
    Backpressure,
    CallPolicy,
    Surroundings,
    accept,
)
from llmc.backends._contexts import Context, count_lost_lines
from llmc.backends._dialects import find_limit
from llmc.backends._failures import (
    explain_report,
    explain_silence,
    explain_status,
    find_page,
    quote_server,
)
from llmc.backends._gathering import Aside
from llmc.backends._parts import find_worked_sec, keep_aside, read_meta, read_text
from llmc.backends._stream import Guard, pick_answer, split_lines
from llmc.enrichment.prompts import ROUTING_CHARS_PER_TOKEN, fit, make_chat_messages
from llmc.enrichment.reply import find_schema
from llmc.errors import (
    BackendError,
    CancelledError,
    CertificateError,
    CredentialsError,
    DeadlineError,
    RateLimitedError,
    RequestError,
)
from llmc.models import Enrichment
from llmc.net.client import Client
from llmc.net.exchange import Exchange
from llmc.net.places import spell_address
from llmc.records.egress import Destination
from llmc.settings.presets import TierPreset
from llmc.settings.targets import Target

PLAIN_REPLY_TOKENS = 512
"""Left for a reply to the plain prompt, which has no bound of its own."""

Answer = tuple[str, dict[str, Any]]
"""The reply's text, and the other fields of the server's last object."""


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
        self._context = Context(config.url or "", self.model, self.options)
        self.keep_alive = preset.keep_alive if config.keep_alive is None else config.keep_alive

    @property
    def config(self) -> BackendConfig:
        return self._config

    @property
    def destination(self) -> Destination:
        return Destination("ollama", self._config.url or "", self.model)

    def describe_host(self) -> str | None:
        """Return the host's label, its address if it has none."""
        return self._label or (spell_address(self._config.url) if self._config.url else None)

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt."""
        text, meta = self.ask(prompt)
        require, hide = self._policy.require_summary, self._client.redaction
        return accept(text, prompt, item, meta, require_summary=require, hide=hide), meta

    def ask(self, prompt: str) -> Answer:
        """Return a reply as it came. Raises BackendError if none did."""
        if not self._config.url:
            raise BackendError(
                "no Ollama host is configured; set ENRICH_OLLAMA_HOSTS", failure_type="runtime"
            )
        text, meta = self._chat(prompt) if self._policy.structured else self._plain(prompt)
        meta |= {
            "backend": "ollama",
            "host": self.describe_host(),
            "model": self.model,
            "options": self.options,
        }
        return text, meta

    # -- plain: the batch driver's contract ----------------------------------------------------

    def _plain(self, prompt: str) -> Answer:
        fitted = fit(prompt, self.options, PLAIN_REPLY_TOKENS, ROUTING_CHARS_PER_TOKEN)
        body = json.dumps(self._request(prompt=fitted, stream=False)).encode()
        for left in reversed(range(self._policy.tries)):
            try:
                with self._open("/api/generate", body, self._policy.timeout) as exchange:
                    raw = exchange.read()
                text, meta = _read_body(raw, str(self.describe_host()), self._client)
                meta["cut_lines"] = self._cut_lines(fitted, meta)
                return text, meta
            except (_TransientError, RequestError) as error:
                failure = self._mapped(error)
                if not left or isinstance(error, CancelledError | CertificateError):
                    raise failure from error
                self._client.cancellation.wait(self._policy.retry_wait)
        raise AssertionError("tries is at least 1")

    def _cut_lines(self, prompt: str, meta: Mapping[str, Any]) -> int:
        """Return the lines left out of a plain prompt, those that the server did not read too."""
        cut: int = getattr(prompt, "cut_lines", 0)
        if not self._context.find_lost(prompt, meta):
            return cut
        return cut + count_lost_lines(prompt, meta["prompt_eval_count"])

    # -- constrained ---------------------------------------------------------------------------

    def _chat(self, prompt: str) -> Answer:
        """Chat until a reply is in; busy servers and `tries` are retried before the deadline."""
        deadline = time.monotonic() + self._policy.timeout
        tries, room = self._policy.tries, self._context
        waits = Backpressure(deadline, self._client.cancellation)
        fitted: str | None = None
        while True:
            left = deadline - time.monotonic()
            try:
                if fitted is None:
                    room.learn(self._client, prompt, MAX_REPLY_TOKENS, left)
                    fitted = room.fit(prompt, MAX_REPLY_TOKENS)
                text, meta = self._stream(fitted, self._policy.bound(left))
            except (_TransientError, RequestError) as error:
                failure = self._mapped(error)
                if isinstance(failure, RateLimitedError):
                    waits.pause(failure)
                    continue
                if fitted and (shorter := self._shorten(prompt, fitted, failure)):
                    fitted = shorter
                    continue
                if isinstance(failure, CredentialsError):
                    raise failure from error
                tries -= 1
                pause = self._policy.retry_wait
                over = tries < 1 or time.monotonic() + pause >= deadline
                if over or self._client.cancellation.wait(pause):
                    late = isinstance(error, DeadlineError)
                    raise (waits.last if late and waits.last else failure) from error
                continue
            meta["cut_lines"] = getattr(fitted, "cut_lines", 0)
            lost = room.find_lost(fitted, meta)
            if not lost:
                return text, meta
            fitted = room.fit_less(prompt, fitted, MAX_REPLY_TOKENS)
            if fitted is None:
                raise self._truncated(lost, text)

    def _shorten(self, prompt: str, fitted: str, failure: BackendError) -> str | None:
        """Return a shorter prompt if the server says that this one is too long, None if not."""
        limit = find_limit(str(failure))
        if limit is None:
            return None
        self._context.limit(limit)
        shorter = self._context.fit(prompt, MAX_REPLY_TOKENS)
        if len(shorter) < len(fitted):
            return shorter
        return self._context.fit_less(prompt, fitted, MAX_REPLY_TOKENS)

    def _stream(self, prompt: str, timeout: float) -> Answer:
        request = self._request(
            messages=make_chat_messages(prompt),
            format=find_schema(prompt),
            stream=True,
            think=False,
        )
        request["options"].setdefault("num_predict", MAX_REPLY_TOKENS)
        request["options"].setdefault("temperature", 0)
        guard, aside = Guard(), Aside()
        with self._open("/api/chat", json.dumps(request).encode(), timeout) as exchange:
            last = self._read(exchange, guard, aside)
            times = exchange.measure(find_worked_sec(last))
            if last.get("done"):
                exchange.drain()
        if guard.stop and not guard.complete:
            detail = f"stopped: {guard.stop} ({len(guard.text)} chars)"
            raise self._truncated(detail, guard.text)
        text = pick_answer(guard.text)
        if not text.strip():
            text = aside.find_answer()
        if not text:
            raise _transient(f"{self.describe_host()} sent no reply text")
        return text, {**read_meta(last), "times": times}

    def _read(self, exchange: Exchange, guard: Guard, aside: Aside) -> dict[str, Any]:
        """Read a stream as far as it is of use; return its last object."""
        host, last = str(self.describe_host()), dict[str, Any]()
        for line in split_lines(exchange.read_chunks()):
            exchange.hear()
            last = _object(line, host)
            if problem := last.get("error"):
                said = quote_server(self._client, problem)
                header = exchange.read_header("retry-after")
                raise _TransientError(explain_report(problem, host, said, header=header))
            text = read_text(last)
            if not text:
                keep_aside(last, aside)
            if guard.feed(text) or last.get("done"):
                return last
        if last and not guard.complete:
            raise self._ended_early(guard.text)
        return last

    def _ended_early(self, text: str) -> Exception:
        """Return what an orderly end without `done` means: Ollama stops a reply that repeats."""
        detail = f"{self.describe_host()} ended the stream without an end"
        if not text.strip():
            return _transient(detail)
        return self._truncated(f"{detail} ({len(text)} chars)", text)

    # -- both ----------------------------------------------------------------------------------

    def _request(self, **words: Any) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.model, "options": dict(self.options), **words}
        if self.keep_alive is not None:
            request["keep_alive"] = self.keep_alive
        return request

    def _open(self, path: str, body: bytes, timeout: float) -> Exchange:
        exchange = self._client.request(
            "POST",
            f"{self._config.url}{path}",
            body=body,
            headers={"Content-Type": "application/json"},
            timeout=timeout,
            resend=self._policy.structured,
            queues=self._policy.queues,
        )
        if exchange.status < 300:
            return exchange
        with exchange:
            pull = f"run: ollama pull {self.model}"
            raise _TransientError(explain_status(exchange, self.describe_host(), if_not_found=pull))

    def _mapped(self, error: _TransientError | RequestError) -> BackendError:
        """Return what a failed call means to the cascade."""
        if isinstance(error, _TransientError):
            return error.reason
        return explain_silence(error, self.describe_host(), silent_is_gone=True)

    def _truncated(self, detail: str, text: str) -> BackendError:
        failure = ("truncation", detail, self._client.redaction(text))
        return BackendError(detail, failure_type="truncation", failure=failure)


class _TransientError(Exception):
    """This call failed in a way that may pass; `reason` is what to raise if it doesn't."""

    def __init__(self, reason: BackendError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _read_body(raw: bytes, host: str, client: Client) -> Answer:
    """Return the answer in a JSON or JSON-lines body."""
    try:
        body = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise _transient(f"{host} sent a body that is not UTF-8") from error
    if not body:
        raise _transient(f"{host} sent an empty body")
    try:
        try:
            parts = [json.loads(body)]
        except ValueError:
            parts = [json.loads(line) for line in body.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise BackendError(
            f"{host} sent neither JSON nor JSON lines", failure_type="runtime"
        ) from error
    if not all(isinstance(part, dict) for part in parts):
        raise BackendError(f"{host} sent JSON that is not an object", failure_type="runtime")
    text = "".join(read_text(part) for part in parts)
    if not text.strip():
        problem = next((part["error"] for part in parts if part.get("error")), "no reply text")
        raise _transient(f"{host} sent {quote_server(client, problem)}")
    return text, read_meta(parts[-1])


def _object(line: bytes, host: str) -> dict[str, Any]:
    try:
        found = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        if page := find_page(line, host):
            raise _TransientError(page) from None
        raise _transient(f"{host} sent a line that is not JSON") from error
    if not isinstance(found, dict):
        raise _transient(f"{host} sent JSON that is not an object")
    return found


def _transient(text: str) -> _TransientError:
    return _TransientError(BackendError(text, failure_type="runtime"))


def make(target: Target, around: Surroundings) -> OllamaBackend:
    """Return the backend of a target."""
    return OllamaBackend(
        BackendConfig(target.name, "ollama", model=target.model, url=target.place or None),
        TierPreset("", target.model, target.keep_alive, target.options),
        label=target.label or None,
        default_model=None,
        policy=around.policy,
        client=around.client,
    )
