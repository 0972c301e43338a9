"""A call leads to a definition where names, imports and folders leave no doubt, else nowhere."""

from __future__ import annotations

import itertools

import pytest

from llmc.indexer.imports import MAX_BINDINGS, read_bindings
from llmc.indexer.linking import Use, link, tidy_receiver
from llmc.models import Span

_NUMBERS = itertools.count(1)


def define(path: str, symbol: str, kind: str = "function", lang: str = "python") -> Span:
    number = next(_NUMBERS)
    return Span(number, path, lang, symbol, kind, 1, 2, 0, 10, f"sha256:{number:064x}")


def call(
    name: str,
    text: str,
    path: str = "tests/test_it.py",
    lang: str = "python",
    *,
    receiver: str = "",
    owner: str = "",
) -> Use:
    """Return a call in a file with this text."""
    return Use(name, receiver, path, lang, read_bindings(lang, text), owner, around=text)


TAKE = define("shop/stock.py", "take")
OTHER = define("bank/till.py", "take")
STOCK = define("shop/stock.py", "Stock", "class")
REFILL = define("shop/stock.py", "Stock.refill_all", "method")


@pytest.mark.parametrize(
    "text",
    [
        "from shop.stock import take",
        "from shop.stock import put, take",
        "from shop.stock import (\n    put,  # first\n    take,\n)",
        "def f():\n    from shop.stock import take",
    ],
)
def test_an_imported_name_leads_to_its_module(text):
    assert link(call("take", text), [OTHER, TAKE]) == TAKE


@pytest.mark.parametrize(
    ("text", "receiver"),
    [
        ("import shop.stock", "shop.stock"),
        ("import shop.stock as st", "st"),
        ("from shop import stock", "stock"),
        ("import shop", "shop.stock"),
    ],
)
def test_a_module_that_is_called_on_leads_to_its_own(text, receiver):
    assert link(call("take", text, receiver=receiver), [OTHER, TAKE]) == TAKE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "from elsewhere import take",
        "from shop.stock import put as take",
        "from shop.stock import put",
        "import shop.stock",
        "from shop.stock import *\nfrom bank.till import *",
    ],
)
def test_a_name_that_is_not_surely_imported_leads_nowhere(text):
    assert link(call("take", text), [OTHER, TAKE]) is None


def test_a_relative_import_counts_from_the_folder_of_its_file():
    far = define("lib/shop/stock.py", "take")
    use = call("take", "from ..stock import take", "shop/tests/test_it.py")
    assert link(use, [far, TAKE]) == TAKE
    assert link(call("take", "from .stock import take", "shop/tests/test_it.py"), [TAKE]) is None


def test_a_package_may_hand_on_what_only_one_module_of_it_defines():
    assert link(call("take", "from shop import take"), [TAKE]) == TAKE
    assert link(call("take", "from shop import take"), [TAKE, define("shop/a.py", "take")]) is None


def test_a_name_in_the_same_file_leads_to_its_definition():
    assert link(call("take", "", "shop/stock.py"), [OTHER, TAKE]) == TAKE
    twice = [TAKE, define("shop/stock.py", "take")]
    assert link(call("take", "", "shop/stock.py"), twice) is None


def test_a_bare_name_leads_to_no_method():
    assert link(call("refill_all", "", "shop/stock.py"), [REFILL]) is None


def test_what_a_class_calls_on_itself_is_its_own_method():
    other = define("shop/stock.py", "Shelf.refill_all", "method")
    use = call("refill_all", "", "shop/stock.py", receiver="self", owner="Stock")
    assert link(use, [other, REFILL]) == REFILL
    assert link(use._replace(owner="Basket"), [REFILL]) is None


@pytest.mark.parametrize(
    ("around", "receiver"),
    [
        ("stock = Stock(3)", "stock"),
        ("def f(stock: Stock) -> None: ...", "stock"),
        ("", "Stock"),
    ],
)
def test_a_receiver_whose_class_is_said_leads_to_its_method(around, receiver):
    text = f"from shop.stock import Stock\n{around}"
    other = define("bank/till.py", "Till.refill_all", "method")
    assert link(call("refill_all", text, receiver=receiver), [other, REFILL]) == REFILL


def test_a_method_of_a_telling_name_that_is_alone_is_meant_where_its_module_is_seen():
    text = "from shop.stock import open_stock\nitem = open_stock()"
    assert link(call("refill_all", text, receiver="item"), [REFILL]) == REFILL
    assert link(call("refill_all", "", receiver="item"), [REFILL]) is None
    assert link(call("refill_all", text, receiver="?"), [REFILL]) is None


