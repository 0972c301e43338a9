"""What the events of a run add up to. Knows no clock and no terminal."""

from __future__ import annotations

from dataclasses import dataclass

from llmc.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    Event,
    FileGone,
    HostRests,
    HostReturned,
    RunStarted,
    SpanEnriched,
    SpanFailed,
    Stopping,
)
from llmc.show.progress.pace import Pace, Rates


@dataclass(frozen=True, slots=True)
class HostView:
    """A host at one moment; `rest` are the seconds it still rests, None while it is at work."""

    name: str
    busy: int
    slots: int
    model: str
    rates: Rates | None
    rest: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run at one moment. `rate` are enriched spans per second, `seconds_left` is a guess.

    `ending` counts the requests that are finished after a stop was asked for, else None.
    """

    now: float
    hosts: tuple[HostView, ...]
    done: int
    failed: int
    left: int
    rate: float | None
    seconds_left: float | None
    ending: int | None


class _Host:
    def __init__(self, name: str, slots: int) -> None:
        self.name = name
        self.slots = slots
        self.announced = slots > 0
        self.busy = 0
        self.model = ""
        self.rests_until: float | None = None
        self.reason = ""
        # Begins with the first call, and anew after a rest: what lies before says nothing.
        self.pace: Pace | None = None

    def start(self, model: str, now: float) -> None:
        self.busy += 1
        self.model = model
        if not self.announced:
            self.slots = max(self.slots, self.busy)
        if self.pace is None:
            self.pace = Pace(now, self.slots)

    def view(self, now: float) -> HostView:
        return HostView(
            name=self.name,
            busy=min(self.busy, self.slots),
            slots=self.slots,
            model=self.model,
            rates=self.pace.compute_rates(now) if self.pace else None,
            rest=None if self.rests_until is None else max(0.0, self.rests_until - now),
            reason=self.reason,
        )


class Tally:
    """Adds up a run's events; not safe to share among threads without a lock."""

    def __init__(self, now: float) -> None:
        self.done = self.failed = 0
        self._pending = self._limit = self._gone = self._by_rule = 0
        self._in_index: int | None = None
        self._hosts: dict[str, _Host] = {}
        self._pace = Pace(now)
        self._ending: int | None = None

    @property
    def target(self) -> int:
        """How many spans the run set out to ask about, as far as it knows."""
        pending = self._pending - self._by_rule
        return min(pending, self._limit) if self._limit else pending

    def apply(self, event: Event, now: float) -> bool:
        """Count an event; return False if it says nothing new, as of a host that rests already."""
        match event:
            case CallStarted(host=name, model=model):
                self._host(name).start(model, now)
            case CallFinished(host=name):
                host = self._host(name)
                host.busy = max(0, host.busy - 1)
            case AttemptFinished():
                self._attempt(event, now)
            case SpanEnriched() if event.report.by_rule:
                self._by_rule += 1
                self._in_index = event.spans_total - event.enrichments_total
            case SpanEnriched():
                self.done += 1
                self._in_index = event.spans_total - event.enrichments_total
                self._pace.add(now, good=True)
            case SpanFailed():
                self.failed += 1
                self._pace.add(now, good=False)
            case FileGone(spans=spans, enrichments=enrichments):
                self._gone += spans - enrichments
            case HostRests():
                return self._rest(event, now)
            case HostReturned(host=name):
                return self._return(name)
            case Stopping(in_flight=in_flight):
                known, self._ending = self._ending, in_flight
                return known is None
            case RunStarted():
                self._start(event, now)
        return True

    def _start(self, event: RunStarted, now: float) -> None:
        self._pending, self._limit = event.pending, event.limit
        for place in event.hosts:
            self._hosts.setdefault(place.name, _Host(place.name, 0)).slots += place.slots
            self._hosts[place.name].announced = True
        self._pace = Pace(now, sum(host.slots for host in self._hosts.values()))

    def _attempt(self, event: AttemptFinished, now: float) -> None:
        if self._ending:
            self._ending -= 1
        host = self._hosts.get(event.host)
        if host and host.pace:
            outcome = event.outcome
            host.pace.add(now, good=outcome.success, tokens=outcome.completion_tokens or 0)

    def _rest(self, event: HostRests, now: float) -> bool:
        host = self._host(event.host)
        rested = host.rests_until is not None
        host.rests_until, host.reason = now + event.seconds, event.reason
        host.pace = None
        return not rested

    def _return(self, name: str) -> bool:
        host = self._host(name)
        rested = host.rests_until is not None
        host.rests_until = None
        return rested

    def _host(self, name: str) -> _Host:
        return self._hosts.setdefault(name, _Host(name, 0))

    def view(self, now: float) -> RunView:
        """Return the run as it is at a time."""
        pending = self._pending - self._by_rule - self._gone - self.done - self.failed
        if self._in_index is not None:  # fewer where other processes work on the same index
            pending = min(pending, self._in_index - self.failed)
        limited = bool(self._limit) and self._limit - self.done < pending
        left = max(0, self._limit - self.done if limited else pending)
        rates = self._pace.compute_rates(now)
        # A failed span brings the end of the work nearer, but not a limit.
        falling = (rates.good if limited else rates.finished) if rates else 0.0
        goes_on = left > 0 and falling > 0 and self._ending is None
        return RunView(
            now=now,
            hosts=tuple(host.view(now) for host in self._hosts.values()),
            done=self.done,
            failed=self.failed,
            left=left,
            rate=rates.good if rates else None,
            seconds_left=left / falling if goes_on else None,
            ending=self._ending,
        )
