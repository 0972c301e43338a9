"""How well code is found by what people say of it: by its text, its facts, its enrichment.

    python bench/search_docstrings.py prepare FOLDER [--functions N] [--source FOLDER]
    llmc enrich FOLDER --limit N --model qwen2.5-coder-0.5b
    python bench/search_docstrings.py measure FOLDER

`prepare` copies the Python files of a folder (the standard library, if none is named), without any
docstring, into a new repository, indexes it, and puts N functions first, chosen by a hash of their
names. `measure` takes the first sentence of each removed docstring for a query, and looks for its
function: BM25 over words, of which identifiers are split, all columns weighing the same. It does so
twice: among those that were enriched, which are few, so that all find most; and among all functions
of the folder, where the few have an advantage over those that aren't enriched.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmc import engine
from llmc.facts.codec import decode_facts
from llmc.facts.values import Facts
from llmc.run.selection import select
from llmc.settings.config import Settings
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.store.installation import load_seal
from llmc.store.reader import Reader

QUERIES = "queries.json"
LEFT_OUT = {"test", "tests", "site-packages", "__pycache__", "idlelib", "lib2to3"}
LEAST_LINES, MOST_LINES = 4, 60
LEAST_WORDS = 4
Function = ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


@dataclass(frozen=True)
class Chosen:
    path: str
    symbol: str
    query: str

    @property
    def rank(self) -> str:
        return hashlib.sha256(f"{self.path}:{self.symbol}".encode()).hexdigest()


def strip_docstrings(text: str) -> tuple[str, dict[str, str]]:
    """Return a module without its docstrings, and those of its functions by their full names.

    Raises SyntaxError.
    """
    tree = ast.parse(text)
    lines = text.splitlines(keepends=True)
    found: dict[str, str] = {}
    twice: set[str] = set()
    for node, name in _walk(tree, ""):
        doc = ast.get_docstring(node)
        if doc is None:
            continue
        if isinstance(node, Function):
            twice |= {name} & found.keys()
            found[name] = doc
        statement = node.body[0]
        first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
        before = lines[first].encode()[: statement.col_offset].decode()
        after = lines[last].encode()[statement.end_col_offset or 0 :].decode()
        needed = len(node.body) == 1 and not isinstance(node, ast.Module)
        kept = f"{before}pass{after}" if needed or before.strip() or after.strip() else ""
        lines[first : last + 1] = [kept] + [""] * (last - first)
    return "".join(lines), {name: doc for name, doc in found.items() if name not in twice}


def _walk(node: ast.AST, outer: str) -> Iterator[tuple[Any, str]]:
    """Yield all that may have a docstring, with its full name."""
    name = f"{outer}.{node.name}".lstrip(".") if isinstance(node, _DOCUMENTED[:3]) else outer
    if isinstance(node, _DOCUMENTED):
        yield node, name
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, name)


def make_query(doc: str) -> str:
    """Return the first sentence of a docstring."""
    return re.split(r"(?<=[.!?])\s|\n\s*\n", doc.strip())[0].replace("\n", " ")


def prepare(folder: Path, source: Path, functions: int) -> None:
    """Make the repository of a folder, and index it with the chosen functions first."""
    choices = []
    for path in sorted(source.rglob("*.py")):
        place = path.relative_to(source)
        if LEFT_OUT & set(place.parts):
            continue
        try:
            text, docs = strip_docstrings(path.read_text("utf-8"))
        except (SyntaxError, ValueError):
            continue
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, "utf-8")
        queries = {name: make_query(doc) for name, doc in docs.items()}
        choices += [
            Chosen(place.as_posix(), name, query)
            for name, query in queries.items()
            if len(query.split()) >= LEAST_WORDS
        ]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    settings = _settings(folder)
    engine.index(folder, settings)
    order = sorted(choices, key=lambda choice: choice.rank)
    taken = _put_first(settings.index_path, order, functions)
    words = json.dumps([vars(choice) for choice in taken], indent=1)
    (folder / QUERIES).write_text(words, "utf-8")
    print(f"{len(taken)} of {len(choices)} functions with a docstring are first in {folder}")


def _put_first(index: Path, order: Sequence[Chosen], functions: int) -> list[Chosen]:
    """Give the first fitting functions the lowest ids, by which an index is worked on."""
    with sqlite3.connect(index) as db:
        db.execute("UPDATE spans SET id = id + 10000000")
        taken: list[Chosen] = []
        for choice in order:
            if len(taken) == functions:
                break
            rows = db.execute(
                "SELECT s.id FROM spans s JOIN files f ON f.id = s.file_id WHERE f.path = ? AND "
                "s.symbol = ? AND s.end_line - s.start_line + 1 BETWEEN ? AND ?",
                (choice.path, choice.symbol, LEAST_LINES, MOST_LINES),
            ).fetchall()
            if len(rows) == 1:
                taken.append(choice)
                db.execute("UPDATE spans SET id = ? WHERE id = ?", (len(taken), rows[0][0]))
    return taken


class Document(NamedTuple):
    """A function as it is looked for; `query` is None of those that only stand beside."""

    code: str
    facts: str
    enrichment: str
    query: str | None = None


KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("code", ("code",)),
    ("code + facts", ("code", "facts")),
    ("code + enrichments", ("code", "enrichment")),
    ("code + facts + enrichments", ("code", "facts", "enrichment")),
)


def measure(folder: Path) -> None:
    """Print how often each kind of text puts the right function first, and among ten."""
    enriched, others = read_documents(folder)
    print(f"{folder}: {len(enriched)} queries, each for one of as many functions, all enriched")
    _report(enriched)
    print(f"  the same among {len(enriched) + len(others)}, of which no others are enriched")
    _report([*enriched, *others])


def read_documents(folder: Path) -> tuple[list[Document], list[Document]]:
    """Return the functions that were enriched, each with its query, and all others."""
    chosen = [Chosen(**entry) for entry in json.loads((folder / QUERIES).read_text("utf-8"))]
    queries = {(choice.path, choice.symbol): choice.query for choice in chosen}
    place, seal = _settings(folder).index, load_seal(os.environ, print)
    with sqlite3.connect(folder / ".rag" / "index_v2.db") as db:
        rows = db.execute(
            "SELECT f.path, s.symbol, s.byte_start, s.byte_end, s.span_hash FROM spans s JOIN "
            "files f ON f.id = s.file_id WHERE s.kind IN ('function', 'method') ORDER BY f.path"
        ).fetchall()
    enriched, others = [], []
    with Reader.open_readonly(place, seal=seal) as index:
        said = {
            result.span.span_hash: result.enrichment for result in index.results.read_servable()
        }
        for path, symbol, first, last, span_hash in rows:
            code = (folder / path).read_bytes()[first:last].decode("utf-8", "replace")
            facts = _say_facts(decode_facts(index.results.find_facts(span_hash)))
            enrichment, query = said.get(span_hash), queries.get((path, symbol))
            if enrichment and query:
                enriched.append(Document(code, facts, _say_enrichment(enrichment), query))
            else:
                others.append(Document(code, facts, ""))
    return enriched, others


def _report(documents: Sequence[Document]) -> None:
    queries = [document.query for document in documents if document.query]
    print(f"  {'':28}{'recall@1':>10}{'recall@10':>11}{'MRR':>8}")
    for name, columns in KINDS:
        texts = [tuple(getattr(document, column) for column in columns) for document in documents]
        places = find_places(texts, queries)
        first = sum(place == 1 for place in places) / len(places)
        ten = sum(0 < place <= 10 for place in places) / len(places)
        mrr = sum(1 / place for place in places if place) / len(places)
        print(f"  {name:28}{first:>10.1%}{ten:>11.1%}{mrr:>8.3f}")


def find_places(texts: Sequence[tuple[str, ...]], queries: Sequence[str]) -> list[int]:
    """Return at which place each query finds the text of its number, 0 where it doesn't."""
    db = sqlite3.connect(":memory:")
    columns = [f"c{number}" for number in range(len(texts[0]))]
    db.execute(f"CREATE VIRTUAL TABLE t USING fts5({', '.join(columns)}, tokenize='porter')")
    marks = ", ".join("?" * (len(columns) + 1))
    for number, row in enumerate(texts):
        db.execute(
            f"INSERT INTO t (rowid, {', '.join(columns)}) VALUES ({marks})",
            (number, *map(split_words, row)),
        )
    places = []
    for number, query in enumerate(queries):
        words = " OR ".join(f'"{word}"' for word in split_words(query).split())
        rows = db.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank, rowid DESC", (words,))
        found = [row[0] for row in rows]
        places.append(found.index(number) + 1 if number in found else 0)
    return places


