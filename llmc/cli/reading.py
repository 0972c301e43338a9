"""`llmc status` and `llmc show`."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmc.cli.common import (
    common,
    console,
    count,
    index_place,
    own_seal,
    print_json,
    repository,
)
from llmc.errors import StoreError

if TYPE_CHECKING:
    from llmc.cli.common import Commands


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    status = commands.add_parser("status", help="say what is indexed, enriched, pending, failed")
    common(status)
    status.set_defaults(run=_status)

    show = commands.add_parser("show", help="print spans with their enrichments")
    show.add_argument("path", nargs="?", metavar="PATH[:LINE]", help="a file, or a line of it")
    show.add_argument("--repo", default=".", help="the repository (default: the one you are in)")
    show.add_argument(
        "--last", type=count, metavar="N", help="the N spans enriched last (default without PATH)"
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    show.add_argument(
        "--all-origins",
        action="store_true",
        help="with --json, also text that was made elsewhere and that nobody adopted",
    )
    show.set_defaults(run=_show)


def _status(args: argparse.Namespace) -> int:
    from llmc.show.display import status_record, status_view
    from llmc.store.store import Store

    with Store.open_readonly(index_place(args.repo), seal=own_seal()) as store:
        totals = store.counts.count_all()
    if args.json:
        print_json(status_record(totals))
    else:
        console(stderr=False).print(status_view(totals))
    return 0


def _show(args: argparse.Namespace) -> int:
    from llmc.show.display import result_record, results_view
    from llmc.store.store import Store

    repo = repository(args.repo)
    with Store.open_readonly(index_place(args.repo), seal=own_seal()) as store:
        if args.path:
            path, line = _place(args.path, repo)
            if path not in store.spans.list_files():
                raise StoreError(f"{path!r} is not in the index; llmc index brings it up to date")
            results = store.results.find(path, line)
        else:
            results = store.results.list_latest(args.last or 5)
    if args.json:
        print_json([result_record(result, withhold=not args.all_origins) for result in results])
    elif results:
        console(stderr=False).print(results_view(results))
    else:
        print("no span there" if args.path else "nothing is enriched yet; run: llmc enrich")
    return 0


def _place(text: str, repo: Path) -> tuple[str, int | None]:
    """Split PATH[:LINE]; the path may be relative to here or to the repository."""
    name, colon, number = text.rpartition(":")
    path, line = (name, int(number[:9])) if colon and number.isdecimal() else (text, None)
    with suppress(OSError, RuntimeError):  # no file can be there: a loop of links, too long a name
        here = Path(path).parent.resolve() / Path(path).name
        if here.exists() and here.is_relative_to(repo):
            return here.relative_to(repo).as_posix(), line
    return Path(os.path.normpath(path)).as_posix(), line
