"""The layers hold: the order of rooms and modules that the docstrings give, and each foreign thing
in its home.

The sources are read, not run, so imports inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import llmc

ROOT = Path(__file__).resolve().parent.parent
TOP = {"", "__main__"}
"""`llmc` itself, whose public names load lazily, and `python -m llmc`: above everything."""

HOMES = {
    "os.environ": {"settings"},
    "print": {"cli", "__main__", "testing"},
    "sqlite3": {"store"},
    "tree_sitter": {"languages", "facts", "indexer"},
    "fakes": {"testing"},
}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
ROWS = re.compile(r"^    (\w+) {2,}\S", re.MULTILINE)
MODULES = re.compile(r"^Modules, each built on those before it: ([\w,\s]+)\.$", re.MULTILINE)


def read_package() -> dict[str, str]:
    """Return the source of every module by its dotted name; a package goes by its own."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
            path.read_text(encoding="utf-8")
        )
        for path in sorted((ROOT / "llmc").rglob("*.py"))
    }


def is_package(module: str, known: Mapping[str, str]) -> bool:
    return any(name.startswith(f"{module}.") for name in known)


def order(package: str, source: str) -> list[str]:
    """Return the names that a package's docstring lists, from the bottom up."""
    text = ast.get_docstring(ast.parse(source), clean=False) or ""
    if package == "llmc":
        return ROWS.findall(text)
    found = MODULES.search(text)
    return re.findall(r"\w+", found.group(1)) if found else []


