"""What foreign errors mean to a cascade: the one place where HTTP becomes a BackendError."""

from __future__ import annotations

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
from llmc.net.places import find_host, spell_address

QUOTED_CHARS = 300
"""What a failure quotes of a server's own words."""

_REFUSED = frozenset({"401", "403", "invalid_api_key", "authentication_error", "permission_error"})
_SPENT = frozenset(
    {"insufficient_quota", "billing_error", "402", "billing_not_active", "account_deactivated"}
    | {"billing_hard_limit_reached", "insufficient_credits", "insufficient_balance"}
    | {"exceeded_current_quota_error", "budget_exceeded", "quota_exhausted", "arrearage"}
)
_NO_MODEL = frozenset(
    {"model_not_found", "model_not_available", "deploymentnotfound", "invalid_model"}
    | {"model_not_supported", "model_decommissioned"}
)
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
    r"\b(unknown|invalid|no such) model\b|\bis not a valid model|\bno models? (is |are )?loaded"
    r"|\b(unable to|can ?not|could not) (access|find) (the )?model"
    r"|\bmodel\b.{0,120}?\b(not found|(does not|doesn't|not) exist|not a valid model"
    r"|(is )?not supported by (any )?provider|decommissioned"
    r"|has been (retired|shut ?down|removed))",
    re.IGNORECASE | re.DOTALL,
)
_HAS_SPENT = re.compile(
    r"insufficient (\w+ )?(balance|funds|credits?|quota)|\bbalance is too low|\bout of credits?"
    r"|\b(used|exhausted|spent) (up )?(all|your) .{0,40}?credits?|budget has been exceeded"
    r"|\bplease (recharge|top up)|payment required|spending (limit|cap)|\bin arrears",
    re.IGNORECASE,
)
_MAY_HAVE_SPENT = re.compile(r"plan and billing|quota (has been |is )?exhausted", re.IGNORECASE)
_NAMES_A_TIME = re.compile(
    r"retry.?(delay|in|after)|per.?(minute|second)|rate.?limit", re.IGNORECASE
)
"""The same words stand for the quota of a minute and for that of an account."""

_REFUSES_KEY = re.compile(
    r"\b(incorrect|invalid|missing|expired|unknown) api.?key"
    r"|\bapi.?key.{0,20}?(not valid|invalid|incorrect|expired|missing|not found)",
    re.IGNORECASE,
)
_CODE = re.compile(r'\\?"(?:code|type|status|reason)\\?": ?\\?"([a-z_]+)')
_IS_PAGE = re.compile(rb"\s*(<!--|<\?xml|<!doctype|<html|<head|<body)", re.IGNORECASE)
_IS_MODERATION = re.compile(r"moderat|flagged|content.?(policy|filter)", re.IGNORECASE)
"""How servers say, in error objects and in words, what an error is of."""

_CHECK_KEY = "check the key of this host, and what it is allowed to do"
_PAY = "see to the quota or the billing of its account, or use another host"
_CHECK_MODEL = "correct the model's name, or have the host serve it"
_CHECK_ADDRESS = "correct the address of this host"
_IN_THE_WAY = {
    407: "see to the user and password of the proxy",
    451: "use another host",
    511: "log in to the network that this machine is in",
}
"""What other statuses say that no second try mends."""


