"""What all fake model servers share: settings, the script, the records and the counts.

A subclass says what a request asks for (`_open`, `_look_up`) and how the answer is put (`words`);
an `Exchange` does the rest of each call.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

from llmc.testing._exchange import Exchange, Outcome
from llmc.testing._generation import Pace, Words
from llmc.testing._http import Connection, HttpServer, Request
from llmc.testing._records import CallRecord
from llmc.testing._responses import Response, json_response, send
from llmc.testing._runners import Demand, Runners
from llmc.testing._settings import Settings, SettingsArgs
from llmc.testing.faults import ModelNotFound
from llmc.testing.script import Call, Player, Script, Scripted, enrichment_text


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that is let in, and the runner it needs; one that wants no reply only loads that."""

    call: Call
    demand: Demand
    wants_reply: bool = True


class FakeServer:
    """A scriptable model server on a real socket; the subclasses speak a protocol.

    Use it in a `with` block, or call `start()` and `close()`. Leaving the block raises the first
    exception that a script function raised, so a script may assert things about its calls.
    """

    words: ClassVar[Words]
    _repeat_limit: int | None = None

    def __init__(self, script: Script = None, **settings: Unpack[SettingsArgs]) -> None:
        self.settings = Settings(**settings)
        self._player = Player(script, self._default_text)
        self._runners = Runners(
            self.settings.slots,
            self.settings.max_queue,
            self.settings.swap_seconds,
            self.settings.max_loaded,
        )
        self._lock = threading.Lock()
        self._records: list[CallRecord] = []
        self._seen: Counter[tuple[str, int]] = Counter()
        self._calls = 0
        self._http: HttpServer | None = None

    def start(self) -> Self:
        """Bind the port and serve."""
        self._http = HttpServer(self.settings.host, self.settings.port, self._handle)
        return self

    def close(self) -> None:
        """Cut every connection and join the threads; takes less than a second."""
        self._runners.close()
        if self._http is not None:
            self._http.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is None and self._player.errors:
            raise self._player.errors[0]

    @property
    def url(self) -> str:
        """The base URL, such as http://127.0.0.1:40123."""
        return self._running.url

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._running.port

    @property
    def _running(self) -> HttpServer:
        if self._http is None:
            raise RuntimeError(f"{type(self).__name__} is not started: use it in a with block")
        return self._http

    @property
    def requests(self) -> tuple[CallRecord, ...]:
        """Every request in order of arrival, look-ups included."""
        return tuple(self._records)

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """The requests for a reply, in order of arrival, those in flight included."""
        return tuple(record for record in self._records if record.index is not None)

    @property
    def in_flight(self) -> int:
        """How many calls hold a slot now."""
        return self._runners.in_flight

    @property
    def peak_in_flight(self) -> int:
        """How many calls held a slot at once, at most."""
        return self._runners.peak_in_flight

    @property
    def peak_queued(self) -> int:
        """How many calls waited for a slot at once, at most."""
        return self._runners.peak_queued

    @property
    def swaps(self) -> int:
        """How often a loaded model had to make room for another."""
        return self._runners.swaps

    @property
    def loads(self) -> int:
        """How often a model was loaded, the first time included."""
        return self._runners.loads

    @property
    def reloads(self) -> int:
        """How often a model was loaded again because a call wanted other load options."""
        return self._runners.reloads

    def stats(self) -> dict[str, Any]:
        """Return the counts as a dict that can be written as JSON."""
        calls = self.calls
        return {
            "calls": len(calls),
            "requests": len(self.requests),
            "peak_in_flight": self.peak_in_flight,
            "peak_queued": self.peak_queued,
            "swaps": self.swaps,
            "loads": self.loads,
            "reloads": self.reloads,
            "disconnected": sum(call.disconnected for call in calls),
            "statuses": Counter(str(call.status) for call in calls),
            "models": Counter(call.model for call in calls),
            "faults": Counter(fault for call in calls for fault in call.faults),
        }

    # What a protocol says; subclasses word these.

    def _look_up(self, request: Request) -> Response:
        """Answer anything but a call."""
        raise NotImplementedError

    def _open(self, request: Request) -> Admitted | Response | None:
        """Return the call, a refusal of it, or None if the path is not one of calls."""
        raise NotImplementedError

    def _words_for(self, call: Call) -> Words:
        return self.words

    def _is_installed(self, model: str) -> bool:
        raise NotImplementedError

    def _scripted(self, call: Call) -> Scripted:
        scripted = self._player.take(call) if call.index is not None else None
        return scripted if self._is_installed(call.model) else ModelNotFound()

    def _default_text(self, call: Call) -> str:
        return enrichment_text(call.prompt)

    # From a request to a record.

    def _handle(self, request: Request, connection: Connection) -> bool:
        if request.path.startswith("/_fake/"):
            send(connection, request, self._about_us(request.path))
            return True
        opened = self._open(request)
        if isinstance(opened, Admitted):
            return self._exchange(request, connection, opened)
        response = self._look_up(request) if opened is None else opened
        body = _json_object(request.body) if self.settings.keep_bodies else None
        call = Call(None, request.method, request.path, request.headers, body)
        now = time.time()
        with self._lock:
            self._records.append(CallRecord(call, now, now, response.status))
        send(connection, request, response)
        return True

    def _exchange(self, request: Request, connection: Connection, opened: Admitted) -> bool:
        place, call = self._arrive(opened)
        reply, faults = self._player.resolve(self._scripted(call), call)
        settings, arrived = self.settings, self._records[place]
        pace = Pace(settings.latency, settings.tokens_per_second, self._repeat_limit)

        def finish(outcome: Outcome) -> None:
            self._records[place] = CallRecord(
                arrived.call,
                arrived.started,
                ended=time.time(),
                status=outcome.status,
                faults=faults,
                queued=outcome.queued,
                disconnected=outcome.disconnected,
                bytes_sent=outcome.bytes_sent,
                shifted=outcome.shifted,
            )

        return Exchange(
            words=self._words_for(call),
            runners=self._runners,
            pace=pace,
            demand=opened.demand,
            request=request,
            connection=connection,
            call=call,
            reply=reply,
            finish=finish,
        ).run()

    def _arrive(self, opened: Admitted) -> tuple[int, Call]:
        """Number the call and open its record."""
        call = opened.call
        key = (call.model, hash(call.prompt))
        with self._lock:
            if opened.wants_reply:
                call = replace(call, index=self._calls, seen=self._seen[key])
                self._calls += 1
                self._seen[key] += 1
            kept = call if self.settings.keep_bodies else replace(call, body=None, prompt="")
            place = len(self._records)
            self._records.append(CallRecord(kept, time.time()))
        return place, call

    def _about_us(self, path: str) -> Response:
        if path == "/_fake/stats":
            return json_response(self.stats())
        if path == "/_fake/calls":
            return json_response([asdict(call) for call in self.calls])
        return json_response({"error": "known here: /_fake/stats and /_fake/calls"}, 404)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
