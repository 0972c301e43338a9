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

MOST_SPARED = 3
"""Rests of 1, 2 and 4 s have passed by then: enough for a server that is started again."""


IN_WORK = "in work in another run"
"""Why a span is left, as `SpanLeft.why`."""


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

    def follow(self, job: Job, outcome: AttemptOutcome, *, spared: bool) -> Attempt | None:
        """Settle a job, or see to its next attempt, which is returned.

        `spared`: should it have failed, it was for no reason of the span's.
        """
        if spared and not outcome.success:
            return self._spare(job)
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

    def leave_shut(self, job: Job) -> None:
        """Give a span back whose tier has only hosts that turn everything away, as was said."""
        left = f"at tier {job.tier}, whose hosts take no more requests"
        self.leave_for_later(job, "", left, read_anew=False)

    def leave_resting(self, job: Job) -> None:
        """Give a span back to make room for work whose hosts don't rest."""
        tier = f"tier {job.tier}, whose hosts all rest"
        self.leave_for_later(job, f"needs {tier}", f"at {tier}")

    def leave_for_later(self, job: Job, why: str, left: str, *, read_anew: bool = True) -> None:
        """Give a span back that can't be asked about now; say why, unless that was said of all.

        `left` is `SpanLeft.why`. `read_anew`: its file may have changed.
        """
        if why:
            place = f"{job.span.path}:{job.span.start_line}"
            self._writer.tell(Warned(f"{place}: {why}; left for later"))
        self._writer.tell(SpanLeft(job.span, left))
        self.give_up(job)
        self._intake.put_back([job.span], read_anew=read_anew)

    def give_up(self, job: Job) -> None:
        """Leave a span for a later run; what was tried goes on record."""
        self._close(job)
        if job.outcomes:
            self._score.unfinished += 1
            if self._is_recorded:
                self._writer.leave(report_span(job, self._settings, time.monotonic()))

    def _spare(self, job: Job) -> Attempt | None:
        """Have an attempt made again that failed for no reason of the span's; return it.

        Nothing is charged to the span. It is left for later if it was spared too often: should it
        be what brings the host down, others shall have their turn.
        """
        job.spared += 1
        if job.spared > MOST_SPARED:
            self.leave_for_later(
                job,
                f"nobody answered {job.spared} times",
                "whose requests nobody answered",
                read_anew=False,
            )
            return None
        self._intake.keep_warm(job)
        self._scheduler.add(job)
        return job.state.offer()

    def _settle(self, job: Job) -> None:
        self._close(job)
        report = report_span(job, self._settings, time.monotonic())
        self._writer.settle(report)
        self._score.settle(report)

    def _close(self, job: Job) -> None:
        self._intake.close(job)
        self._scheduler.forget(job)
