"""The spans that a run has open: claimed a few at a time, planned, and in the end closed.

Planned are the pending spans of the index first, then those that dead runs had claimed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial

from llmc.enrichment import asking, prompts, reply
from llmc.models import Span, SpanReport
from llmc.run.callees import Callees
from llmc.run.job import Job
from llmc.run.lanes import Choice, Lanes
from llmc.run.lease import Lease
from llmc.run.parts import Parts
from llmc.run.worklist import Rules, WorkList, give_once
from llmc.run.writer import Writer
from llmc.settings.config import Settings

CLAIMS_AT_ONCE = 32


class Intake:
    """Takes spans from the work list as they are wanted; `open` are those not settled yet.

    `begun` counts all that were taken, `exhausted` tells that there are no more. Of an open span
    the prompt is kept only while it is likely to be sent soon: between `keep_warm` and `cool`.
    """

    def __init__(
        self,
        parts: Parts,
        writer: Writer,
        lease: Lease,
        lanes: Lanes,
    ) -> None:
        store, rules = parts.store, parts.rules
        self._store = store
        self._rules = rules
        self._writer = writer
        self._lease = lease
        slots = max(1, sum(lane.slots for lane in lanes.lanes if lane.name))
        self._callees = Callees(parts.settings, store, lanes) if rules.by_facts else None
        self._work = WorkList(
            *(parts.settings, store, rules, (writer.tell,)),
            *(self.put_back, parts.examples, self._callees),
        )
        if self._callees and self._callees.wanted:
            slots = CLAIMS_AT_ONCE  # so many are put in order
        size = min(CLAIMS_AT_ONCE, max(4, slots)) if rules.batch is None else rules.batch
        self._fresh = self._planned(size)
        self._warm: dict[int, Job] = {}
        self.open: dict[int, Job] = {}
        self.exhausted = False
        self.begun = 0

    def _planned(self, size: int) -> Iterator[Job | SpanReport]:
        yield from self._work.make_jobs(partial(self._lease.claim, size=size))
        while size and (taken := self._lease.take_over()):
            yield from self._work.make_jobs(give_once(taken))

    def take(self) -> Job | None:
        """Open one more span; None if there is none left, or if the next one is written by rule."""
        job = next(self._fresh, None)
        if job is None:
            self.exhausted = True
            return None
        if isinstance(job, SpanReport):
            self._writer.settle(job)
            return None
        self.begun += 1
        self.open[job.span.id] = self._warm[job.span.id] = job
        return job

    def make_prompt(self, job: Job, choice: Choice) -> prompts.Prompt | None:
        """Return a job's prompt, which leaves with a request; None if its text has changed."""
        prompt = self._work.make_prompt(job)
        if prompt is not None:
            self._warm.pop(job.span.id, None)
            if self._callees:
                prompt = self._callees.tell(job.span, prompt, choice)
        return prompt

    def keep_warm(self, job: Job) -> None:
        """Have a job's prompt kept until it is `cool`ed: its next attempt may begin at once."""
        self._warm[job.span.id] = job

    def cool(self) -> None:
        """Drop the prompts of the jobs that were put by, unless the driver's order has few open."""
        if self._rules.side_by_side:
            for job in self._warm.values():
                self._work.put_by(job)
        self._warm.clear()

    def close(self, job: Job) -> None:
        """Take a span out, settled or not."""
        del self.open[job.span.id]
        self._warm.pop(job.span.id, None)

    def put_back(self, spans: Sequence[Span], *, read_anew: bool = True) -> None:
        """Give spans back that this run does nothing about."""
        self._lease.release(spans)
        # They aren't what was indexed: so their files aren't either.
        if read_anew and self._rules.verify:
            paths = {span.path for span in spans}
            self._writer.write_patiently(lambda: self._store.spans.read_anew(paths))


def sign(settings: Settings, lanes: Lanes, rules: Rules) -> str:
    """Return what a failure depends on, as a short hash: models, prompt and schema.

    When one of them changes, a span that failed deserves another try.
    """
    parts = [
        lanes.models(),
        asking.FINGERPRINT if rules.by_facts else [prompts.FINGERPRINT, reply.build_schema()],
        settings.labels.schema_version,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