def split_words(text: str) -> str:
    """Return the words of a text, those of identifiers one by one."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", text)
    return " ".join(parts).lower()


def _say_enrichment(said: dict[str, Any]) -> str:
    fields = ("summary", "inputs", "outputs", "side_effects", "pitfalls")
    texts: list[str] = []
    for name in fields:
        value = said.get(name) or ()
        texts += [value] if isinstance(value, str) else [str(entry) for entry in value]
    return "\n".join(texts)


def _say_facts(facts: Facts | None) -> str:
    """Return what facts add to the text: what is touched, and which errors leave."""
    if facts is None:
        return ""
    touched = [f"touches {touch.resource}" for touch in facts.touches]
    raised = [f"raises {entry.error} {entry.guard or ''}" for entry in facts.raises]
    written = [f"writes {name}" for name in facts.writes]
    return "\n".join((f"returns {facts.returns.what}", *touched, *raised, *written))


def _settings(folder: Path) -> Settings:
    return select(load_settings(folder, Flags(backend="embedded"), environ={})).settings


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("prepare", "measure"), nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--functions", type=int, default=80)
    parser.add_argument("--source", type=Path, default=Path(os.__file__).parent)
    told = parser.parse_args()
    if told.folder is None:
        print(__doc__)
    elif told.what == "prepare":
        prepare(told.folder, told.source.resolve(), told.functions)
    else:
        measure(told.folder)


if __name__ == "__main__":
    main()
