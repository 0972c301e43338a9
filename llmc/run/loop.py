"""One enrichment run, on the main thread: it plans, decides and writes; worker threads call.

Each turn of the loop: store and record what is settled, give free slots new work, take what the
workers sent. Storing comes first: a process that is killed loses no more replies than it has slots.

Nothing waits without an end; docs/reliability.md lists every wait with its bound.
"""

from __future__ import annotations

import hashlib
import json
import queue
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from llmc.enrichment import prompts, reply
from llmc.errors import LlmcError, LockedIndexError, StoreError
from llmc.events import (
    AttemptFinished,
    Event,
    EventHook,
    RunFinished,
    RunStarted,
    SpanKept,
    SpanStarted,
    Stopping,
    Warned,
)
from llmc.models import Attempt, AttemptOutcome, RunReport, Span, SpanReport
from llmc.records.ledger import Ledger
from llmc.run import routing, scheduler
from llmc.run.attempts import Builder, make_attempt
from llmc.run.calls import (
    GRACE_SEC,
    CallGate,
    Crashed,
    Flight,
    Landed,
    Message,
    Probed,
    StopAsked,
    Ticket,
)
from llmc.run.departures import Departures
from llmc.run.gpu import LoadWatch
from llmc.run.job import Job
from llmc.run.journal import Journal
from llmc.run.lanes import Choice, Lanes
from llmc.run.stopping import Stop
from llmc.run.traffic import Traffic
from llmc.run.workers import Workers
from llmc.run.worklist import Rules, WorkList, newest_mtime, once
from llmc.settings.config import Settings
from llmc.settings.targets import CALL_TIMEOUT_SEC
from llmc.store.store import Store

LEASE_SEC = 120.0
"""A claim lasts this long beyond the last sign of life of who made it."""

RENEWAL_SEC = 30.0

HALT_SEC = 0.6
"""How long calls that were cut off are waited for: a second stop ends a run within a second."""

PLANS_PER_TURN = 8
"""Spans planned before the workers' messages are looked at again."""

CLAIMS_AT_ONCE = 32


class _HaltError(Exception):
    """The run was asked to end now."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run works with."""

    settings: Settings
    store: Store
    ledger: Ledger
    builder: Builder
    rules: Rules
    hooks: Sequence[EventHook]
    stop: Stop


