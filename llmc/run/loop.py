"""One enrichment run, on the main thread: it plans, decides and writes; worker threads call.

Each turn of the loop: store and record what is settled, give free slots new work, take what the
workers sent. Storing comes first: a process that is killed loses no more replies than it has slots.

Nothing waits without an end; docs/reliability.md lists every wait with its bound.
"""

from __future__ import annotations

import queue
import time
from functools import partial

from llmc.errors import LlmcError, LockedIndexError, StoreError
from llmc.events import AttemptFinished, Event, RunFinished, RunStarted, SpanStarted, Stopping
from llmc.models import AttemptOutcome, RunReport
from llmc.run.flights import (
    GRACE_SEC,
    Crashed,
    Flight,
    Landed,
    Message,
    Probed,
    StopAsked,
    Ticket,
    aim,
    fly,
    give_up,
)
from llmc.run.gpu import LoadHook
from llmc.run.intake import Intake, sign
from llmc.run.job import Job
from llmc.run.lanes import Choice
from llmc.run.lease import RENEWAL_SEC, Lease
from llmc.run.parts import Parts
from llmc.run.patience import Patience
from llmc.run.report import Score, report_run
from llmc.run.scheduler import WANTS_SPAN, Scheduler, Start
from llmc.run.settlement import IN_WORK, Settlement
from llmc.run.slots import Slots
from llmc.run.spread import make_scheduler
from llmc.run.workers import Workers
from llmc.run.worklist import CHANGED
from llmc.run.writer import Writer

HALT_SEC = 0.6
"""How long calls that were cut off are waited for: a second stop ends a run within a second."""

PLANS_PER_TURN = 8
"""Spans planned before the workers' messages are looked at again."""


class _HaltError(Exception):
    """The run was asked to end now."""


