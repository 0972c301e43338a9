"""`llmc doctor`."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from llmc.cli.commands import Words, add_backend_flags, add_command
from llmc.cli.common import (
    find_gateway_program,
    find_repository,
    open_console,
    print_json,
)
from llmc.cli.trust import seek_trust
from llmc.errors import ConfigError

if TYPE_CHECKING:
    from llmc.cli.commands import Commands


_WORDS = Words(
    help="say whether a run would work, and if not, why",
    description="Look at the settings, the hosts and models that a run would use, git, the index "
    "and the logs; ask each local model for a reply about a small example. Nothing is changed, and "
    "nothing of the repository is sent anywhere.",
    examples=("llmc doctor", "llmc doctor --no-trial", "llmc doctor --backend gateway"),
    status="0 nothing is in the way of a run; 1 it would not work; 2 the configuration cannot be "
    "read",
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "doctor", _WORDS, _doctor)
    add_backend_flags(parser)
    parser.add_argument(
        "--no-trial", action="store_true", help="ask no model for a reply: nothing is loaded"
    )
    parser.add_argument(
        "--trial-cloud",
        action="store_true",
        help="ask gateways for a trial reply too: it may cost money, and sends a small example",
    )


def _doctor(args: argparse.Namespace) -> int:
    from llmc.cli.printing import print_view
    from llmc.doctor import examination
    from llmc.settings.flags import Flags
    from llmc.settings.loading import load_settings
    from llmc.show.display import record_report, view_report

    trials = examination.Trials(local=not args.no_trial, cloud=args.trial_cloud)
    try:
        repo = find_repository(args.repo)
    except ConfigError:
        repo = Path(args.repo)
        if not repo.is_dir():
            raise
    flags = Flags(
        backend=args.backend,
        chain=args.chain,
        in_process=args.in_process,
        proxy=args.proxy,
        gateway_path=find_gateway_program(args.gateway_path, repo),
        gateway=args.gateway,
        gateway_env=tuple(args.gateway_env),
    )
    try:
        settings = seek_trust(load_settings(repo, flags), flags, as_json=args.json)
    except ConfigError as error:  # which is a finding too
        report = examination.explain_unreadable(repo, error)
    else:
        with _waiting(quiet=args.json):
            report = examination.examine(repo, flags, trials=trials, settings=settings)
    if args.json:
        print_json(record_report(report))
    else:
        print_view(view_report(report))
    return report.exit_status


def _waiting(*, quiet: bool) -> AbstractContextManager[object]:
    """Return what shows on a terminal that something goes on."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    return open_console().status("looking; a trial reply can take a minute or two")
