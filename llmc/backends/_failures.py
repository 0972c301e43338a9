"""What foreign errors mean to a cascade: the one place where HTTP becomes a BackendError."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from llmc.errors import (
    BackendError,
    CertificateError,
    ConnectError,
    CredentialsError,
    DeadlineError,
    DroppedError,
    HostUnreachableError,
    RateLimitedError,
    RequestError,
    TurnedAwayError,
)
from llmc.net.client import Client
from llmc.net.exchange import Exchange

QUOTED_CHARS = 300
"""What a failure quotes of a server's own words."""

_REFUSED = frozenset({"401", "403", "invalid_api_key", "authentication_error", "permission_error"})
_SPENT = frozenset(
    {"insufficient_quota", "billing_error", "402", "billing_not_active", "account_deactivated"}
    | {"billing_hard_limit_reached", "insufficient_credits", "insufficient_balance"}
)
_NO_MODEL = frozenset({"model_not_found", "model_not_available", "deploymentnotfound"})
_BUSY = frozenset(
    {"429", "503", "529", "rate_limit_exceeded", "rate_limit_error", "rate_limited", "rate_limit"}
    | {"too_many_requests", "resource_exhausted", "overloaded_error", "overloaded", "slow_down"}
    | {"unavailable", "service_unavailable", "engine_overloaded"}
)
_OF_THE_REQUEST = frozenset(
    {"400", "404", "413", "422", "invalid_request_error", "context_length_exceeded"}
    | {"exceed_context_size_error", "unsupported_parameter", "bad_request", "badrequesterror"}
)
_FINAL = _OF_THE_REQUEST | _REFUSED
_IS_BUSY = re.compile(
    r"rate.?limit|too many requests|server (is )?busy|overloaded|try again (later|in)|\b429\b",
    re.IGNORECASE,
)
_LACKS_MODEL = re.compile(
    r"\b(unknown|invalid|no such) model\b"
    r"|\bmodel\b.{0,120}?\b(not found|(does not|doesn't|not) exist|not a valid model)",
    re.IGNORECASE | re.DOTALL,
)
_IS_MODERATION = re.compile(r"moderat|flagged|content.?(policy|filter)", re.IGNORECASE)
"""How servers say, in error objects and in words, what an error is of."""

_CHECK_KEY = "check the key of this host, and what it is allowed to do"
_PAY = "see to the quota or the billing of its account, or use another host"
_CHECK_MODEL = "correct the model's name, or have the host serve it"
_CHECK_ADDRESS = "correct the address of this host"


def unanswered(
    error: RequestError, host: str | None = None, *, silent_is_gone: bool = False
) -> BackendError:
    """Return what a request without a response means.

    `host` is named where the error's own address is not what people know it by. `silent_is_gone`
    takes a host that takes requests and never begins to answer for one that is not there.
    """
    if isinstance(error, CertificateError):
        return CredentialsError(
            str(error), remedy="see to its certificate, or give your own ca_file"
        )
    if isinstance(error, DroppedError):
        return HostUnreachableError(str(error), why="it closes the connection without an answer")
    if isinstance(error, ConnectError):
        why = error.why
    elif silent_is_gone and isinstance(error, DeadlineError) and error.silent:
        why = "no answer within the call's time"
    else:
        return BackendError(str(error), failure_type="runtime")
    silent = isinstance(error, DeadlineError)
    text = f"{host}: {error}" if host else str(error)
    return HostUnreachableError(text, why=why, silent=silent)


def declined(exchange: Exchange, host: str | None, *, if_not_found: str = "") -> BackendError:
    """Return what an HTTP status other than 2xx means, in the server's words.

    `if_not_found` says what to do where the server knows no such model. Raises RequestError.
    """
    status, complaint = exchange.status, exchange.complaint()
    said = complaint[:QUOTED_CHARS].strip()
    text = f"{host} answered HTTP {status}: {said}"
    if if_not_found and status == 404 and "not found" in said:
        text += f"; {if_not_found}"
    if status == 401 or (status == 403 and not _IS_MODERATION.search(said)):
        return CredentialsError(text, remedy=_CHECK_KEY)
    if remedy := _find_remedy(exchange, complaint, if_not_found):
        return TurnedAwayError(text, remedy=remedy)
    if status in (429, 503):
        return RateLimitedError(text, retry_after=retry_after(exchange.header("retry-after")))
    return BackendError(text, failure_type="runtime")


def _find_remedy(exchange: Exchange, complaint: str, pull: str) -> str:
    """Say what has to be mended before a server answers otherwise, nothing if it may by itself."""
    status, codes = exchange.status, _codes_in(complaint)
    if 300 <= status < 400:
        there = urlsplit(exchange.header("location") or "")
        to = f" to {there.scheme}://{there.hostname}{there.path}" if there.hostname else ""
        return f"it has moved{to}; {_CHECK_ADDRESS}"
    if status == 402 or (status == 429 and codes & _SPENT):
        return _PAY
    asks_for_model = codes & _NO_MODEL or _LACKS_MODEL.search(complaint[:QUOTED_CHARS])
    if status in (400, 404, 422) and asks_for_model:
        return pull or _CHECK_MODEL
    return _CHECK_ADDRESS if status in (404, 405, 410) else ""


def _codes_in(complaint: str) -> set[str]:
    try:
        answer = json.loads(complaint)
    except (ValueError, RecursionError):
        return set()
    answer = answer[0] if isinstance(answer, list) and answer else answer
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    return _codes(error)


def reported(error: object, host: str | None, said: str, *, header: str | None) -> BackendError:
    """Return what an error object inside an answer of status 200 means, `said` being its text.

    Proxies answer so when the server behind them is busy: that is to be waited for as a 429 is.
    `header` is the answer's Retry-After.
    """
    text = f"{host} broke off: {said}"
    codes = _codes(error)
    if codes & _REFUSED:
        return CredentialsError(text, remedy=_CHECK_KEY)
    if codes & (_SPENT | _NO_MODEL):
        return TurnedAwayError(text, remedy=_PAY if codes & _SPENT else _CHECK_MODEL)
    if codes & _BUSY or (not codes & _FINAL and _IS_BUSY.search(text)):
        return RateLimitedError(text, retry_after=retry_after(header))
    return BackendError(text, failure_type="runtime")


def error_of(answer: Mapping[str, object]) -> object:
    """Return the error in an answer, None if there is none; servers have several forms for one."""
    found = answer.get("error")
    if found:
        return found
    choices = answer.get("choices")
    if isinstance(choices, list) and choices:
        first = choices[0]
        return (first.get("error") or None) if isinstance(first, dict) else None
    if answer.get("object") == "error" or answer.get("type") == "error":
        return answer
    if "choices" not in answer and ("detail" in answer or _codes(answer) & (_BUSY | _REFUSED)):
        return answer
    return None


def is_about_the_request(error: object) -> bool:
    """Tell whether an error object inside an answer says that the request was not to be taken."""
    return bool(_codes(error) & _OF_THE_REQUEST)


def _codes(error: object) -> set[str]:
    """Return what an error object goes by: its numbers and its kinds, in lower case."""
    if not isinstance(error, Mapping):
        return set()
    values = (error.get(name) for name in ("code", "status", "status_code", "type"))
    return {str(value).lower() for value in values if isinstance(value, str | int)}


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
