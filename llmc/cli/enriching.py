"""`llmc enrich`."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from llmc.cli.common import (
    attempts,
    common,
    complain,
    console,
    count,
    index_line,
    print_json,
    repository,
    say_skipped,
    slots,
    warn,
)
from llmc.cli.streams import outlived

if TYPE_CHECKING:
    from rich.console import Console

    from llmc.cli.common import Commands
    from llmc.config import Settings
    from llmc.events import Event, EventHook
    from llmc.models import RunReport
    from llmc.selection import Selection


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
    parser.add_argument("--gateway-path", metavar="PROGRAM", help="a program as the gateway")
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
    from llmc.config import Flags, load_settings
    from llmc.models import RunReport
    from llmc.progress import RunDisplay, run_summary
    from llmc.stopping import Stop

    flags = Flags(
        backend=args.backend,
        chain=args.chain,
        limit=args.limit,
        router=args.router,
        start_tier=args.start_tier,
        retries=args.retries,
        gateway_path=args.gateway_path,
        verbose=args.verbose,
        slots=args.slots,
        host_order=args.hosts,
        host_patience=args.wait_for_hosts,
        retry_failed=args.retry_failed,
    )
    settings = load_settings(repository(args.repo), flags)
    screen = console(quiet=args.quiet or args.json)
    for warning in settings.warnings:
        complain(warning)
    indexed = engine.index(settings.repo, settings, hooks=(warn,), mend=False)
    if not (args.quiet or args.json):
        say_skipped(indexed)
        line = f"index     {index_line(indexed, settings.index_path)}"
        screen.print(line, markup=False, soft_wrap=True)
    from llmc.selection import select, without_unasked_cloud

    if args.dry_run:
        return _dry_run(without_unasked_cloud(settings), as_json=args.json)
    if not indexed.spans:
        screen.print("nothing to enrich: no file here holds a span of a language llmc knows")
        if args.json:
            print_json(_run_record(RunReport(0, {}, 0, 0.0), []))
        return 0
    selection = select(settings)
    _announce(screen, selection)
    failures: list[dict[str, object]] = []
    stop = Stop()
    with (
        outlived(stop.request),
        RunDisplay(screen, verbose=args.verbose) as display,
        stop.on_signals(),
    ):
        hooks = (display, _collector(failures)) if args.json else (display,)
        report = engine.enrich(settings.repo, selection.settings, hooks=hooks, stop=stop)
    if args.json:
        print_json(_run_record(report, failures))
    else:
        console(stderr=False).print(run_summary(report), soft_wrap=True)
    if report.interrupted:
        return 128 + (stop.signal or signal.SIGINT)
    if report.stopped:
        return 2
    return 1 if report.failed else 0


def _announce(console: Console, selection: Selection) -> None:
    from llmc.text import unbroken

    for line in selection.lines:
        console.print(unbroken(line), markup=False, soft_wrap=True)


def _dry_run(settings: Settings, *, as_json: bool) -> int:
    from llmc import engine
    from llmc.text import plain, unbroken

    planned = engine.plan(settings.repo, settings)
    if as_json:
        print_json(
            [
                {"path": span.path, "symbol": span.symbol, "tier": tier, "prompt": prompt}
                for span, tier, prompt in planned
            ]
        )
        return 0
    for span, tier, prompt in planned:
        print(unbroken(f"--- {span.path}:{span.start_line} {span.symbol} ({tier})"))
        print(plain(prompt.replace("\r\n", "\n")))
    return 0


def _run_record(report: RunReport, failures: list[dict[str, object]]) -> dict[str, object]:
    return {
        "enriched": report.enriched,
        "failed": dict(report.failed),
        "left": report.left,
        "wall_sec": round(report.wall_sec, 3),
        "interrupted": report.interrupted,
        "unfinished": report.unfinished,
        "resting": report.resting,
        "stopped": report.stopped,
        "failures": failures,
    }


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
