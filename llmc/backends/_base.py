"""What the backends share: how they are configured and how a reply is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from llmc.cascade import BackendCascade
from llmc.errors import BackendError, RateLimitedError
from llmc.models import Enrichment
from llmc.presets import TierPreset
from llmc.reply import read

MAX_REPLY_TOKENS = 1024
"""Enough for every reply that the schema allows at its usual size; a bound, not an aim."""


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """What a cascade entry says of itself; None leaves the tier preset's value in force."""

    name: str | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    url: str | None = None
    options: Mapping[str, Any] | None = None
    keep_alive: str | int | None = None

    def with_url(self, url: str | None) -> BackendConfig:
        """Return a copy that points elsewhere."""
        return replace(self, url=url)


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How calls are made; times in seconds.

    `tries` and `retry_wait` are the HTTP tries inside one attempt. `structured` constrains the
    reply by the schema, bounds its length, watches it as it is written and waits for a busy server;
    `timeout` is then the total of the attempt, waits included, otherwise that of each try.
    `require_summary` refuses an empty summary.
    """

    tries: int = 1
    retry_wait: float = 2.0
    timeout: float = 180.0
    structured: bool = True
    require_summary: bool = True

    def with_timeout(self, timeout: float | None) -> CallPolicy:
        """Return a copy with another timeout, itself if there is none."""
        return self if timeout is None else replace(self, timeout=timeout)


class AttemptCascade(NamedTuple):
    """The cascade of one attempt, and what the records say of it."""

    cascade: BackendCascade
    preset_key: str
    tier_preset: TierPreset
    host_label: str | None
    host_url: str | None
    selected_backend: str


def accept(
    text: str, item: Mapping[str, Any], meta: dict[str, Any], *, require_summary: bool
) -> Enrichment:
    """Read a reply about `item`, whose "lines" are the span's; note its length in `meta`.

    Raises BackendError.
    """
    meta["reply_chars"] = len(text)
    return read(
        text,
        item["lines"],
        done_reason=meta.get("done_reason"),
        eval_count=meta.get("eval_count"),
        require_summary=require_summary,
    )


def accept_from_gateway(
    text: str, item: Mapping[str, Any], meta: dict[str, Any], *, require_summary: bool
) -> Enrichment:
    """Do as `accept`; a refusal names the model, which nothing else about the call tells.

    A gateway's meta has no done_reason and no eval_count: its reply is judged by the text alone.
    """
    try:
        return accept(text, item, meta, require_summary=require_summary)
    except BackendError as error:
        error.model = meta["model"]
        raise


def pause_for(error: RateLimitedError, count: int) -> float:
    """Return how many seconds to leave a busy server alone: what it asked for, else 1, 2, 4..."""
    asked = error.retry_after
    return asked if asked is not None else float(2 ** min(count, 5))


def retry_after(header: str | None) -> float | None:
    """Read a Retry-After header given in seconds; None for a date or nonsense."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86400 else None
