"""Any OpenAI-compatible chat completions server: OpenAI, Azure, Gemini, vLLM, llama.cpp, ...

They differ in what they take. Each server and model is asked in the strictest way first; what it
refuses is left out, and that is remembered for the rest of the process, so it is found out once.
The reply is read as it is written: a deadline, a cancel or a runaway ends it at once. A busy server
is waited for, within the attempt's deadline.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from llmc.backends._base import (
    BackendConfig,
    Backpressure,
    CallPolicy,
    Surroundings,
    accept_from_gateway,
)
from llmc.backends._dialects import (
    Dialect,
    choose_dialect,
    find_limit,
    is_about_form,
    simplify,
)
from llmc.backends._failures import (
    explain_report,
    explain_silence,
    explain_status,
    find_error,
    find_page,
    is_about_the_request,
    quote_server,
)
from llmc.backends._gathering import Gathered, read_mapping
from llmc.backends._stream import split_events, split_joined
from llmc.backends._unnamed import check_named
from llmc.errors import BackendError, ConnectError, RateLimitedError, RequestError, Usage
from llmc.models import Enrichment
from llmc.net.client import Client
from llmc.net.exchange import MAX_WHOLE_BYTES, Exchange
from llmc.net.places import spell_address
from llmc.records.egress import Destination
from llmc.redaction.addresses import blot_address
from llmc.settings.gateways import Endpoint
from llmc.settings.targets import Key, Target

Reply = tuple[str, dict[str, Any]]
"""The reply's text, and what is known of it."""

LINGER_SEC = 2.0
"""How long the counts are waited for once the reply is whole."""

_OF_THE_REQUEST = (400, 404, 405, 413, 415, 422, 501)
"""Statuses that may be about how the request was put."""

_IS_EVENTS = re.compile(rb"\s*(data|event|id|retry)?\s*:")
_MARK_AND_BLANKS = b"\xef\xbb\xbf \t\r\n"

