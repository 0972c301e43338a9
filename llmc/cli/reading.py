"""`llmc status` and `llmc show`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmc.cli.commands import Words, add_command, read_number
from llmc.cli.common import complain, find_repository, load_seal, locate_index, print_json
from llmc.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmc.cli.commands import Commands
    from llmc.show.places import Place
    from llmc.store.results import StoredResult
    from llmc.store.store import Store

LAST = 5
"""So many spans are shown where nothing else is asked for."""

_STATUS = Words(
    help="say what is indexed, enriched, pending, failed",
    description="Count what the index holds: files and spans by language, enrichments by model, "
    "failed spans by what went wrong, tokens.",
    examples=("llmc status", "llmc status ~/src/project --json"),
)
_SHOW = Words(
    help="print spans with their enrichments",
    description="Print the spans of a file, or those at a line or at some lines of it, with what "
    "models said of them; without PATH, the spans that were enriched last.",
    examples=(
        "llmc show src/a.py          all spans of a file",
        "llmc show src/a.py:12       those at line 12",
        "llmc show src/a.py:12-40    those at any of these lines",
        "llmc show --last 3          the three that were enriched last",
    ),
)


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    add_command(commands, "status", _STATUS, _status)
    show = add_command(commands, "show", _SHOW, _show, repo=False)
    show.add_argument(
        "path",
        nargs="?",
        metavar="PATH[:LINE[-LINE]]",
        help="a file, a line of it, or its lines from one to another",
    )
    show.add_argument(
        "--repo",
        default=".",
        metavar="REPO",
        help="a git repository, or a folder in it (default: where you are)",
    )
    show.add_argument(
        "--last",
        type=_read_last,
        metavar="N",
        help=f"the N spans that were enriched last, 1 or more (default: {LAST}); not with PATH",
    )
    show.add_argument(
        "--all-origins",
        action="store_true",
        help="with --json, also text that was made elsewhere and that nobody adopted",
    )


def _read_last(text: str) -> int:
    return read_number(text, 1)


def _status(args: argparse.Namespace) -> int:
    from llmc.cli.printing import print_view
    from llmc.show.display import record_status, view_status
    from llmc.store.reader import Reader
    from llmc.store.remembered import recall_totals

    place = locate_index(args.repo)
    with Reader.open_readonly(place, seal=load_seal()) as reader:
        totals = recall_totals(place, reader)
    if args.json:
        print_json(record_status(totals))
    else:
        print_view(view_status(totals))
    return 0


def _show(args: argparse.Namespace) -> int:
    from llmc.cli.printing import print_view
    from llmc.show.display import record_result, view_results
    from llmc.show.places import parse_place
    from llmc.store.store import Store

    if args.path is not None and args.last is not None:
        raise ConfigError("--last is for the whole repository: leave it out, or PATH")
    repo = find_repository(args.repo)
    place = None if args.path is None else parse_place(args.path, repo)
    with Store.open_readonly(locate_index(args.repo), seal=load_seal()) as store:
        results = (
            find_place(store, place, repo)
            if place
            else store.results.list_latest(args.last or LAST)
        )
    if args.json:
        print_json([record_result(result, withhold=not args.all_origins) for result in results])
    elif results:
        print_view(view_results(results))
    else:
        print(tell_nothing(place))
    return 0


def find_place(store: Store, place: Place, repo: Path) -> list[StoredResult]:
    """Return the spans of a place. Raises StoreError that says why its file is not in the index."""
    from llmc.show.change import tell_change
    from llmc.show.places import find_spans

    results = find_spans(store, place)
    if results:
        state = store.spans.find_file(results[0].span)
    else:
        files = store.spans.list_files()
        if place.path not in files:
            raise StoreError(
                f"{place.path!r} is not in the index: {_explain_absence(place, repo, files)}"
            )
        state = files[place.path]
    if change := tell_change(place.path, repo, state):
        complain(change)
    return results


def _explain_absence(place: Place, repo: Path, indexed: Iterable[str]) -> str:
    from llmc.settings.loading import load_settings
    from llmc.show.absence import explain_absence

    return explain_absence(place.path, load_settings(repo), indexed)


def tell_nothing(place: Place | None) -> str:
    """Say that there is nothing to show; on standard output, since that is the answer."""
    from llmc.redaction.text import join_lines

    if place is None:
        return "nothing is enriched yet; run: llmc enrich"
    path = join_lines(place.path)
    if place.lines is None:
        return f"{path} is in the index, but has no span: no function, class or section"
    first, last = place.lines
    where = f"line {first}" if first == last else f"lines {first}-{last}"
    return f"no span at {where} of {path}; all that it has: llmc show {path}"