def explain_silence(
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


def explain_status(exchange: Exchange, host: str | None, *, if_not_found: str = "") -> BackendError:
    """Return what an HTTP status other than 2xx means, in the server's words.

    `if_not_found` says what to do where the server knows no such model. Raises RequestError.
    """
    status, complaint = exchange.status, exchange.read_complaint()
    said = complaint[:QUOTED_CHARS].strip()
    text = f"{host} answered HTTP {status}: {said}"
    if if_not_found and status == 404 and "not found" in said and "page not found" not in said:
        text += f"; {if_not_found}"
    codes = set(_CODE.findall(complaint.lower()))
    if status == 401 or (status == 403 and not _IS_MODERATION.search(said)):
        spent = _has_spent(said, codes)
        return CredentialsError(text, remedy=_PAY if spent else _CHECK_KEY)
    waits = bool(exchange.read_header("retry-after"))
    if status in (400, 402, 429) and (status == 402 or _has_spent(said, codes, waits=waits)):
        return TurnedAwayError(text, remedy=_PAY)
    if status == 400 and _REFUSES_KEY.search(said):
        return CredentialsError(text, remedy=_CHECK_KEY)
    if remedy := _find_remedy(exchange, said, codes, if_not_found):
        return TurnedAwayError(text, remedy=remedy)
    if status in (429, 503):
        return RateLimitedError(
            text, retry_after=read_retry_after(exchange.read_header("retry-after"))
        )
    return BackendError(text, failure_type="runtime")


def _find_remedy(exchange: Exchange, said: str, codes: set[str], pull: str) -> str:
    """Say what has to be mended before a server answers otherwise, nothing if it may by itself."""
    status = exchange.status
    if 300 <= status < 400:
        to = _name_new_place(exchange.read_header("location") or "")
        return f"it has moved{to}; {_CHECK_ADDRESS}"
    if status in (400, 404, 422) and (codes & _NO_MODEL or _LACKS_MODEL.search(said)):
        return pull or _CHECK_MODEL
    return _CHECK_ADDRESS if status in (404, 405, 410) else _IN_THE_WAY.get(status, "")


def _name_new_place(location: str) -> str:
    """Say where a redirection leads, without user, password and query."""
    try:
        path, host = urlsplit(location).path, find_host(location)
    except ValueError:
        return ""
    place = spell_address(location) if host else ""
    return f" to {place}{path}" if place or path else ""


def _has_spent(said: str, codes: set[str], *, waits: bool = False) -> bool:
    """Tell whether an account has nothing left; `waits`: the server named a time to come back."""
    if codes & _SPENT or _HAS_SPENT.search(said):
        return True
    may = _MAY_HAVE_SPENT.search(said)
    return bool(may and not waits and not _NAMES_A_TIME.search(said))


def find_page(body: bytes, host: str | None) -> BackendError | None:
    """Return what a web page in place of an answer means, None if the body is none.

    It is the login of a network, the page of another program at that address, or what a proxy says
    for a moment: so the next request may fare better.
    """
    if not _IS_PAGE.match(body):
        return None
    advice = f"{_CHECK_ADDRESS}, or log in to the network that this machine is in"
    return BackendError(
        f"{host} sent a web page in place of an answer; {advice}", failure_type="runtime"
    )


def explain_report(
    error: object, host: str | None, said: str, *, header: str | None
) -> BackendError:
    """Return what an error object inside an answer of status 200 means, `said` being its text.

    Proxies answer so when the server behind them is busy: that is to be waited for as a 429 is.
    `header` is the answer's Retry-After.
    """
    text = f"{host} broke off: {said}"
    codes = _codes(error)
    if codes & _REFUSED or _REFUSES_KEY.search(said):
        return CredentialsError(text, remedy=_CHECK_KEY)
    if _has_spent(said, codes, waits=bool(header)):
        return TurnedAwayError(text, remedy=_PAY)
    if codes & _NO_MODEL or _LACKS_MODEL.search(said):
        return TurnedAwayError(text, remedy=_CHECK_MODEL)
    if codes & _BUSY or (not codes & _FINAL and _IS_BUSY.search(text)):
        return RateLimitedError(text, retry_after=read_retry_after(header))
    return BackendError(text, failure_type="runtime")


def find_error(answer: Mapping[str, object]) -> object:
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
    if "choices" in answer:
        return None
    if isinstance(answer.get("message"), str) or "detail" in answer:
        return answer
    if _codes(answer) & (_BUSY | _REFUSED):
        return answer
    return None


def is_about_the_request(error: object) -> bool:
    """Tell whether an error object inside an answer says that the request was not to be taken."""
    return bool(_codes(error) & _OF_THE_REQUEST)


def _codes(error: object, depth: int = 3) -> set[str]:
    """Return what an error object goes by: its numbers and its kinds, in lower case.

    A proxy may have put the error of the server behind it into its own.
    """
    if isinstance(error, list):
        error = error[0] if error else None
    if not isinstance(error, Mapping) or not depth:
        return set()
    values = (error.get(name) for name in ("code", "status", "status_code", "type"))
    inner = (error.get(name) for name in ("error", "detail", "errors", "details"))
    own = {str(value).lower() for value in values if isinstance(value, str | int)}
    return own.union(*(_codes(value, depth - 1) for value in inner))


def quote_server(client: Client, said: object) -> str:
    """Return what a server says in an answer that is an error, fit for a message."""
    return client.redaction(str(said))[:QUOTED_CHARS]


def read_retry_after(header: str | None) -> float | None:
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
