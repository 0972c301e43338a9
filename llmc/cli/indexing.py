"""`llmc index`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmc.cli.common import (
    common,
    complain,
    elsewhere_line,
    index_line,
    print_json,
    repository,
    say_skipped,
    warn,
)

if TYPE_CHECKING:
    from llmc.cli.common import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("index", help="cut the repository's files into spans")
    common(parser)
    parser.add_argument(
        "--force", action="store_true", help="read every file, also those that look unchanged"
    )
    parser.set_defaults(run=_index)


def _index(args: argparse.Namespace) -> int:
    from llmc import engine
    from llmc.settings.loading import load_settings
    from llmc.store.provenance import mark_sources

    settings = load_settings(repository(args.repo))
    report = engine.index(settings.repo, settings, hooks=(warn,), force=args.force)
    if args.json:
        print_json(
            mark_sources(
                {
                    "files": report.files,
                    "changed": report.changed,
                    "removed": report.removed,
                    "spans": report.spans,
                    "made_elsewhere": report.elsewhere,
                    "skipped": [{"path": path, "reason": why} for path, why in report.skipped],
                },
                {"skipped[].path": "repository", "skipped[].reason": "repository"},
            )
        )
    else:
        say_skipped(report, most=len(report.skipped))
        if report.elsewhere:
            complain(elsewhere_line(report.elsewhere))
        print(index_line(report, settings.index_path))
    return 0
