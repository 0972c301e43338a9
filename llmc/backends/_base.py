"""What the backends share: how they are configured and how a reply is accepted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from llmc.backends.cascade import BackendCascade
from llmc.enrichment.answers import translate
from llmc.enrichment.asking import find_question
from llmc.enrichment.judging import settle
from llmc.enrichment.parroting import drop_parroted
from llmc.enrichment.prompts import EXAMPLE_SUMMARY, find_source
from llmc.enrichment.reply import read_reply
from llmc.errors import BackendError, Failure, RateLimitedError, Usage, make_refusal
from llmc.models import Enrichment
from llmc.net.client import Client
from llmc.net.deadlines import Cancellation
from llmc.programs.launching import STANDARD, SearchPath
from llmc.settings.gateways import GatewaySettings
from llmc.settings.presets import TierPreset

MAX_REPLY_TOKENS = 1024
"""Enough for every reply that the schema allows at its usual size; a bound, not an aim."""


MAX_COUNT = 10**15
"""A server's count beyond it is nonsense: nanoseconds of ten days, tokens of any model."""


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """What a cascade entry says of itself; None leaves the tier preset's value in force.

    `api_key_env` names the variable that the key for its `url` is in.
    """

    name: str | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    url: str | None = None
    options: Mapping[str, Any] | None = None
    keep_alive: str | float | None = None
    api_key_env: str | None = None

    @classmethod
    def of(cls, given: object) -> BackendConfig:
        """Return what anything with some of these attributes says."""
        if isinstance(given, BackendConfig):
            return given
        return cls(**{field.name: getattr(given, field.name, None) for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How calls are made; times in seconds.

    `tries` and `retry_wait` are the HTTP tries inside one attempt. `structured` constrains the
    reply by the schema, bounds its length, watches it as it is written and waits for a busy server;
    `timeout` is then the total of the attempt, waits included, otherwise that of each try.
    `queues`: hosts are asked several things at once, of which some may have to wait. `timeout` then
    bounds the waits for a busy server, for the call's turn, and for the rest of a reply that has
    begun, each by itself.
    `require_summary` refuses an empty summary, and one that only repeats.
    """

    tries: int = 1
    retry_wait: float = 2.0
    timeout: float = 180.0
    structured: bool = True
    queues: bool = False
    require_summary: bool = True

    def bound(self, left: float) -> float:
        """Return the seconds that a call has, where so many are left of its attempt's."""
        return self.timeout if self.queues else left

    def with_timeout(self, timeout: float | None) -> CallPolicy:
        """Return a copy with another timeout, itself if there is none."""
        return self if timeout is None else replace(self, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the backends of a run share: connections, how calls are made, where programs are found.

    `policy` has the timeout of the target that a backend is made for. `gateway` says how a gateway
    program is run.
    """

    repo: Path
    client: Client
    policy: CallPolicy
    search: SearchPath = STANDARD
    gateway: GatewaySettings = field(default_factory=GatewaySettings)


class AttemptCascade(NamedTuple):
    """The cascade of one attempt, and what the records say of it.

    A builder other than ours may have its presets as mappings: see `presets.make_preset`.
    """

    cascade: BackendCascade
    preset_key: str
    tier_preset: TierPreset | Mapping[str, Any]
    host_label: str | None
    host_url: str | None
    selected_backend: str


def accept(  # noqa: PLR0913 - a reply, what it answers, and how it is judged
    text: str,
    prompt: str,
    item: Mapping[str, Any],
    meta: dict[str, Any],
    *,
    require_summary: bool,
    model: str | None = None,
    hide: Callable[[str], str] = str,
) -> Enrichment:
    """Read a reply to `prompt` about `item`, whose "lines" are the span's.

    `meta` is told the reply's length, and how many sentences were dropped as parroted. A refusal
    names the `model`, where nothing else about the call tells it; `hide` takes secrets out of what
    it quotes of the reply.

    Raises BackendError.
    """
    meta["reply_chars"] = len(text)
    try:
        return _accepted(text, prompt, item, meta, require_summary=require_summary)
    except BackendError as error:
        failure = error.failure
    # Out here, as in `reply.read`: the error does not hold on to what was read.
    assert failure is not None, "only what a reply says is refused"
    raise refuse_reply(failure, meta, model=model, hide=hide)


def _accepted(
    text: str,
    prompt: str,
    item: Mapping[str, Any],
    meta: dict[str, Any],
    *,
    require_summary: bool,
) -> Enrichment:
    question = find_question(prompt)
    enrichment = read_reply(
        text,
        item["lines"],
        done_reason=meta.get("done_reason"),
        eval_count=meta.get("eval_count"),
        require_summary=require_summary,
        translate=translate if question else None,
    )
    if not require_summary:
        return enrichment
    own, meta["parroted"] = drop_parroted(enrichment, find_source(prompt))
    if detail := _lack(own):
        raise make_refusal("validation", detail, text)
    if question:
        own, meta["verdicts"] = settle(own, question, item["lines"], text)
    return own


def refuse_reply(
    failure: Failure,
    meta: Mapping[str, Any],
    *,
    model: str | None = None,
    hide: Callable[[str], str] = str,
) -> BackendError:
    """Return the error of a refused reply, with what `meta` tells of the call.

    `hide` takes secrets out of what is quoted of the reply.
    """
    kind, detail, payload = failure
    detail = hide(detail)
    return BackendError(
        f"reply refused ({kind}): {detail}",
        failure_type=kind,
        failure=(kind, detail, hide(payload) if isinstance(payload, str) else payload),
        usage=Usage(
            model,
            prompt_tokens=count(meta, "prompt_eval_count"),
            completion_tokens=count(meta, "eval_count", "completion_tokens"),
            cut_lines=meta.get("cut_lines") or 0,
            times=meta.get("times"),
        ),
    )


def _lack(enrichment: Enrichment) -> str | None:
    """Return what a summary lacks that only repeats what the model was shown, None if nothing.

    Small models repeat the worked example when a span is beyond them.
    """
    if enrichment.summary_120w[:60] == EXAMPLE_SUMMARY[:60]:
        return "it repeats the worked example"
    if not enrichment.summary_120w:
        return "its summary only repeats an instruction that stands in the source"
    return None


def count(meta: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these counts that the server gave; a nonsensical one is none."""
    found = (meta.get(name) for name in names)
    return next((n for n in found if isinstance(n, int) and 0 <= n <= MAX_COUNT), None)


def accept_from_gateway(
    text: str,
    prompt: str,
    item: Mapping[str, Any],
    meta: dict[str, Any],
    *,
    require_summary: bool,
    hide: Callable[[str], str],
) -> Enrichment:
    """Do as `accept`; a refusal names the model, which nothing else about the call tells.

    A gateway's meta has no done_reason and no eval_count: its reply is judged by the text alone.
    """
    model = meta["model"]
    require = require_summary
    return accept(text, prompt, item, meta, require_summary=require, model=model, hide=hide)


class Backpressure:
    """Waits for a busy server within an attempt's deadline; `last` is what it said last."""

    def __init__(self, deadline: float, cancellation: Cancellation) -> None:
        self._deadline = deadline
        self._cancellation = cancellation
        self._count = 0
        self.last: RateLimitedError | None = None

    def pause(self, error: RateLimitedError) -> None:
        """Wait as long as the server asked, else 0.25, 0.5, 1 ... 8 s; never less than that.

        Raises `error` if that goes past the deadline, or on a cancel.
        """
        self.last = error
        seconds = max(error.retry_after or 0.0, min(8.0, 0.25 * 2**self._count))
        self._count += 1
        if time.monotonic() + seconds >= self._deadline or self._cancellation.wait(seconds):
            raise error
