"""`llmc doctor`."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmc.cli.common import (
    common,
    console,
    gateway_flags,
    gateway_program,
    print_json,
    repository,
)
from llmc.cli.trust import allowed
from llmc.errors import ConfigError

if TYPE_CHECKING:
    from llmc.cli.common import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("doctor", help="say whether a run would work, and if not, why")
    common(parser)
    parser.set_defaults(run=_doctor)
    parser.epilog = (
        "exit status: 0 a run would work, 1 it would not, 2 the configuration cannot be read"
    )
    parser.add_argument("--backend", choices=("auto", "ollama", "gateway", "embedded"))
    parser.add_argument("--chain", metavar="NAME", help="the chain of llmc.toml to use")
    gateway_flags(parser)
    parser.add_argument("--no-trial", action="store_true", help="ask no model for a trial reply")
    parser.add_argument(
        "--trial-cloud",
        action="store_true",
        help="ask gateways for a trial reply too: it may cost money, and sends a small example",
    )


def _doctor(args: argparse.Namespace) -> int:
    from llmc.doctor import examination
    from llmc.settings.flags import Flags
    from llmc.settings.loading import load_settings
    from llmc.show.display import doctor_record, doctor_view

    trials = examination.Trials(local=not args.no_trial, cloud=args.trial_cloud)
    try:
        repo = repository(args.repo)
    except ConfigError:
        repo = Path(args.repo)
        if not repo.is_dir():
            raise
    flags = Flags(
        backend=args.backend,
        chain=args.chain,
        gateway_path=gateway_program(args.gateway_path, repo),
        gateway=args.gateway,
        gateway_env=tuple(args.gateway_env),
    )
    with suppress(ConfigError):  # which is a finding too
        allowed(load_settings(repo, flags), flags, as_json=args.json)
    with console(quiet=args.json).status("looking; a trial reply can take a minute or two"):
        report = examination.examine(repo, flags, trials=trials)
    if args.json:
        print_json(doctor_record(report))
    else:
        console(stderr=False).print(doctor_view(report))
    return report.exit_status
