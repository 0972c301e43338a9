"""The layers hold: a module imports only from a lower one, and each foreign thing has one home.

The sources are read, not run, so imports inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    "models": 0,
    "errors": 1,
    "redaction": 1,
    "enrichment": 2,
    "files": 2,
    "languages": 2,
    "net": 2,
    "programs": 2,
    "testing": 2,
    "events": 3,
    "indexer": 3,
    "settings": 3,
    "store": 3,
    "records": 4,
    "backends": 5,
    "run": 6,
    "doctor": 7,
    "driver": 7,
    "engine": 7,
    "show": 8,
    "cli": 9,
}
TOP = 10
"""`llmc` itself, whose public names load lazily, and `python -m llmc`: above everything."""

HOMES = {
    "os.environ": {"settings"},
    "print": {"__main__", "cli", "testing"},
    "sqlite3": {"store"},
    "tree_sitter": {"indexer", "languages"},
}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def read_package() -> dict[str, str]:
    """Return the source of every module of llmc by its dotted name; a package ends in __init__."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "llmc").rglob("*.py"))
    }


def unit(module: str) -> str:
    """Return the part of a dotted name that has a layer: 'backends' for 'llmc.backends.ollama'."""
    return [*module.split("."), "__init__"][1]


def layer(module: str) -> int | None:
    """Return None for a module that the table doesn't know."""
    return TOP if unit(module) in {"__init__", "__main__"} else LAYERS.get(unit(module))


def targets(module: str, tree: ast.AST, known: set[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) for everything the module imports, submodules told from names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level]
                base = ".".join([*parent, base] if base else parent)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                is_module = full in known or f"{full}.__init__" in known
                if is_module or base.split(".")[0] != "llmc":
                    yield node.lineno, full
                elif full != "llmc.__version__":  # a constant, free to everyone
                    yield node.lineno, base


def step_is_allowed(module: str, target: str) -> bool:
    """Tell whether one module may import another: downwards, or inside one package."""
    here, there = layer(module), layer(target)
    if here is None or there is None:
        return False
    if unit(module) == unit(target) and here != TOP:
        inner, target_inner = module.split(".")[2:], target.split(".")[2:]
        if unit(module) != "backends" or inner == ["__init__"]:
            return True
        return bool(target_inner) and target_inner[0].startswith("_")
    return there < here


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, key of HOMES) for everything in the source that has a home."""
    system = {name for node in ast.walk(tree) for name in names_of_os(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "print":
            yield node.lineno, "print"
        elif isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT:
            if isinstance(node.value, ast.Name) and node.value.id in system:
                yield node.lineno, "os.environ"
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if node.module == "os" and ENVIRONMENT & {alias.name for alias in node.names}:
                yield node.lineno, "os.environ"
            yield from foreign(node.lineno, node.module or "")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from foreign(node.lineno, alias.name)


def names_of_os(node: ast.AST) -> Iterator[str]:
    """Yield the names under which an import makes the module os known."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] == "os":
                yield alias.asname or "os"


def foreign(line: int, name: str) -> Iterator[tuple[int, str]]:
    """Yield the imported library if it has a home; a grammar wheel counts as tree_sitter."""
    library = name.split(".")[0]
    if library == "sqlite3":
        yield line, "sqlite3"
    elif library == "tree_sitter" or library.startswith("tree_sitter_"):
        yield line, "tree_sitter"


def violations(sources: Mapping[str, str]) -> list[str]:
    """Return one line per breach of the layers or of a home; nothing if the house is in order."""
    known, found = set(sources), []
    for module, source in sources.items():
        if layer(module) is None:
            found.append(f"{module}: no layer; give {unit(module)!r} its row in LAYERS")
            continue
        tree = ast.parse(source)
        found += [
            f"{module}:{line}: layer {layer(module)} imports {target} of layer {layer(target)}"
            for line, target in targets(module, tree, known)
            if target.split(".")[0] == "llmc" and not step_is_allowed(module, target)
        ]
        found += [
            f"{module}:{line}: {thing} belongs in {', '.join(sorted(HOMES[thing]))}"
            for line, thing in uses(tree)
            if unit(module) not in HOMES[thing]
        ]
    return found


def test_the_package_keeps_to_its_layers() -> None:
    sources = read_package()
    assert sources, "no modules found under llmc/"
    assert violations(sources) == []


PLANTED = {
    "a module of the same layer": ("llmc.ledger", "from llmc.config import Settings"),
    "a higher layer": ("llmc.models", "import llmc.engine"),
    "a module named as a member": ("llmc.reply", "from llmc import config"),
    "a relative import": ("llmc.reply", "from . import config"),
    "a relative import of a name": ("llmc.reply", "from .config import Settings"),
    "the public names": ("llmc.cli", "from llmc import enrich"),
    "under TYPE_CHECKING": (
        "llmc.errors",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from llmc.cascade import X",
    ),
    "inside a function": ("llmc.cascade", "def f():\n    from llmc.engine import enrich"),
    "a sibling backend": ("llmc.backends.ollama", "from llmc.backends.openai import X"),
    "a backend's own package": ("llmc.backends.ollama", "from llmc.backends import build"),
    "testing above layer 3": ("llmc.testing.fakes", "from llmc.engine import enrich"),
    "an unknown target": ("llmc.engine", "from llmc.helpers import x"),
    "an unknown module": ("llmc.helpers", ""),
    "the environment": ("llmc.engine", "import os\nos.environ['X']"),
    "the environment by function": ("llmc.engine", "import os as o\no.getenv('X')"),
    "the environment by name": ("llmc.hosts", "from os import environ"),
    "print": ("llmc.engine", "print('x')"),
    "print handed on": ("llmc.engine", "run(log=print)"),
    "sqlite3": ("llmc.engine", "def f():\n    import sqlite3"),
    "tree_sitter": ("llmc.store", "from tree_sitter import Parser"),
    "a grammar": ("llmc.store", "import tree_sitter_python"),
}


@pytest.mark.parametrize(("module", "source"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(violations({"llmc.__init__": "", "llmc.config": "", module: source})) == 1


FINE = {
    "downwards": ("llmc.engine", "from llmc.backends.ollama import X\nfrom llmc import config"),
    "a backend's private sibling": (
        "llmc.backends.ollama",
        "from llmc.backends import _http\nfrom ._http import post",
    ),
    "a package over its backends": ("llmc.backends.__init__", "from llmc.backends import ollama"),
    "inside the doctor package": ("llmc.doctor.app", "from llmc.doctor.views import x"),
    "testing down to layer 3": ("llmc.testing.fakes", "from llmc.cascade import X"),
    "the version": ("llmc.cli", "from llmc import __version__"),
    "everything from the top": ("llmc.__main__", "from llmc.cli import main\nprint('x')"),
    "other libraries": ("llmc.models", "import os\nfrom pydantic import BaseModel\nos.path"),
    "a setting of that name": ("llmc.engine", "settings.environ"),
    "the environment at home": ("llmc.config", "import os\nos.environ['X']"),
}


@pytest.mark.parametrize(("module", "source"), FINE.values(), ids=FINE.keys())
def test_what_is_allowed_is_let_through(module: str, source: str) -> None:
    sources = {"llmc.__init__": "", "llmc.config": "", "llmc.backends._http": "", module: source}
    sources.setdefault("llmc.backends.ollama", "")
    assert violations(sources) == []