_dialects: dict[tuple[str, str], Dialect] = {}
_no_streams: set[str] = set()
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

    def prepare(self) -> None:
        """Find out whether a model must be named. Raises ConfigError."""
        check_named(self._client, self._endpoint)

    def describe_host(self) -> str | None:
        """Return the server's address, without path, password or key."""
        return spell_address(self._endpoint.url)

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
        got, fitted = self._answer(prompt)
        details = read_mapping(got.usage.get("prompt_tokens_details"))
        meta: dict[str, Any] = {
            "backend": "gateway",
            "host": self.describe_host(),
            "model": self._endpoint.label,
            "options": None,
            "prompt_eval_count": got.usage.get("prompt_tokens"),
            "prompt_cached_count": details.get("cached_tokens"),
            "completion_tokens": got.usage.get("completion_tokens"),
            "cut_lines": getattr(fitted, "cut_lines", 0),
        }
        if self._policy.queues:
            meta["times"] = got.times
        if self._policy.require_summary and got.finish:
            meta["done_reason"] = got.finish
        return got.text, meta

    def _answer(self, prompt: str) -> tuple[Gathered, str]:
        """Return a reply and the prompt that it answers."""
        deadline = time.monotonic() + self._policy.timeout
        waits = Backpressure(deadline, self._client.cancellation)
        refused: set[Dialect] = set()
        shorter: str | None = None
        while True:
            dialect = _dialects.get(self._key, self._first_dialect())
            fitted = dialect.fit(prompt, self.options) if shorter is None else shorter
            try:
                left = self._policy.bound(deadline - time.monotonic())
                return self._ask_once(fitted, dialect, left), fitted
            except _RefusedError as refusal:
                if limit := find_limit(str(refusal.reason)):
                    shorter = self._shorten(prompt, fitted, limit, refusal.reason)
                    continue
                refused.add(dialect)
                simpler = simplify(dialect, str(refusal.reason))
                if simpler is None or simpler in refused:
                    raise refusal.reason from None
                self._learn(simpler)
            except RateLimitedError as error:
                waits.pause(error)
            except RequestError as error:
                busy = None if isinstance(error, ConnectError) else waits.last
                raise busy or explain_silence(error) from error

    def _shorten(self, prompt: str, fitted: str, limit: int, reason: BackendError) -> str:
        """Return the prompt shorter than it was, as the server named a limit to its tokens.

        The limit holds for the prompts to come as well; how dense this one is, for this one only.
        Raises BackendError if it can't be shortened any further.
        """
        dialect = _dialects.get(self._key, self._first_dialect())
        if not 0 < dialect.context <= limit:
            dialect = replace(dialect, context=limit)
            self._learn(dialect)
        context = limit
        while context > limit // 8:
            shorter = replace(dialect, context=context).fit(prompt, self.options)
            if len(shorter) < len(fitted):
                return shorter
            context = context * 3 // 4
        raise self._runtime(
            f"takes {limit} tokens, and the prompt has more even without most of the code: {reason}"
        ) from None

    @property
    def _key(self) -> tuple[str, str]:
        return self._endpoint.url, self._endpoint.model

    def _first_dialect(self) -> Dialect:
        return choose_dialect(self._endpoint.url, stream=self._endpoint.url not in _no_streams)

    def _learn(self, dialect: Dialect) -> None:
        """Remember what this server takes of this model; whether it streams goes for all."""
        with _dialects_lock:
            _dialects[self._key] = dialect
            if not dialect.stream:
                _no_streams.add(self._endpoint.url)

    def _ask_once(self, prompt: str, dialect: Dialect, timeout: float) -> Gathered:
        request = {
            "model": self._endpoint.model,
            "messages": dialect.put(prompt),
            **dialect.make_words(prompt),
            **{key: value for key, value in self.options.items() if key != "num_ctx"},
        }
        got = Gathered()
        with self._open(json.dumps(request).encode(), timeout) as exchange:
            try:
                ended = self._read(exchange, got)
            except RequestError:
                if not got.finish:  # once the reply is whole, only its counts are missing
                    raise
                ended = True
            got.times = exchange.measure(None)
        guard = got.guard
        if guard.stop and not guard.complete:
            detail = f"stopped: {guard.stop} ({len(guard.text)} chars)"
            raise self._refused("truncation", detail, guard.text)
        if not (ended or guard.complete):
            if guard.text.strip():
                detail = f"the server ended the stream without an end ({len(guard.text)} chars)"
                raise self._refused("truncation", detail, guard.text)
            raise self._runtime("ended the stream without an end")
        if got.text.strip():
            return got
        if failure := got.explain():
            raise self._refused(*failure)
        raise self._runtime(
            f"sent an empty reply (finish_reason {got.finish!r})" if got.finish else "sent no reply"
        )

    def _read(self, exchange: Exchange, got: Gathered) -> bool:
        """Read an answer for what it is, whatever it is called; tell whether it came to its end."""
        chunks = exchange.read_chunks()
        head = b""
        for chunk in chunks:
            head += chunk
            if len(head.lstrip(_MARK_AND_BLANKS)) >= 8:
                break
        whole = head.lstrip(_MARK_AND_BLANKS)
        if not _IS_EVENTS.match(whole):
            return self._read_whole(whole, chunks, got, exchange)
        for event in split_events(_chain(whole, chunks)):
            exchange.hear()
            for part in split_joined(event):
                if part.strip(b'"').upper() == b"[DONE]":
                    exchange.drain()
                    return True
                had_finished = got.finish
                stop = got.take(self._object(part, exchange))
                if got.finish and not had_finished:
                    exchange.hasten(LINGER_SEC)
                if stop:
                    return True
        return bool(got.finish)

    def _read_whole(
        self, head: bytes, chunks: Iterator[bytes], got: Gathered, exchange: Exchange
    ) -> bool:
        """Read the answer of a server that doesn't stream, or that does so in lines."""
        exchange.hear()
        body = bytearray(head)
        for chunk in chunks:
            body += chunk
            if len(body) > MAX_WHOLE_BYTES:
                raise self._runtime(f"sent more than {MAX_WHOLE_BYTES} bytes at once")
        parts = body.splitlines() if b"}\n{" in body.replace(b"\r", b"") else [body]
        for part in parts:
            if part.strip():
                got.take(self._object(bytes(part), exchange))
        return True

    def _object(self, raw: bytes, exchange: Exchange) -> dict[str, Any]:
        """Return the object that a part of an answer is. Raises what an error in it means."""
        try:
            found = json.loads(raw.decode(json.detect_encoding(raw), "replace"))
        except (ValueError, RecursionError) as error:
            if page := find_page(raw, self.describe_host()):
                raise page from None
            raise self._runtime("sent a body that is not JSON") from error
        if isinstance(found, list) and found and read_mapping(found[0]).get("error"):
            found = found[0]
        if not isinstance(found, dict):
            raise self._runtime("sent JSON that is not an object")
        if (problem := find_error(found)) is not None:
            said = quote_server(self._client, problem)
            header = exchange.read_header("retry-after")
            failure = explain_report(problem, self.describe_host(), said, header=header)
            raise _RefusedError(failure) if is_about_the_request(problem) else failure
        return found

    def _open(self, body: bytes, timeout: float) -> Exchange:
        headers = {"Content-Type": "application/json"}
        if self._endpoint.key:
            secret = self._endpoint.key.get_secret_value()
            bearer = self._endpoint.key_header == "authorization"
            headers[self._endpoint.key_header] = f"Bearer {secret}" if bearer else secret
        exchange = self._client.request(
            "POST",
            self._endpoint.url,
            body=body,
            headers=headers,
            timeout=timeout,
            resend=True,
            queues=self._policy.queues,
        )
        if exchange.status < 300:
            return exchange
        with exchange:
            failure = explain_status(exchange, blot_address(self._endpoint.url))
        about_form = exchange.status == 500 and is_about_form(str(failure))
        refused = exchange.status in _OF_THE_REQUEST or about_form
        raise _RefusedError(failure) if refused else failure

    def _runtime(self, what: str) -> BackendError:
        return BackendError(f"{self.describe_host()} {what}", failure_type="runtime")

    def _refused(self, kind: str, detail: str, text: object) -> BackendError:
        hide = self._client.redaction
        failure = (kind, hide(detail), hide(str(text)))
        usage = Usage(model=self._endpoint.label)
        return BackendError(hide(detail), failure_type=kind, failure=failure, usage=usage)


class _RefusedError(Exception):
    """The server does not take the request as it was put."""

    def __init__(self, reason: BackendError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def make(target: Target, around: Surroundings) -> OpenAIBackend:
    """Return the backend of a target."""
    key = target.key or Key()
    return OpenAIBackend(
        BackendConfig(target.name, "openai", model=target.model, options=target.options),
        Endpoint(target.place, target.model, target.model, key.secret, key.header, key.name),
        policy=around.policy,
        client=around.client,
    )
