"""`llmc enrich`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmc.cli.common import (
    attempts,
    common,
    complain,
    console,
    count,
    elsewhere_line,
    gateway_flags,
    gateway_program,
    index_line,
    print_json,
    repository,
    say_skipped,
    slots,
    warn,
)
from llmc.cli.streams import outlived
from llmc.cli.trust import allowed

if TYPE_CHECKING:
    from rich.console import Console

    from llmc.cli.common import Commands
    from llmc.events import Event, EventHook
    from llmc.models import IndexReport, RunReport
    from llmc.run.selection import Selection
    from llmc.settings.config import Settings
    from llmc.settings.flags import Flags


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("enrich", help="have models describe spans (indexes first)")
    common(parser)
    _flags(parser)
    parser.set_defaults(run=_enrich)


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=count, default=0, metavar="N", help="stop after N enriched spans"
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "ollama", "gateway", "embedded"),
        help="auto: the configured chain, else Ollama, else the embedded model",
    )
    parser.add_argument("--chain", metavar="NAME", help="the chain of llmc.toml to use")
    parser.add_argument("--start-tier", choices=("auto", "7b", "14b", "nano"))
    parser.add_argument("--router", choices=("on", "off"))
    parser.add_argument(
        "--retries", type=attempts, default=3, metavar="N", help="attempts per span (default 3)"
    )
    gateway_flags(parser)
    parser.add_argument(
        "--slots",
        type=slots,
        metavar="N",
        help="requests in flight per host; an entry's slots in llmc.toml wins (default 1)",
    )
    parser.add_argument(
        "--hosts",
        choices=("spread", "failover"),
        help="spread: every host works, each on one model at a time (default); failover: each "
        "span begins at the first host, the others take what fails there",
    )
    parser.add_argument(
        "--wait-for-hosts",
        type=count,
        metavar="SECONDS",
        help="end when no host has answered for so long (default 900)",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try spans that failed in earlier runs now, whatever their pause",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the prompts, call nothing")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors and the end")
    parser.add_argument("--verbose", action="store_true", help="say every span")


def _enrich(args: argparse.Namespace) -> int:
    from llmc import engine
    from llmc.events import Destinations
    from llmc.models import RunReport
    from llmc.run import destinations
    from llmc.run.selection import select, without_unasked_cloud
    from llmc.run.stopping import Stop
    from llmc.settings.loading import load_settings
    from llmc.show.progress.display import RunDisplay, run_summary

    repo = repository(args.repo)
    flags = _settings_flags(args, repo)
    settings = load_settings(repo, flags)
    if not args.dry_run:
        settings = allowed(settings, flags, as_json=args.json)
    screen = console(quiet=args.quiet or args.json)
    for warning in settings.warnings:
        complain(warning)
    indexed = engine.index(settings.repo, settings, hooks=(warn,), mend=False)
    if not (args.quiet or args.json):
        say_skipped(indexed)
        line = f"index     {index_line(indexed, settings.index_path)}"
        screen.print(line, markup=False, soft_wrap=True)
        if indexed.elsewhere:
            text = f"origin    {elsewhere_line(indexed.elsewhere)}"
            screen.print(text, markup=False, soft_wrap=True)
    if args.dry_run:
        return _dry_run(without_unasked_cloud(settings), as_json=args.json)
    if not indexed.spans:
        screen.print("nothing to enrich: no file here holds a span of a language llmc knows")
        if args.json:
            nowhere = destinations.as_record(Destinations())
            print_json(_run_record(RunReport(0, {}, 0, 0.0), [], nowhere, indexed.elsewhere))
        return 0
    selection = select(settings)
    _announce(screen, selection)
    if args.quiet or args.json:
        _insist(indexed, selection.settings, as_json=args.json)
    failures: list[dict[str, object]] = []
    stop = Stop()
    with (
        outlived(stop.request),
        RunDisplay(screen, verbose=args.verbose) as display,
        stop.on_signals(),
    ):
        hooks: tuple[EventHook, ...] = (display,)
        if args.json:
            hooks = (_as_json, display, _collector(failures))
        elif args.quiet:
            hooks = (_in_words, display)
        report = engine.enrich(settings.repo, selection.settings, hooks=hooks, stop=stop)
    if args.json:
        where = destinations.as_record(selection.destinations)
        print_json(_run_record(report, failures, where, indexed.elsewhere))
    else:
        console(stderr=False).print(run_summary(report), soft_wrap=True)
    if report.interrupted:
        return 128 + (stop.signal or signal.SIGINT)
    if report.stopped:
        return 2
    return 1 if report.failed else 0


def _settings_flags(args: argparse.Namespace, repo: Path) -> Flags:
    from llmc.settings.flags import Flags

    return Flags(
        backend=args.backend,
        chain=args.chain,
        limit=args.limit,
        router=args.router,
        start_tier=args.start_tier,
        retries=args.retries,
        gateway_path=gateway_program(args.gateway_path, repo),
        gateway=args.gateway,
        gateway_env=tuple(args.gateway_env),
        verbose=args.verbose,
        slots=args.slots,
        host_order=args.hosts,
        host_patience=args.wait_for_hosts,
        retry_failed=args.retry_failed,
    )


def _announce(console: Console, selection: Selection) -> None:
    from llmc.redaction.text import join_lines

    for line in selection.lines:
        console.print(join_lines(line), markup=False, soft_wrap=True)


def _insist(indexed: IndexReport, settings: Settings, *, as_json: bool) -> None:
    """Say what must be known however quiet a run is to be; its JSON has the first of it."""
    if indexed.elsewhere and not as_json:
        complain(elsewhere_line(indexed.elsewhere))
    for sentence in settings.sources.passed_over:
        complain(sentence)


def _in_words(event: Event) -> None:
    """Say where code goes, for people who want to hear nothing else."""
    from llmc.events import Destinations
    from llmc.redaction.text import join_lines
    from llmc.run.destinations import describe

    if isinstance(event, Destinations):
        for line in describe(event):
            print(join_lines(line), file=sys.stderr, flush=True)


def _as_json(event: Event) -> None:
    """Say where code goes, for programs, on a line of its own."""
    from llmc.events import Destinations
    from llmc.run.destinations import as_record

    if isinstance(event, Destinations):
        print(json.dumps(as_record(event)), file=sys.stderr, flush=True)


def _dry_run(settings: Settings, *, as_json: bool) -> int:
    from llmc import engine
    from llmc.redaction.text import join_lines, make_plain
    from llmc.store.provenance import Source, mark_sources

    planned = engine.plan(settings.repo, settings)
    if as_json:
        words: dict[str, Source] = {
            "path": "repository",
            "symbol": "repository",
            "prompt": "repository",
        }
        print_json(
            [
                mark_sources(
                    {"path": span.path, "symbol": span.symbol, "tier": tier, "prompt": prompt},
                    words,
                )
                for span, tier, prompt in planned
            ]
        )
        return 0
    for span, tier, prompt in planned:
        print(join_lines(f"--- {span.path}:{span.start_line} {span.symbol} ({tier})"))
        print(make_plain(prompt.replace("\r\n", "\n")))
    return 0


def _run_record(
    report: RunReport,
    failures: list[dict[str, object]],
    where: dict[str, object],
    elsewhere: int,
) -> dict[str, object]:
    from llmc.store.provenance import mark_sources

    record = {
        "destinations": where,
        "enriched": report.enriched,
        "failed": dict(report.failed),
        "left": report.left,
        "wall_sec": round(report.wall_sec, 3),
        "interrupted": report.interrupted,
        "unfinished": report.unfinished,
        "resting": report.resting,
        "stopped": report.stopped,
        "sent": dict(report.sent),
        "secrets_blotted": report.blotted,
        "prompts_blotted": report.blotted_prompts,
        "kept_here": report.kept,
        "made_elsewhere": elsewhere,
        "failures": failures,
    }
    return mark_sources(
        record,
        {
            "stopped": "host",
            "failures[].path": "repository",
            "failures[].symbol": "repository",
            "failures[].detail": "host",
        },
    )


def _collector(failures: list[dict[str, object]]) -> EventHook:
    from llmc.events import SpanFailed

    def collect(event: Event) -> None:
        if isinstance(event, SpanFailed):
            span, last = event.report.span, event.report.last
            failures.append(
                {
                    "path": span.path,
                    "lines": [span.start_line, span.end_line],
                    "symbol": span.symbol,
                    "reason": last.failure_type,
                    "detail": last.detail,
                }
            )

    return collect
