"""`llmc why`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmc.cli.commands import Words, add_command
from llmc.cli.common import find_repository, load_seal, locate_index, print_json
from llmc.cli.reading import find_place, tell_nothing

if TYPE_CHECKING:
    from llmc.cli.commands import Commands

_WORDS = Words(
    help="say what a run would do with a span, and why",
    description="Say of the spans of a file, or those at a line of it, what llmc enrich would do: "
    "ask a model, at which tier and by which rule; write it by rule, as the parser says all of it; "
    "leave it alone, and until when; or nothing, since it is enriched. No host is contacted.",
    examples=(
        "llmc why src/a.py        all spans of a file",
        "llmc why src/a.py:12     those at line 12",
    ),
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "why", _WORDS, _why, repo=False)
    parser.add_argument(
        "path", metavar="PATH[:LINE[-LINE]]", help="a file, a line of it, or some lines"
    )
    parser.add_argument(
        "--repo",
        default=".",
        metavar="REPO",
        help="a git repository, or a folder in it (default: where you are)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        dest="ask_all",
        help="as a run with --all: nothing is written by rule",
    )


def _why(args: argparse.Namespace) -> int:
    from llmc.cli.printing import print_view
    from llmc.run.selection import drop_unasked_cloud
    from llmc.run.why import Teller
    from llmc.settings.flags import Flags
    from llmc.settings.loading import load_settings
    from llmc.show.places import parse_place
    from llmc.show.why import record_story, view_stories
    from llmc.store.store import Store

    repo = find_repository(args.repo)
    place = parse_place(args.path, repo)
    settings = drop_unasked_cloud(load_settings(repo, Flags(ask_all=args.ask_all)))
    with Store.open_readonly(locate_index(args.repo), seal=load_seal()) as store:
        stories = Teller(settings, store).tell(find_place(store, place, repo))
    if args.json:
        print_json([record_story(story) for story in stories])
    elif stories:
        print_view(view_stories(stories))
    else:
        print(tell_nothing(place))
    return 0
