"""`llmc enrich`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmc.cli.commands import (
    Words,
    add_backend_flags,
    add_command,
    read_attempts,
    read_limit,
    read_number,
    read_slots,
)
from llmc.cli.common import (
    complain,
    describe_elsewhere,
    describe_index,
    find_gateway_program,
    find_repository,
    open_console,
    print_json,
    say_skipped,
    warn,
)
from llmc.cli.trust import seek_trust

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from llmc.cli.commands import Commands
    from llmc.models import IndexReport
    from llmc.run.selection import Selection
    from llmc.settings.config import Settings
    from llmc.settings.flags import Flags

_WORDS = Words(
    help="have models describe spans (indexes first)",
    description="Bring the index up to date, then have models describe each span that has no "
    "description yet. What is stored stays: interrupt it when you like, and run it again to go on.",
    examples=(
        "llmc enrich --limit 5              try it on five spans",
        "llmc enrich --dry-run --limit 1    see what would be asked",
        "llmc enrich --backend embedded     without Ollama or a cloud",
        "llmc enrich --model qwen2.5-coder-0.5b  with a better model, from llmc model get",
        "llmc enrich --slots 4 --quiet      four requests at once to each host",
    ),
    status="0 done, 1 some spans failed, 2 could not run or go on, 130 interrupted, 143 ended by "
    "SIGTERM",
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "enrich", _WORDS, _enrich)
    parser.add_argument(
        "--limit",
        type=read_limit,
        default=0,
        metavar="N",
        help="stop after N spans that models described, 1 or more; what is written by rule doesn't "
        "count (default: go on until none is left)",
    )
    add_backend_flags(parser)
    _add_routing_flags(parser)
    _add_host_flags(parser)
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try spans that failed in earlier runs now, whatever their pause",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        dest="ask_all",
        help="ask models also about spans that need none, and about those written by rule before",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the prompts, and ask no model"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing but errors, where code goes, and the end"
    )
    parser.add_argument("--verbose", action="store_true", help="say every span, also on a terminal")


def _add_routing_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start-tier",
        choices=("auto", "7b", "14b", "nano"),
        help="the tier that spans begin at; auto: by size and nesting (default: auto; also: "
        "$ROUTER_DEFAULT_TIER)",
    )
    parser.add_argument(
        "--router",
        choices=("on", "off"),
        help="whether size and nesting of a span choose its tier; off: all begin at the start "
        "tier (default: on; also: $ROUTER_ENABLED)",
    )
    parser.add_argument(
        "--retries",
        type=read_attempts,
        default=3,
        metavar="N",
        help="attempts per span, 1 or more (default: 3); router/policy.json may set fewer",
    )


def _add_host_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--slots",
        type=read_slots,
        metavar="N",
        help="requests in flight per host, 1 or more; an entry's slots in llmc.toml wins "
        "(default: 1; also: $ENRICH_CONCURRENCY)",
    )
    parser.add_argument(
        "--hosts",
        choices=("spread", "failover"),
        help="spread: every host works, each on one model at a time (default); failover: each "
        "span begins at the first host, the others take what fails there",
    )
    parser.add_argument(
        "--wait-for-hosts",
        type=read_number,
        metavar="SECONDS",
        help="end when no host has answered for so long; 0: at once (default: 900)",
    )


def _enrich(args: argparse.Namespace) -> int:
    from llmc.cli.planning import print_plan
    from llmc.cli.running import run
    from llmc.run.selection import select
    from llmc.settings.loading import load_settings

    repo = find_repository(args.repo)
    flags = _settings_flags(args, repo)
    settings = load_settings(repo, flags)
    if not args.dry_run:
        settings = seek_trust(settings, flags, as_json=args.json)
    for warning in settings.sources.warnings:
        complain(warning)
    screen = open_console(quiet=args.quiet or args.json)
    indexed = _index(settings, screen)
    if args.dry_run:
        return print_plan(settings, as_json=args.json)
    if not indexed.spans:
        return _end_empty(indexed, screen, as_json=args.json)
    selection = select(settings)
    _announce(screen, selection)
    if args.quiet or args.json:
        _insist(indexed, selection.settings, as_json=args.json)
    return run(args, selection, screen, indexed.elsewhere)


def _settings_flags(args: argparse.Namespace, repo: Path) -> Flags:
    from llmc.settings.flags import Flags

    return Flags(
        backend=args.backend,
        chain=args.chain,
        in_process=args.in_process,
        proxy=args.proxy,
        limit=args.limit,
        router=args.router,
        start_tier=args.start_tier,
        retries=args.retries,
        gateway_path=find_gateway_program(args.gateway_path, repo),
        gateway=args.gateway,
        gateway_env=tuple(args.gateway_env),
        verbose=args.verbose,
        slots=args.slots,
        host_order=args.hosts,
        host_patience=args.wait_for_hosts,
        retry_failed=args.retry_failed,
        ask_all=args.ask_all,
    )


def _index(settings: Settings, screen: Console) -> IndexReport:
    """Bring the index up to date, and show what became of it."""
    from llmc import engine

    indexed = engine.index(settings.repo, settings, hooks=(warn,), mend=False)
    if not screen.quiet:
        say_skipped(indexed)
        _show(screen, f"index     {describe_index(indexed, settings.index_path)}")
        if indexed.elsewhere:
            _show(screen, f"origin    {describe_elsewhere(indexed.elsewhere)}")
    return indexed


def _end_empty(indexed: IndexReport, screen: Console, *, as_json: bool) -> int:
    """Say that there is nothing to do."""
    from llmc.events import Destinations
    from llmc.models import RunReport
    from llmc.run import destinations
    from llmc.show.outcome import record_run

    nothing = "nothing to enrich: no file here holds a span of a language llmc knows"
    screen.print(nothing, markup=False, soft_wrap=True)
    if as_json:
        nowhere = destinations.make_record(Destinations())
        print_json(record_run(RunReport(0, {}, 0, 0.0), [], nowhere, indexed.elsewhere))
    return 0


def _announce(screen: Console, selection: Selection) -> None:
    for line in selection.lines:
        _show(screen, line)


def _show(screen: Console, line: str) -> None:
    from llmc.cli.printing import print_labelled

    print_labelled(screen, line)


def _insist(indexed: IndexReport, settings: Settings, *, as_json: bool) -> None:
    """Say what must be known however quiet a run is to be; its JSON has the first of it."""
    if indexed.elsewhere and not as_json:
        complain(describe_elsewhere(indexed.elsewhere))
    for sentence in settings.sources.passed_over:
        complain(sentence)