class Run:
    """One enrichment run."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        settings, rules = parts.settings, parts.rules
        self._search = settings.search
        lanes = _lanes(settings, rules)
        self._slots = max(1, sum(lane.slots for lane in lanes.lanes if lane.name))
        self._signature = signature(settings, lanes)
        self._journal = Journal(
            parts.store, parts.ledger, parts.hooks, is_urgent=lambda: parts.stop.requests > 1
        )
        self._departures = Departures(self._journal.tell)
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        order = settings.host_order if rules.side_by_side else "failover"
        self._scheduler: scheduler.Scheduler[Job] = scheduler.make(lanes, order, time.monotonic())
        self._traffic = Traffic(
            self._scheduler,
            rests=rules.side_by_side,
            timeout=settings.health_timeout,
            post=self._inbox.put,
            tell=self._tell,
        )
        self._workers = Workers()
        self._gpu = LoadWatch()
        self._work = WorkList(settings, parts.store, rules, (self._tell,), self._put_back)
        self._fresh = self._planned()
        self._flights: set[Flight] = set()
        self._open: dict[int, Job] = {}
        self._warm: dict[int, Job] = {}
        self._exhausted = self._stopping = self._behind = self._overslept = False
        self._begun = self._enriched = self._unfinished = self._kept = 0
        self._failed: Counter[str] = Counter()
        self._stopped: str | None = None
        self._error: LlmcError | None = None
        self._renewed_at = self._watched_at = time.monotonic()
        self._renewed_clock = _boot_time()
        self._idle_since: float | None = None
        asks_all = settings.retry_failed or not rules.side_by_side
        self._left_alone = None if asks_all else self._signature
        self._resting = parts.store.resting(self._signature) if self._left_alone else 0

    def run(self) -> RunReport:
        """Work until nothing is left, the limit is reached or somebody stops it.

        Raises StoreError, ConfigError.
        """
        started = time.monotonic()
        interrupted = False
        pending = self._journal.spans - self._journal.enrichments - self._resting
        self._journal.lay_in(self._slots)
        try:
            self._tell(RunStarted(pending, self._parts.settings.limit, self._traffic.hosts))
            self._traffic.say_who_rests()
            self._parts.stop.listen(lambda: self._inbox.put(StopAsked()))
            while not self._turn():
                pass
        except (KeyboardInterrupt, _HaltError):
            interrupted = True
            self._journal.hurry()
        finally:
            self._end()
        if self._error:
            raise self._error
        if self._journal.error:
            self._stopped = str(self._journal.error)
        resting, left = self._rest()
        report = RunReport(
            enriched=self._enriched - self._journal.unsaved,
            failed=dict(self._failed),
            left=left,
            wall_sec=time.monotonic() - started,
            interrupted=interrupted or self._parts.stop.requests > 0,
            unfinished=self._unfinished,
            resting=resting,
            stopped=self._stopped,
            sent=dict(self._departures.sent),
            blotted=self._departures.blotted,
            blotted_prompts=self._departures.blotted_prompts,
            kept=self._kept,
        )
        self._tell(RunFinished(report))
        return report

    def _rest(self) -> tuple[int, int]:
        """Return how many spans of earlier runs rest, and how many are left to a next run.

        Counted at the end, as other runs may have been at work.
        """
        self._journal.recount(always=True)
        left, failed = self._journal.spans - self._journal.enrichments, sum(self._failed.values())
        if not self._parts.rules.side_by_side:
            return 0, max(0, left - failed)
        resting = self._parts.store.resting(self._signature)
        return max(0, resting - failed), max(0, left - resting)

    def _tell(self, event: Event) -> None:
        if isinstance(event, SpanKept):
            self._kept += 1
        self._journal.tell(event)

    # -- the loop --------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Go round once; tell whether the run is over."""
        self._journal.commit(self._signature)
        if self._journal.error:
            self._stopped = str(self._journal.error)
            self._stop_taking()
        self._fill()
        if self._is_over():
            return True
        self._receive(self._patience())
        self._keep_house()
        return False

    def _is_over(self) -> bool:
        if self._flights or not self._journal.is_clear:
            return False
        return self._stopping or self._is_done()

    def _is_done(self) -> bool:
        return not self._open and (self._exhausted or self._is_at_limit(0))

    def _is_at_limit(self, under_way: int) -> bool:
        limit = self._parts.settings.limit
        return bool(limit) and self._enriched + under_way >= limit

    def _patience(self) -> float:
        """Return how many seconds may pass before there is something to do by time alone."""
        if self._behind or not self._journal.is_clear:
            return 0.0
        times = [self._renewed_at + RENEWAL_SEC, self._scheduler.next_time()]
        if self._idle_since is not None:
            times.append(self._idle_since + self._parts.settings.host_patience)
        return max(0.0, min(at for at in times if at is not None) - time.monotonic())

    def _receive(self, seconds: float) -> None:
        """Take what the workers sent; wait for it if there is nothing."""
        try:
            message = self._inbox.get(timeout=seconds) if seconds else self._inbox.get_nowait()
            while True:
                self._take(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _keep_house(self) -> None:
        """Do what is due by time: renew claims, give up hung calls."""
        now = time.monotonic()
        slept = _boot_time() - self._renewed_clock
        if now - self._renewed_at < RENEWAL_SEC and slept < LEASE_SEC:
            return
        self._renewed_at = now
        # Stopped or asleep beyond the lease: what was claimed may be another run's by now.
        self._overslept = self._overslept or slept > LEASE_SEC
        self._renewed_clock = _boot_time()
        self._journal.patiently(lambda: self._parts.store.renew(LEASE_SEC))
        self._journal.recount()
        for flight in [flight for flight in self._flights if flight.overdue < now]:
            self._land(flight, _hung(flight))

    def _stop_taking(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._tell(Stopping(len(self._flights)))

    # -- giving work -----------------------------------------------------------------------------

    def _fill(self) -> None:
        """Give every free slot an attempt, as far as there are any."""
        self._scheduler.wake(time.monotonic())
        self._traffic.admit()
        self._traffic.look_after(self._workers)
        planned, self._behind = 0, False
        # Cascades between two hosts hold no slot; as many as there are slots may wait so.
        most = self._slots + min(self._slots, self._traffic.moving)
        while len(self._flights) < most and not self._is_ending:
            self._scheduler.may_plan = self._may_plan()
            found = self._scheduler.next()
            if found:
                self._start(*found)
            elif not self._scheduler.hungry:
                break
            elif planned >= PLANS_PER_TURN:
                self._behind = True
                break
            else:
                planned += 1
                self._plan()
        if self._parts.rules.side_by_side:
            for job in self._warm.values():
                job.prompt = None  # it is put by; the prompt is made anew when its turn comes
        self._warm.clear()
        self._lose_patience()

    def _lose_patience(self) -> None:
        """End the run when there is work and nothing of it could be begun for too long."""
        now = time.monotonic()
        if self._flights or self._behind or self._scheduler.waits or self._is_done():
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        patience = self._parts.settings.host_patience
        if now - self._idle_since >= patience and not self._is_ending:
            who = self._traffic.who_rests() or "there is none"
            self._stopped = f"no host has answered for {patience:g} s: {who}"
            self._stopping = True

    @property
    def _is_ending(self) -> bool:
        """Tell whether no call may start, also where a request to stop is yet to be taken."""
        return self._stopping or self._parts.stop.requests > 0

    def _may_plan(self) -> bool:
        under_way = len(self._open)
        if self._exhausted or self._is_at_limit(under_way):
            return False
        if self._scheduler.has_room(under_way):
            return True
        job = self._scheduler.shed()
        if job:
            self._leave_for_later(job, f"needs tier {job.tier}, whose hosts all rest")
        return job is not None

    def _plan(self) -> None:
        """Take one more span from the work list."""
        if self._begun:
            self._pause(self._parts.rules.sleep)
        if self._is_ending:
            return
        job = next(self._fresh, None)
        if job is None:
            self._exhausted = True
            return
        self._begun += 1
        self._open[job.span.id] = self._warm[job.span.id] = job
        self._scheduler.add(job)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._receive(min(left, RENEWAL_SEC))
            self._keep_house()

    def _planned(self) -> Iterator[Job]:
        """Yield a job for each pending span, claimed a few at a time; last, those of dead runs."""
        store, rules = self._parts.store, self._parts.rules
        newest = newest_mtime(self._parts.settings)
        size = min(CLAIMS_AT_ONCE, max(4, self._slots)) if rules.batch is None else rules.batch

        def claimed(after: int) -> Sequence[Span]:
            return store.claim(
                after,
                size,
                lease_sec=LEASE_SEC,
                newest_mtime=newest,
                signature=self._left_alone,
            )

        def taken_over() -> Sequence[Span]:
            return store.take_over(
                lease_sec=LEASE_SEC, newest_mtime=newest, signature=self._left_alone
            )

        patiently = self._journal.patiently
        yield from self._work.jobs(lambda after: patiently(lambda: claimed(after)))
        while size and (taken := patiently(taken_over)):
            yield from self._work.jobs(once(taken))

    def _put_back(self, spans: Sequence[Span]) -> None:
        hashes, store = [span.span_hash for span in spans], self._parts.store
        self._journal.patiently(lambda: store.release(hashes))
        if self._parts.rules.verify:  # they aren't what was indexed: so their files aren't either
            self._journal.patiently(lambda: store.read_anew({span.path for span in spans}))

    def _start(self, job: Job, choice: Choice) -> None:
        """Send a job's next attempt on its way."""
        if self._overslept and not self._parts.store.owns(job.span.span_hash):
            self._leave_for_later(job, "is another run's by now")
            return
        prompt = self._work.prompt(job)
        attempt = job.state.offer()
        if prompt is None or attempt is None:
            self._leave_for_later(job, "has changed since it was indexed")
            return
        self._warm.pop(job.span.id, None)
        if choice.host_index is not None or choice.first_entry:
            index = attempt.host_index if choice.host_index is None else choice.host_index
            attempt = replace(attempt, host_index=index, first_entry=choice.first_entry)
        if not job.outcomes:
            self._tell(SpanStarted(job.span, attempt.tier))
        flight = Flight(job, attempt, choice, time.monotonic() + choice.timeout + GRACE_SEC)
        job.lane = choice.lane
        job.asked |= {choice.lane}
        self._flights.add(flight)
        self._traffic.enter(flight, choice.steps[0])
        self._workers.submit(partial(self._fly, flight, prompt))

    def _fly(self, flight: Flight, prompt: str) -> None:
        """Make one attempt; runs on a worker thread."""
        gate = CallGate(flight, self._inbox.put)
        try:
            outcome = make_attempt(
                self._parts.builder, flight.job.span, prompt, flight.attempt, gate, self._search
            )
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self._inbox.put(Crashed(flight, error))
        else:
            self._inbox.put(Landed(flight, outcome))

    # -- taking results --------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        match message:
            case Landed(flight=flight, outcome=outcome):
                self._land(flight, outcome)
            case Crashed(flight=flight, error=error):
                self._crash(flight, error)
            case Ticket():
                self._traffic.move_on(message)
            case Probed():
                self._traffic.probed(message)
            case StopAsked() if self._parts.stop.requests > 1:
                raise _HaltError
            case StopAsked():
                self._stop_taking()

    def _crash(self, flight: Flight, error: BaseException) -> None:
        """Raise what an attempt raised; a wrong setting only once what is in flight is stored."""
        self._flights.discard(flight)
        if not isinstance(error, LlmcError):
            raise error
        self._traffic.leave(flight)
        self._error = self._error or error
        self._stop_taking()

    def _land(self, flight: Flight, outcome: AttemptOutcome) -> None:
        """Apply an attempt's outcome to its span."""
        if flight not in self._flights:
            self._traffic.leave(flight)
            return  # it was given up as hung
        self._flights.discard(flight)
        following = self._follow(flight.job, outcome)  # before a hook is told: it may raise
        self._traffic.leave(flight)
        asked = flight.choice.lane if flight.asked is None else flight.asked
        host = self._traffic.name(asked)
        self._departures.count(flight.job.span, outcome)
        self._tell(AttemptFinished(flight.job.span, outcome, following, host))
        self._watch_load(outcome)

    def _watch_load(self, outcome: AttemptOutcome) -> None:
        """Warn of an idle GPU; attempts side by side don't make the time longer."""
        now = time.monotonic()
        seconds, self._watched_at = min(outcome.duration_sec, now - self._watched_at), now
        for warning in self._gpu.warnings(outcome.gpu, seconds):
            self._tell(Warned(warning))

    def _follow(self, job: Job, outcome: AttemptOutcome) -> Attempt | None:
        """Settle a job, or see to its next attempt, which is returned."""
        following = None
        job.outcomes.append(outcome)
        if not outcome.success:
            before = job.state.host_index
            job.state = job.state.after(outcome.failure_type or "runtime")
            following = job.state.offer()
            if job.state.host_index != before:
                job.been = job.asked
        if following is None:
            self._settle(job)
            return None
        self._warm[job.span.id] = job
        if following.wait and self._parts.settings.retry_wait > 0:
            due = time.monotonic() + self._parts.settings.retry_wait
            self._scheduler.add_later(job, due)
        else:
            self._scheduler.add(job)
        return following

    def _settle(self, job: Job) -> None:
        del self._open[job.span.id]
        report = self._report(job)
        self._journal.settle(report)
        if report.success:
            self._enriched += 1
        else:
            self._failed[report.last.failure_type or "runtime"] += 1

    def _leave_for_later(self, job: Job, why: str) -> None:
        place = f"{job.span.path}:{job.span.start_line}"
        self._tell(Warned(f"{place}: {why}; left for later"))
        self._give_up(job)
        self._put_back([job.span])

    def _give_up(self, job: Job) -> None:
        """Leave a span for a later run; what was tried goes on record."""
        del self._open[job.span.id]
        self._warm.pop(job.span.id, None)
        if job.outcomes:
            self._unfinished += 1
            if self._parts.rules.side_by_side:
                self._journal.leave(self._report(job))

    def _report(self, job: Job) -> SpanReport:
        settings, last = self._parts.settings, job.outcomes[-1]
        tier = last.attempt.tier
        if last.success:
            model = last.model or settings.model
            tier = routing.effective_tier(last.backend, model, tier)
        elif last.model is not None:
            model = last.model
        else:
            fallback = settings.fallback_model
            model = (fallback if fallback.strip() else settings.ollama_model) or ""
        return SpanReport(
            span=job.span,
            metrics=job.metrics,
            outcomes=tuple(job.outcomes),
            tier=tier,
            model=model,
            schema_version=settings.schema_version,
            wall_sec=time.monotonic() - job.started,
        )

    # -- the end ---------------------------------------------------------------------------------

    def _end(self) -> None:
        """Cut off what is in flight, store what came back; closing the store ends all claims."""
        try:
            if self._flights:
                self._cut_off()
            self._traffic.cut_off()
            self._workers.close()
            for job in list(self._open.values()):
                self._give_up(job)
            self._journal.commit(self._signature)
        except StoreError as error:
            lost = self._journal.unsaved
            text = f"{error}; {lost} results were not stored" if lost else str(error)
            if not (isinstance(error, LockedIndexError) and self._parts.stop.requests > 1):
                raise type(error)(text) from error
            self._stopped = text
        finally:
            self._journal.close()

    def _cut_off(self) -> None:
        """End the calls under way; one that has its reply already is stored."""
        self._parts.builder.cancel()
        self._traffic.cut_off()
        until = time.monotonic() + HALT_SEC
        while self._flights and (left := until - time.monotonic()) > 0:
            try:
                message = self._inbox.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(message, Ticket):
                message.refuse("the run was stopped")
            elif isinstance(message, Landed | Crashed) and message.flight in self._flights:
                self._flights.discard(message.flight)
                if isinstance(message, Landed):
                    job = message.flight.job
                    job.outcomes.append(message.outcome)
                    self._departures.count(job.span, message.outcome)
                    if message.outcome.success:
                        self._settle(job)


def signature(settings: Settings, lanes: Lanes) -> str:
    """Return what a failure depends on, as a short hash: models, prompt and schema.

    When one of them changes, a span that failed deserves another try.
    """
    parts = [lanes.models(), prompts.FINGERPRINT, reply.build_schema(), settings.schema_version]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _lanes(settings: Settings, rules: Rules) -> Lanes:
    if rules.side_by_side:
        return Lanes.of(settings)
    tries = max(1, settings.retries) * (CALL_TIMEOUT_SEC + settings.retry_wait)
    return Lanes.one(settings, max(tries, settings.gateway.timeout))


def _boot_time() -> float:
    """Return seconds of a clock that goes on while the machine sleeps, and never jumps if it can.

    Where the system has none (CLOCK_BOOTTIME is Linux's), the wall clock has to do: after a jump a
    run only asks whether its spans are still its own.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if clock is None else time.clock_gettime(clock)


def _hung(flight: Flight) -> AttemptOutcome:
    """Return the outcome of an attempt that overran all its deadlines."""
    seconds = flight.choice.timeout + GRACE_SEC
    return AttemptOutcome(
        attempt=flight.attempt,
        backend="unknown",
        duration_sec=seconds,
        failure_type="runtime",
        detail=f"the call did not come back within {seconds:g} s",
    )
