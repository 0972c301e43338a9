"""`llmc ledger check`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmc.cli.commands import Words, add_command, add_group
from llmc.cli.common import complain, find_repository, print_json

if TYPE_CHECKING:
    from llmc.cli.commands import Commands


_GROUP = Words(
    help="compare the logs of runs with the index",
    description="The account of all runs: logs/run_ledger.log and the metrics log.",
    examples=("llmc ledger check",),
    status="that of the command",
)
_WORDS = Words(
    help="say whether each result has its lines, and each line its result",
    description="Compare logs/run_ledger.log and the metrics log with the index. Rotated files "
    "beside them (NAME.1, NAME-20260131, also .gz) are read too.",
    examples=("llmc ledger check", "llmc ledger check --rebuild"),
    status="0 they agree, or do now; 1 lines are missing or results are lost; 2 "
    "could not run. Damaged lines, double passes, and passes whose result may be in another "
    "index of the repository, are only told.",
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    check = add_command(add_group(commands, "ledger", _GROUP), "check", _WORDS, _check)
    check.add_argument("--rebuild", action="store_true", help="write the missing lines")
    check.add_argument(
        "--log",
        metavar="FILE",
        help="the metrics log of runs that had --log; the usual one is read too, and a line that "
        "neither has goes to this one",
    )


def _check(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from llmc.records.audit import examine
    from llmc.records.rebuild import rebuild
    from llmc.settings.flags import Flags
    from llmc.settings.loading import load_settings
    from llmc.show.audit import record_audit, tell_audit
    from llmc.store.reader import Reader

    settings = load_settings(find_repository(args.repo), Flags(log=args.log))
    with Reader.open_readonly(replace(settings.index, tell=complain)) as reader:
        if args.rebuild:
            fields, logs = settings.router.policy.log_fields, settings.logs
            place = settings.repo, settings.metrics_log
            audit = rebuild(reader, *place, log_fields=fields, logs=logs)
        else:
            audit = examine(reader, settings.repo, settings.metrics_log, logs=settings.logs)
    if args.json:
        print_json(record_audit(audit))
    else:
        print(*tell_audit(audit), sep="\n")
    return 0 if audit.agrees else 1
