"""Everything llmc raises on purpose, in one picture.

    LlmcError                 raised on purpose; its text is fit to show a user
    ├─ ConfigError            a bad file, flag or environment value
    │  └─ UntrustedError      a repository asks for what its user has not allowed
    ├─ IndexingError          one file cannot be read or parsed; it is skipped
    ├─ StoreError             schema, lock, disk or corruption; the run stops
    │  ├─ CorruptIndexError   the file is not a usable SQLite database
    │  ├─ DisplacedIndexError others removed, replaced or cut it while it was open
    │  ├─ LockedIndexError    another program holds it for writing
    │  └─ FullDiskError       no room is left for it on the disk
    ├─ RequestError           one HTTP request came to no response
    │  ├─ ConnectError            no connection was made
    │  │  └─ CertificateError     who answers shows no certificate that is believed
    │  ├─ DroppedError            the connection ended before the response began
    │  ├─ DeadlineError           it was not over by its deadline
    │  └─ CancelledError          somebody cancelled it
    └─ BackendError           one attempt at a model gave nothing usable
       ├─ HostUnreachableError    nobody answers at that address
       ├─ RateLimitedError        the server asks to come back later
       └─ TurnedAwayError         the server would say the same to every request of ours
          └─ CredentialsError         it refuses the key, or cannot prove who it is

Each is made whole by its constructor and not changed afterwards. A bug is none of these: it stays a
traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from llmc.models import AttemptRecord, CallTimes, Departure

Failure = tuple[str, str, object]
"""(kind, detail, payload): kind is parse, truncation or validation; payload is the raw reply."""


class LlmcError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(LlmcError):
    """A setting is wrong; the text names the source, the key, the value and what is allowed."""


class UntrustedError(ConfigError):
    """A repository's settings ask for what its user has not allowed; the text names all of it."""


class IndexingError(LlmcError):
    """One file cannot be read or parsed; its earlier spans stay as they are."""


class StoreError(LlmcError):
    """The index database cannot be used: schema, lock, disk or permissions."""


class CorruptIndexError(StoreError):
    """The index file is not a usable SQLite database; `inode` is that file's number, if known."""

    def __init__(self, message: str, *, inode: int | None = None) -> None:
        super().__init__(message)
        self.inode: Final = inode


class DisplacedIndexError(StoreError):
    """The index that is open is no more what stands at its place: nothing was written to it."""


class LockedIndexError(StoreError):
    """Another program has held the index for writing longer than we wait at a time."""


class FullDiskError(StoreError):
    """No room is left on the disk, in a quota, or up to a limit on the size of files."""


class RequestError(LlmcError):
    """A request came to no response: refused, dropped, late, cancelled or not HTTP."""


class ConnectError(RequestError):
    """No connection: refused, unresolvable, a failed handshake, or a URL that isn't one.

    `why` is the reason alone, without the address.
    """

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why: Final = why or message


class CertificateError(ConnectError):
    """Who answers shows no certificate that is believed: no wait and no second try mends that."""


class DeadlineError(RequestError):
    """The deadline passed before the response was complete; `silent`: before it began."""

    def __init__(self, message: str, *, silent: bool = False) -> None:
        super().__init__(message)
        self.silent: Final = silent


class DroppedError(RequestError):
    """The other side ended the connection before its response began, or its body did."""


class CancelledError(RequestError):
    """Somebody cancelled the request."""


class Usage(NamedTuple):
    """What is known of a call that failed. No dataclass: every command imports this module.

    `model` is set where only the reply tells which model it is from; the tokens are those of a
    reply that was refused; `cut_lines` counts the lines of code left out of the prompt, `departure`
    tells of a prompt that left this machine, `times` of a reply that was whole.
    """

    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cut_lines: int = 0
    departure: Departure | None = None
    times: CallTimes | None = None


NOTHING_KNOWN = Usage()


class BackendError(LlmcError):
    """One attempt at a model failed.

    `failure` is None when no usable reply came back (a runtime failure), else (kind, detail,
    payload) of a reply that came back and was refused. `failure_type` is the kind, "runtime", or
    "backend_error" for a cascade without backends. `attempts` holds a record per backend tried.
    """

    def __init__(
        self,
        message: str,
        *,
        failure_type: str | None = None,
        attempts: Sequence[AttemptRecord] | None = None,
        failure: Failure | None = None,
        usage: Usage = NOTHING_KNOWN,
    ) -> None:
        super().__init__(message)
        self.failure_type: Final = failure_type
        self.attempts: Final[list[AttemptRecord]] = list(attempts or ())
        self.failure: Final = failure
        self.usage: Final = usage

    def after(self, attempts: Sequence[AttemptRecord]) -> Self:
        """Return an error of the same kind that carries the records of a cascade's tries."""
        return self._again(attempts=list(attempts))

    def having_sent(self, departure: Departure) -> Self:
        """Return an error of the same kind that tells what left this machine before it."""
        return self._again(usage=self.usage._replace(departure=departure))

    def having_asked(self, model: str) -> Self:
        """Return an error of the same kind that names the model which was asked."""
        return self._again(usage=self.usage._replace(model=model))

    def _again(self, **changes: object) -> Self:
        # Not by the constructor: a backend of somebody else's may raise a kind of its own.
        same = type(self).__new__(type(self), *self.args)
        same.__dict__.update(self.__dict__, **changes)
        return same


class HostUnreachableError(BackendError):
    """Nobody answers at the address: refused, unresolvable, or no connection in time.

    `why` is the reason alone, without the address. `silent`: the request was taken, and nothing
    came in the call's whole time.
    """

    def __init__(
        self,
        message: str,
        *,
        failure_type: str | None = "runtime",
        why: str = "",
        silent: bool = False,
    ) -> None:
        super().__init__(message, failure_type=failure_type)
        self.why: Final = why
        self.silent: Final = silent


class RateLimitedError(BackendError):
    """The server asks to come back later (HTTP 429, or 503 with a full queue).

    `retry_after` is in seconds; None when the server named no time.
    """

    def __init__(
        self,
        message: str,
        *,
        failure_type: str | None = "runtime",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, failure_type=failure_type)
        self.retry_after: Final = retry_after


class TurnedAwayError(BackendError):
    """The server would say the same to every request: a spent quota, a model or a path it lacks.

    To ask again is in vain until somebody has mended it: `remedy` says how.
    """

    def __init__(
        self, message: str, *, failure_type: str | None = "runtime", remedy: str = ""
    ) -> None:
        super().__init__(message, failure_type=failure_type)
        self.remedy: Final = remedy


class CredentialsError(TurnedAwayError):
    """The server refuses the key (HTTP 401 or 403), or shows no certificate that is believed."""


def make_refusal(kind: str, detail: str, payload: object) -> BackendError:
    """Return the error of a reply that came back and was refused."""
    return BackendError(
        f"reply refused ({kind}): {detail}", failure_type=kind, failure=(kind, detail, payload)
    )


def classify_failure(error: BackendError) -> str:
    """Return the kind of a failure: runtime, parse, truncation or validation."""
    return error.failure[0] if error.failure else "runtime"
