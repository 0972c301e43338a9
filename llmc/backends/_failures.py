"""What foreign errors mean to a cascade: the one place where HTTP becomes a BackendError."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime

from llmc.errors import (
    BackendError,
    ConnectError,
    CredentialsError,
    DeadlineError,
    HostUnreachableError,
    RateLimitedError,
    RequestError,
)
from llmc.net.client import Client, Exchange

QUOTED_CHARS = 300
"""What a failure quotes of a server's own words."""


def unanswered(
    error: RequestError, host: str | None = None, *, silent_is_gone: bool = False
) -> BackendError:
    """Return what a request without a response means.

    `host` is named where the error's own address is not what people know it by. `silent_is_gone`
    takes a host that takes requests and never begins to answer for one that is not there.
    """
    if isinstance(error, ConnectError):
        why = error.why
    elif silent_is_gone and isinstance(error, DeadlineError) and error.silent:
        why = "no answer within the call's time"
    else:
        return BackendError(str(error), failure_type="runtime")
    return HostUnreachableError(f"{host}: {error}" if host else str(error), why=why)


def declined(exchange: Exchange, host: str | None, *, if_not_found: str = "") -> BackendError:
    """Return what an HTTP status other than 2xx means, in the server's words.

    `if_not_found` says what to do where the server knows no such model. Raises RequestError.
    """
    status = exchange.status
    said = exchange.complaint()[:QUOTED_CHARS].strip()
    text = f"{host} answered HTTP {status}: {said}"
    if if_not_found and status == 404 and "not found" in said:
        text += f"; {if_not_found}"
    if status in (401, 403):
        return CredentialsError(text)
    if status in (429, 503):
        return RateLimitedError(text, retry_after=retry_after(exchange.header("retry-after")))
    return BackendError(text, failure_type="runtime")


def quoted(client: Client, said: object) -> str:
    """Return what a server says in an answer that is an error, fit for a message."""
    return client.redaction(str(said))[:QUOTED_CHARS]


def retry_after(header: str | None) -> float | None:
    """Read a Retry-After header, seconds or a date, as seconds from now; None for nonsense."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