def disorder(sources: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each package whose docstring and folder disagree on what is in it."""
    for package, source in sources.items():
        if is_package(package, sources):
            start = f"{package}."
            there = {
                name.removeprefix(start).split(".")[0] for name in sources if name.startswith(start)
            }
            there -= TOP if package == "llmc" else set()
            listed = order(package, source)
            if len(listed) != len(set(listed)):
                yield f"{package}: its docstring names a module twice"
            for name in sorted(there ^ set(listed)):
                where = "is not in the docstring" if name in there else "is in the docstring only"
                yield f"{package}: {name!r} {where}"


def imports(module: str, tree: ast.AST, known: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) for everything the module imports, submodules told from names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - is_package(module, known)
                parent = module.split(".")[: -up or None]
                base = ".".join([*parent, base] if base else parent)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                if full in known or base.split(".")[0] != "llmc":
                    yield node.lineno, full
                elif full != "llmc.__version__":  # a constant, free to everyone
                    yield node.lineno, base


def step_is_allowed(module: str, target: str, orders: Mapping[str, list[str]]) -> bool:
    """Tell whether one module may import another: at the first package where their ways part."""
    here, there = module.split("."), target.split(".")
    shared = 0
    while shared < min(len(here), len(there)) and here[shared] == there[shared]:
        shared += 1
    if shared == len(here):  # a package over its modules
        return True
    if shared == len(there):  # a module's own package, which stands over it
        return False
    package, mine, other = ".".join(here[:shared]), here[shared], there[shared]
    if package == "llmc" and mine in TOP:
        return True
    listed = orders.get(package, [])
    return mine in listed and other in listed and listed.index(other) < listed.index(mine)


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
    elif name.startswith("llmc.testing"):
        yield line, "fakes"


def violations(sources: Mapping[str, str]) -> list[str]:
    """Return one line per breach of the layers or of a home; nothing if the house is in order."""
    orders = {
        name: order(name, source) for name, source in sources.items() if is_package(name, sources)
    }
    found = list(disorder(sources))
    for module, source in sources.items():
        tree = ast.parse(source)
        found += [
            f"{module}:{line}: may not import {target}, which is not below it"
            for line, target in imports(module, tree, sources)
            if target.split(".")[0] == "llmc" and not step_is_allowed(module, target, orders)
        ]
        room = [*module.split("."), ""][1]
        found += [
            f"{module}:{line}: {thing} belongs in {', '.join(sorted(HOMES[thing]))}"
            for line, thing in uses(tree)
            if room not in HOMES[thing]
        ]
    return found


def test_the_package_keeps_to_its_layers() -> None:
    sources = read_package()
    assert sources, "no modules found under llmc/"
    assert violations(sources) == []


def test_no_package_has_the_name_of_a_public_function() -> None:
    """An import of `llmc.index` would put the module in the place of the function."""
    listed = order("llmc", (ROOT / "llmc" / "__init__.py").read_text(encoding="utf-8"))
    assert not set(listed) & set(llmc.__all__)


def test_a_folder_listing_tells_the_story() -> None:
    """A folder in which only a cache was left behind, as after a move, is no name."""
    paths = [path for path in (ROOT / "llmc").iterdir() if path.is_file() or any(path.glob("*.*"))]
    assert len({path.name for path in paths} - {"__pycache__"}) <= 24


HOUSE = {
    "llmc": """The house.

    models    the values
    settings  what a run goes by
    store     the index
    backends  ways to a model
    testing   fakes
    engine    the way in
    cli       the command line
""",
    "llmc.models": "",
    "llmc.settings": "Settings.\n\nModules, each built on those before it: chains, config.",
    "llmc.settings.chains": "",
    "llmc.settings.config": "",
    "llmc.store": "The index.\n\nModules, each built on those before it: tables, file, reader.",
    "llmc.store.tables": "",
    "llmc.store.file": "A file.\n\nModules, each built on those before it: look,\nopening.",
    "llmc.store.file.look": "",
    "llmc.store.file.opening": "",
    "llmc.store.reader": "",
    "llmc.backends": "Ways.\n\nModules, each built on those before it: _base, ollama, openai.",
    "llmc.backends._base": "",
    "llmc.backends.ollama": "",
    "llmc.backends.openai": "",
    "llmc.testing": "Fakes.\n\nModules, each built on those before it: script.",
    "llmc.testing.script": "",
    "llmc.engine": "",
    "llmc.cli": "",
    "llmc.__main__": "",
}


def plant(module: str, code: str) -> dict[str, str]:
    """Return the sources of a small house in order, with code in one of its modules."""
    docs = {name: f'"""{doc}"""\n' for name, doc in HOUSE.items()}
    return {**docs, module: docs.get(module, "") + code}


def test_the_small_house_is_in_order() -> None:
    assert violations(plant("llmc.models", "")) == []


PLANTED = {
    "a higher room": ("llmc.models", "import llmc.engine"),
    "a higher room by its module": ("llmc.store.reader", "from llmc.backends.ollama import X"),
    "a module named as a member": ("llmc.models", "from llmc.settings import config"),
    "a relative import": ("llmc.models", "from . import settings"),
    "a relative import of a name": ("llmc.models", "from .engine import enrich"),
    "a relative import inside a room": ("llmc.settings.chains", "from .config import Settings"),
    "the public names": ("llmc.cli", "from llmc import enrich"),
    "under TYPE_CHECKING": (
        "llmc.models",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from llmc.store.reader import X",
    ),
    "inside a function": ("llmc.backends.ollama", "def f():\n    from llmc.engine import enrich"),
    "a module named later in its room": (
        "llmc.settings.chains",
        "from llmc.settings.config import X",
    ),
    "a module inside a later package": ("llmc.store.tables", "from llmc.store.file.look import X"),
    "a module later in an inner package": (
        "llmc.store.file.look",
        "from llmc.store.file import opening",
    ),
    "a module above its inner package": ("llmc.store.file.look", "import llmc.store.reader"),
    "a package that stands over its module": (
        "llmc.backends.ollama",
        "from llmc.backends import make",
    ),
    "an inner package over its module": ("llmc.store.file.look", "from llmc.store.file import X"),
    "a fake": ("llmc.engine", "from llmc.testing.script import X"),
    "a fake that knows the engine": ("llmc.testing.script", "from llmc.engine import enrich"),
    "an unknown target": ("llmc.engine", "from llmc.helpers import x"),
    "a room without a row": ("llmc.helpers", ""),
    "a module that no docstring names": ("llmc.backends.azure", ""),
    "the environment": ("llmc.engine", "import os\nos.environ['X']"),
    "the environment by function": ("llmc.engine", "import os as o\no.getenv('X')"),
    "the environment by name": ("llmc.models", "from os import environ"),
    "print": ("llmc.engine", "print('x')"),
    "print handed on": ("llmc.engine", "run(log=print)"),
    "sqlite3": ("llmc.engine", "def f():\n    import sqlite3"),
    "tree_sitter": ("llmc.store.reader", "from tree_sitter import Parser"),
    "a grammar": ("llmc.store.reader", "import tree_sitter_python"),
}


@pytest.mark.parametrize(("module", "code"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_found(module: str, code: str) -> None:
    assert len(violations(plant(module, code))) == 1


def test_a_row_without_a_room_is_found() -> None:
    sources = plant("llmc.models", "")
    del sources["llmc.engine"]
    assert violations(sources) == ["llmc: 'engine' is in the docstring only"]


def test_a_module_named_twice_is_found() -> None:
    doc = "Modules, each built on those before it: chains, config, chains."
    sources = plant("llmc.models", "") | {"llmc.settings": f'"""{doc}"""'}
    assert violations(sources) == ["llmc.settings: its docstring names a module twice"]


FINE = {
    "a lower room": ("llmc.engine", "from llmc.backends.ollama import X\nfrom llmc import models"),
    "an earlier module of the room": ("llmc.backends.openai", "from ._base import X"),
    "an inner package": ("llmc.store.reader", "from llmc.store.file.opening import connect"),
    "out of an inner package": ("llmc.store.file.opening", "from llmc.store.tables import X"),
    "a package over its modules": ("llmc.backends", "from llmc.backends import ollama"),
    "the version": ("llmc.cli", "from llmc import __version__"),
    "everything from the top": ("llmc.__main__", "from llmc.cli import main\nprint('x')"),
    "other libraries": ("llmc.models", "import os\nfrom pydantic import BaseModel\nos.path"),
    "a setting of that name": ("llmc.engine", "settings.environ"),
    "the environment at home": ("llmc.settings.config", "import os\nos.environ['X']"),
    "SQL at home": ("llmc.store.file.look", "import sqlite3"),
}


@pytest.mark.parametrize(("module", "code"), FINE.values(), ids=FINE.keys())
def test_what_is_allowed_is_let_through(module: str, code: str) -> None:
    assert violations(plant(module, code)) == []
