"""The names around a span: read when one is looked for, on whatever thread that is."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from llmc import engine
from llmc.errors import StoreError
from llmc.run.sources import Names
from llmc.settings.loading import load_settings
from llmc.store.reader import Reader
from llmc.store.store import Store


@pytest.fixture
def indexed(repo, clean_environ):
    (repo / "shop.py").write_text("class Stock:\n    def take(self):\n        return self.left\n")
    (repo / "use.py").write_text("def buy(stock):\n    left = stock.take()\n    return left\n")
    settings = load_settings(repo)
    engine.index(repo, settings)
    with Store.open(settings.index_path) as store:
        [found] = store.results.find("use.py")
    return settings, found.span


def test_names_of_the_file_and_of_the_index_are_told_on_another_thread(indexed):
    settings, span = indexed
    nearby, known = Names(settings.repo, partial(Reader.open_readonly, settings.index)).find_around(
        span
    )
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(
            lambda: [name in names for name in ("left", "Stock") for names in (nearby, known)]
        ).result()
    assert told == [True, False, False, True]
    assert "nowhere" not in known


def test_the_index_is_read_for_names_once_one_is_looked_for(indexed):
    settings, span = indexed
    opened = []

    def open_index():
        opened.append(1)
        return Reader.open_readonly(settings.index)

    _, known = Names(settings.repo, open_index).find_around(span)
    assert opened == []
    assert "take" in known
    assert "Stock" in known
    assert opened == [1]


def test_where_the_index_cannot_be_read_no_name_counts_as_unknown(indexed):
    settings, span = indexed

    def refuse():
        raise StoreError("gone")

    assert "nowhere" in Names(settings.repo, refuse).find_around(span)[1]
