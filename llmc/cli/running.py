"""`llmc enrich` at work: a run, what is shown of it, and the exit status it comes to."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from contextlib import suppress

from rich.console import Console

from llmc import engine
from llmc.cli.common import print_json
from llmc.cli.printing import print_lines
from llmc.cli.streams import outlive
from llmc.errors import StoreError
from llmc.events import Destinations, Event, EventHook
from llmc.models import RunReport
from llmc.redaction.text import join_lines
from llmc.run import destinations
from llmc.run.selection import Selection
from llmc.run.stopping import Stop
from llmc.settings.config import Settings
from llmc.show.outcome import collect, record_run
from llmc.show.progress.display import RunDisplay, sum_up
from llmc.show.remains import Outlook, Remains
from llmc.store.reader import Reader


def run(args: argparse.Namespace, selection: Selection, screen: Console, elsewhere: int) -> int:
    """Enrich, show it while it goes on and what came of it; return the exit status."""
    failures: list[dict[str, object]] = []
    stop, remains = Stop(), Remains()
    settings = selection.settings
    with (
        outlive(stop.request),
        RunDisplay(screen, verbose=args.verbose) as display,
        stop.on_signals(),
    ):
        hooks: tuple[EventHook, ...] = (display, remains)
        if args.json:
            hooks = (_as_json, *hooks, collect(failures))
        elif args.quiet:
            hooks = (_in_words, *hooks)
        report = engine.enrich(settings.repo, settings, hooks=hooks, stop=stop)
    around = _look_around(settings, report)
    reasons = list(remains.explain(report, around))
    if args.json:
        where = destinations.make_record(selection.destinations)
        print_json(record_run(report, failures, where, elsewhere, reasons))
    else:
        print_lines(sum_up(report, reasons, around.next_retry))
    if report.interrupted:
        return 128 + (stop.signal or signal.SIGINT)
    if report.stopped:
        return 2
    return 1 if report.failed else 0


def _look_around(settings: Settings, report: RunReport) -> Outlook:
    """Ask the index what became of the spans that are left, if any are."""
    claimed, next_retry = 0, None
    if not (report.left or report.resting or report.failed):
        return Outlook(settings.pace.limit, settings.pace.cooldown)
    with suppress(StoreError), Reader.open_readonly(settings.index) as reader:
        claimed, next_retry = reader.counts.count_claimed(), reader.counts.find_next_retry()
    return Outlook(settings.pace.limit, settings.pace.cooldown, claimed, next_retry)


def _in_words(event: Event) -> None:
    """Say where code goes, for people who want to hear nothing else."""
    if isinstance(event, Destinations):
        for line in destinations.describe(event):
            print(join_lines(line), file=sys.stderr, flush=True)


def _as_json(event: Event) -> None:
    """Say where code goes, for programs, on a line of its own."""
    if isinstance(event, Destinations):
        print(json.dumps(destinations.make_record(event)), file=sys.stderr, flush=True)