class Run:
    """One enrichment run."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        settings = parts.settings
        lanes = parts.lay_lanes()
        self._width = max(1, sum(lane.slots for lane in lanes.lanes if lane.name))
        self._signature = sign(settings, lanes, parts.rules)
        self._score = Score()
        hooks = (self._score, *parts.hooks, LoadHook(self._tell))
        self._writer = Writer(parts.store, parts.ledger, hooks, stop=parts.stop)
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._scheduler: Scheduler[Job] = make_scheduler(lanes, parts.host_order, time.monotonic())
        self._slots = Slots(
            self._scheduler,
            rests=parts.rules.side_by_side,
            timeout=settings.health.timeout,
            network=settings.network,
            post=self._inbox.put,
            tell=self._tell,
        )
        self._workers = Workers()
        self._fly = partial(fly, parts.builder, settings.search, self._inbox.put)
        self._lease = Lease(parts, self._writer, self._signature)
        self._intake = Intake(parts, self._writer, self._lease, lanes)
        self._settlement = Settlement(
            parts, self._writer, self._score, self._intake, self._scheduler
        )
        self._patience = Patience(parts, self._scheduler, self._slots)
        self._flights: set[Flight] = set()
        self._stopping = self._behind = False
        self._error: LlmcError | None = None

    def run(self) -> RunReport:
        """Work until it is done, or somebody stops it. Raises StoreError, ConfigError."""
        started = time.monotonic()
        interrupted = False
        pending = self._writer.spans - self._writer.enrichments - self._lease.count_resting()
        self._writer.lay_in(self._width)
        try:
            self._tell(RunStarted(pending, self._parts.settings.pace.limit, self._slots.hosts))
            self._slots.begin(take_stock=self._parts.settings.health.enabled)
            self._parts.stop.listen(lambda: self._inbox.put(StopAsked()))
            while not self._writer.outlive(self._turn):
                pass
        except (KeyboardInterrupt, _HaltError):
            interrupted = True
            self._writer.hurry()
        finally:
            self._end()
        if self._error:
            raise self._error
        failed = self._score.failed.total()
        left, resting = self._writer.outlive(lambda: self._lease.count_rest(failed))
        if self._writer.error:
            self._score.stopped = str(self._writer.error)
        report = report_run(
            self._score,
            left=left,
            resting=resting,
            unsaved=self._writer.unsaved,
            wall_sec=time.monotonic() - started,
            interrupted=interrupted or self._parts.stop.requests > 0,
        )
        self._tell(RunFinished(report))
        return report

    def _tell(self, event: Event) -> None:
        self._writer.tell(event)

    # -- turn ------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Go round once; tell whether the run is over."""
        self._writer.commit(self._signature)
        if self._writer.error:
            self._stop_taking()
        self._fill()
        if self._is_over():
            return True
        self._receive(self._seconds_to_wait())
        self._keep_house()
        return False

    def _is_over(self) -> bool:
        is_clear = self._writer.is_clear and not self._flights
        return is_clear and (self._stopping or self._is_done())

    def _is_done(self) -> bool:
        return not self._intake.open and (
            self._intake.exhausted or self._score.is_at(self._parts.settings.pace.limit)
        )

    @property
    def _is_ending(self) -> bool:
        """Tell whether no call may start, also where a request to stop is yet to be taken."""
        return self._stopping or self._parts.stop.requests > 0

    def _stop_taking(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._parts.builder.hurry()
            self._tell(Stopping(len(self._flights)))

    def _seconds_to_wait(self) -> float:
        """Return how many seconds may pass before there is something to do by time alone."""
        if self._behind or not self._writer.is_clear:
            return 0.0
        times = (self._lease.due, self._scheduler.find_next_time(), self._patience.ends)
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

    def _take(self, message: Message) -> None:
        match message:
            case Landed(flight=flight, outcome=outcome):
                self._land(flight, outcome)
            case Crashed(flight=flight, error=error):
                self._crash(flight, error)
            case Ticket():
                self._slots.move_on(message)
            case Probed():
                self._slots.take_answer(message)
            case StopAsked() if self._parts.stop.is_urgent:
                raise _HaltError
            case StopAsked():
                self._stop_taking()

    def _keep_house(self) -> None:
        """Do what is due by time: renew claims, give up hung calls."""
        if self._lease.renew_in_time():
            self._writer.recount()
            now = time.monotonic()
            for flight in [flight for flight in self._flights if flight.overdue < now]:
                self._land(flight, give_up(flight))

    # -- fill ------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Give every free slot an attempt, as far as there are any."""
        self._scheduler.wake(time.monotonic())
        self._slots.admit()
        self._slots.look_after(self._workers)
        planned, self._behind = 0, False
        # Cascades between two hosts hold no slot; as many as there are slots may wait so.
        most = self._width + min(self._width, self._slots.moving)
        while len(self._flights) < most and not self._is_ending:
            found = self._scheduler.next(may_plan=self._may_plan())
            if isinstance(found, Start):
                self._start(*found)
            elif found is not WANTS_SPAN:
                break
            elif planned >= PLANS_PER_TURN:
                self._behind = True
                break
            else:
                planned += 1
                self._plan()
        self._intake.cool()
        for job in self._scheduler.take_shut():
            self._settlement.leave_shut(job)
            self._patience.leave()
        self._lose_patience()

    def _may_plan(self) -> bool:
        """Tell whether one more span may be opened; what waits in vain may have to make room."""
        under_way = len(self._intake.open)
        if self._intake.exhausted or self._score.is_at(self._parts.settings.pace.limit, under_way):
            return False
        if self._scheduler.has_room(under_way):
            return True
        job = self._scheduler.shed()
        if job:
            self._settlement.leave_resting(job)
        return job is not None

    def _plan(self) -> None:
        """Take one more span from the work list."""
        if self._intake.begun:
            self._pause(self._parts.rules.sleep)
        if not self._is_ending and (job := self._intake.take()):
            self._scheduler.add(job)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._receive(min(left, RENEWAL_SEC))
            self._keep_house()

    def _lose_patience(self) -> None:
        """End the run when there is work and nobody for it."""
        idle, flights = not (self._behind or self._scheduler.waits), len(self._flights)
        reason = self._patience.find_end(
            done=self._is_done(), idle=idle, opened=len(self._intake.open), in_flight=flights
        )
        if reason and not self._is_ending:
            self._score.stopped = reason
            self._stopping = True

    # -- start -----------------------------------------------------------------------------------

    def _start(self, job: Job, choice: Choice) -> None:
        """Send a job's next attempt on its way."""
        if not self._lease.holds(job.span):
            self._settlement.leave_for_later(job, "is another run's by now", IN_WORK)
            return
        prompt = self._intake.make_prompt(job, choice)
        attempt = job.state.offer()
        if prompt is None or attempt is None:
            self._settlement.leave_for_later(job, "has changed since it was indexed", CHANGED)
            return
        attempt = aim(attempt, choice)
        if not job.begun:
            job.begun = True
            self._tell(SpanStarted(job.span, attempt.tier))
        flight = Flight(job, attempt, choice, time.monotonic() + choice.timeout + GRACE_SEC)
        self._flights.add(flight)
        self._slots.enter(flight, choice.steps[0])
        self._workers.submit(partial(self._fly, flight, prompt))

    # -- land ------------------------------------------------------------------------------------

    def _land(self, flight: Flight, outcome: AttemptOutcome) -> None:
        """Apply an attempt's outcome to its span."""
        if flight not in self._flights:
            self._slots.leave(flight)
            return  # it was given up as hung
        self._flights.discard(flight)
        job = flight.job
        spared = self._slots.spares_span(flight, ending=self._is_ending)
        # Before a hook is told: it may raise.
        following = self._settlement.follow(job, outcome, spared=spared)
        self._slots.leave(flight)
        self._settlement.tell_what_left(job, outcome)
        self._tell(AttemptFinished(job.span, outcome, following, self._slots.name(flight)))

    def _crash(self, flight: Flight, error: BaseException) -> None:
        """Raise what an attempt raised; a wrong setting only once what is in flight is stored."""
        self._flights.discard(flight)
        if not isinstance(error, LlmcError):
            raise error
        self._slots.leave(flight)
        self._error = self._error or error
        self._stop_taking()

    # -- end -------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Cut off what is in flight, store what came back; closing the store ends all claims."""
        try:
            if self._flights:
                self._cut_off()
            self._slots.cut_off()
            self._workers.close()
            for job in list(self._intake.open.values()):
                self._settlement.give_up(job)
            self._writer.commit(self._signature)
        except StoreError as error:
            lost = self._writer.unsaved
            text = f"{error}; {lost} results were not stored" if lost else str(error)
            if not (isinstance(error, LockedIndexError) and self._parts.stop.is_urgent):
                raise type(error)(text) from error
            self._score.stopped = text
        finally:
            self._writer.close()

    def _cut_off(self) -> None:
        """End the calls under way; one that has its reply already is stored."""
        self._parts.builder.cancel()
        self._slots.cut_off()
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
                    self._settlement.take_late(message.flight.job, message.outcome)