@pytest.mark.parametrize(
    "name",
    ["append", "get", "close", "toUpperCase", "read_line", "run", "Errorf", "unwrap_or_else"],
)
def test_a_method_of_a_common_name_is_not_meant_by_that_alone(name):
    method = define("shop/stock.py", f"Stock.{name}", "method")
    text = "from shop.stock import open_stock\nitem = open_stock()"
    assert link(call(name, text, receiver="item"), [method]) is None


@pytest.mark.parametrize(
    ("text", "receiver"),
    [
        ('import { take } from "../shop/stock";', ""),
        ('import { put, take } from "../shop/stock.js"', ""),
        ('import * as stock from "../shop/stock"', "stock"),
        ('const { take } = require("../shop/stock")', ""),
        ('const stock = require("../shop/stock")', "stock"),
    ],
)
def test_imports_of_scripts_lead_to_their_files(text, receiver):
    here = define("shop/stock.ts", "take", lang="typescript")
    there = define("bank/stock.ts", "take", lang="typescript")
    use = call("take", text, "test/stock.test.js", "javascript", receiver=receiver)
    assert link(use, [there, here]) == here


@pytest.mark.parametrize(
    ("text", "receiver"),
    [
        ("use crate::shop::stock::take;", ""),
        ("use crate::shop::{stock::{put, take}, Shelf};", ""),
        ("use crate::shop::stock;", "stock"),
        ("", "crate.shop.stock"),
    ],
)
def test_paths_of_rust_lead_to_their_modules(text, receiver):
    here = define("src/shop/stock.rs", "take", lang="rust")
    there = define("src/bank/till.rs", "take", lang="rust")
    use = call("take", text, "src/main.rs", "rust", receiver=receiver)
    assert link(use, [there, here]) == here


def test_packages_of_go_are_folders():
    here, there = (define(f"{name}/stock.go", "Take", lang="go") for name in ("shop", "bank"))
    assert link(call("Take", "", "shop/stock_test.go", "go"), [there, here]) == here
    text = 'import (\n\t"fmt"\n\n\t"example.com/all/shop"\n)\n'
    assert link(call("Take", text, "main.go", "go", receiver="shop"), [there, here]) == here
    assert link(call("Take", "", "main.go", "go"), [here]) is None


def test_classes_of_java_are_seen_in_their_package_and_by_import():
    here = define("src/shop/Stock.java", "Stock.takeAll", "method", "java")
    there = define("src/bank/Stock.java", "Stock.takeAll", "method", "java")
    text = "import shop.Stock;\n"
    use = call("takeAll", text, "src/app/Main.java", "java", receiver="Stock")
    assert link(use, [there, here]) == here
    beside = call("takeAll", "", "src/bank/Main.java", "java", receiver="Stock")
    assert link(beside, [there, here]) == there
    assert link(use._replace(bindings=()), [there, here]) is None


def test_a_function_of_c_is_meant_where_it_is_alone():
    here = define("stock.c", "take_all", lang="c")
    assert link(call("take_all", "", "main.cpp", "cpp"), [here]) == here
    assert link(call("take_all", "", "main.c", "c"), [here, define("b.c", "take_all")]) == here
    twice = [here, define("b.c", "take_all", lang="c")]
    assert link(call("take_all", "", "main.c", "c"), twice) is None


def test_a_call_in_another_language_leads_nowhere():
    assert link(call("take", "", "shop/stock.js", "javascript"), [TAKE]) is None


@pytest.mark.parametrize(
    ("text", "receiver"),
    [
        ("", ""),
        ("self.", "self"),
        ("shop::stock::", "shop.stock"),
        ("stock->", "stock"),
        ("Stock(3).", "Stock"),
        ("open_stock(3).", "?"),
        ("items[0].", "?"),
    ],
)
def test_receivers_are_paths_of_names_or_unknown(text, receiver):
    assert tidy_receiver(text) == receiver


def test_a_hostile_list_of_imports_ends():
    text = "from a import " + ", ".join(f"n{number}" for number in range(100_000))
    assert len(read_bindings("python", text)) <= MAX_BINDINGS
    assert read_bindings("rust", "use " + "{" * 10_000 + ";") == ()
    for lang in ("python", "typescript", "go", "rust", "java", "markdown"):
        read_bindings(lang, "import {" * 20_000)
