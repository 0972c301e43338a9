"""`llmc adopt`."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import TYPE_CHECKING

from llmc.cli import question
from llmc.cli.commands import Words, add_command
from llmc.cli.common import load_seal, locate_index, print_json
from llmc.errors import ConfigError

if TYPE_CHECKING:
    from llmc.cli.commands import Commands
    from llmc.store.adoption import Strangers


_WORDS = Words(
    help="take enrichments that were made elsewhere as one's own",
    description="Enrichments that bear no mark of this installation came with the repository, "
    "were changed, were made by another user or program, or by an llmc that kept no marks. "
    "People are shown them (llmc show), agents are not, until they are adopted.",
    examples=("llmc adopt", "llmc adopt --drop"),
    status="0 done, or nothing to do; 1 you said no; 2 could not run",
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "adopt", _WORDS, _adopt)
    parser.add_argument(
        "--drop",
        action="store_true",
        help="instead, set them aside (in the table llmc_set_aside), so that models are asked anew",
    )
    parser.add_argument("--yes", action="store_true", help="agree without being asked")


def _adopt(args: argparse.Namespace) -> int:
    from llmc.store.store import Store

    seal = load_seal(make=True)
    if seal is None:
        raise ConfigError("nothing can be told as made here, so nothing can be adopted or dropped")
    with Store.open(locate_index(args.repo), seal=seal) as store:
        strangers = store.adoption.count_strangers()
        if strangers.count and not args.json:
            _say(strangers)
        if strangers.count and not (args.yes or _agreed(strangers.count, drop=args.drop)):
            return 1
        change = store.adoption.set_aside if args.drop else store.adoption.adopt
        count = change(time.time()) if strangers.count else 0
    if args.json:
        print_json(
            {
                "adopted": 0 if args.drop else count,
                "set_aside": count if args.drop else 0,
                "archived": strangers.archived,
                "by_installation": _by_installation(strangers),
            }
        )
    elif not strangers.count:
        print("nothing to adopt: every enrichment was made here, or is adopted")
    else:
        print(
            f"{count} set aside; llmc enrich asks for them anew"
            if args.drop
            else f"{count} adopted"
        )
    return 0


def _say(strangers: Strangers) -> None:
    from llmc.redaction.text import make_one_line

    for (model, installation), count in strangers.by_maker.most_common():
        maker = f"installation {installation}" if installation else "nobody says who made them"
        print(f"{count:>9}  {make_one_line(model)[:60]}  {maker}")
    if strangers.archived:
        print(f"{strangers.archived} of them are of spans that are not in the index now")


def _by_installation(strangers: Strangers) -> list[dict[str, object]]:
    """Return counts without the models: their names are text of the enrichments too."""
    counts: Counter[str | None] = Counter()
    for (_, installation), count in strangers.by_maker.items():
        counts[installation] += count
    return [{"installation": name, "count": count} for name, count in counts.most_common()]


def _agreed(count: int, *, drop: bool) -> bool:
    """Ask on the terminal. Raises ConfigError where there is none."""
    if not question.is_possible():
        raise ConfigError("there is no terminal to ask on; add --yes if you mean it")
    change = "set aside, and have models asked anew" if drop else "take as your own"
    return question.ask(f"llmc: {change}: {count} enrichments?")
