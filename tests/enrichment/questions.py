"""Questions about spans of a source, with the facts that the indexer would prove."""

from __future__ import annotations

from llmc.enrichment.asking import Question, Request, build_request
from llmc.models import Span
from tests.facts.proving import prove_all

TAKE = '''\
def take(shelf, count: int, *notes, force=False, **options):
    """Take some of what is on a shelf."""
    if shelf.left < count and not force:
        raise ValueError("none left")
    shelf.left -= count
    with open("journal") as journal:
        journal.write(str(notes))
    return count
'''
PUT = "def put(shelf, count):\n    shelf.left = count\n"
SECTION = "# Shelves\n\nThey hold things.\n"


def question(code: str, name: str = "stock.py", lang: str = "python", symbol: str = "") -> Question:
    """Return what is asked about a span of a source, the first if its symbol isn't given."""
    facts = prove_all(name, code)
    symbol = symbol or next(iter(facts), "Shelves")
    found = facts.get(symbol)
    return Question(code, symbol, lang, found.kind if found else "section", found)


def request(asked: Question) -> Request:
    """Return the request that asks it; the span has the first lines of a file."""
    last = asked.source.count("\n")
    span = Span(1, "shop/stock.py", asked.lang, asked.symbol, asked.kind, 1, last, 0, 9, "x")
    return build_request(span, asked)
