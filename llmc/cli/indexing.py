"""`llmc index`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmc.cli.commands import Words, add_command
from llmc.cli.common import (
    complain,
    describe_elsewhere,
    describe_index,
    find_repository,
    print_json,
    say_skipped,
    warn,
)

if TYPE_CHECKING:
    from llmc.cli.commands import Commands


_WORDS = Words(
    help="cut the repository's files into spans",
    description="Read the files that git lists and that no rule leaves out (.gitignore, "
    ".ragignore, $LLMC_RAG_EXCLUDE), as far as they have changed, and note their functions, "
    "classes and sections. No model is asked.",
    examples=("llmc index", "llmc index ~/src/project --json"),
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "index", _WORDS, _index)
    parser.add_argument(
        "--force", action="store_true", help="read every file, also those that look unchanged"
    )


def _index(args: argparse.Namespace) -> int:
    from llmc import engine
    from llmc.settings.loading import load_settings
    from llmc.store.provenance import mark_sources

    settings = load_settings(find_repository(args.repo))
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
            complain(describe_elsewhere(report.elsewhere))
        print(describe_index(report, settings.index_path))
    return 0
