"""What becomes of a span after each attempt: the next one, an end, or a later run."""

from __future__ import annotations

import time

from llmc.events import PromptLeft, SpanLeft, Warned
from llmc.models import Attempt, AttemptOutcome
from llmc.run.intake import Intake
from llmc.run.job import Job
from llmc.run.parts import Parts
from llmc.run.report import Score, report_span
from llmc.run.scheduler import Scheduler
from llmc.run.writer import Writer


class Settlement:
    """Takes outcomes and closes spans; routing says what follows, the writer gets what is due."""

    def __init__(
        self,
        parts: Parts,
        writer: Writer,
        score: Score,
        intake: Intake,
        scheduler: Scheduler[Job],
    ) -> None:
        self._settings = parts.settings
        self._is_recorded = parts.rules.side_by_side
        self._writer = writer
        self._score = score
        self._intake = intake
        self._scheduler = scheduler

    def follow(self, job: Job, outcome: AttemptOutcome) -> Attempt | None:
        """Settle a job, or see to its next attempt, which is returned."""
        following = None
        job.outcomes.append(outcome)
        if not outcome.success:
            job.state = job.state.after(outcome.failure_type or "runtime")
            following = job.state.offer()
        if following is None:
            self._settle(job)
            return None
        self._intake.keep_warm(job)
        retry_wait = self._settings.pace.retry_wait
        if following.wait and retry_wait > 0:
            self._scheduler.add_later(job, time.monotonic() + retry_wait)
        else:
            self._scheduler.add(job)
        return following

    def take_late(self, job: Job, outcome: AttemptOutcome) -> None:
        """Take what a call that was cut off has brought: nothing follows a failure now."""
        job.outcomes.append(outcome)
        self.tell_what_left(job, outcome)
        if outcome.success:
            self._settle(job)

    def tell_what_left(self, job: Job, outcome: AttemptOutcome) -> None:
        """Tell which prompts an attempt sent beyond this machine."""
        for departure in outcome.departures:
            self._writer.tell(PromptLeft(job.span, departure))

    def leave_for_later(self, job: Job, why: str, left: str) -> None:
        """Give a span back that can't be asked about now; `left` is `SpanLeft.why`."""
        place = f"{job.span.path}:{job.span.start_line}"
        self._writer.tell(Warned(f"{place}: {why}; left for later"))
        self._writer.tell(SpanLeft(job.span, left))
        self.give_up(job)
        self._intake.put_back([job.span])

    def give_up(self, job: Job) -> None:
        """Leave a span for a later run; what was tried goes on record."""
        self._close(job)
        if job.outcomes:
            self._score.unfinished += 1
            if self._is_recorded:
                self._writer.leave(report_span(job, self._settings, time.monotonic()))

    def _settle(self, job: Job) -> None:
        self._close(job)
        report = report_span(job, self._settings, time.monotonic())
        self._writer.settle(report)
        self._score.settle(report)

    def _close(self, job: Job) -> None:
        self._intake.close(job)
        self._scheduler.forget(job)
