"""The house is kept: what is written beside the code stays true, and nothing grows too large."""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# In pieces, so that this file doesn't find itself.
REGISTRIES = [
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs", "org"))
]


def run(*command: str) -> str:
    """Return the standard output of a command run in the project's root; fail if it fails."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return result.stdout.decode()


def project_files() -> list[Path]:
    """Return tracked files and new ones that git doesn't ignore; skip outside a git checkout."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("which files belong to the project is known only in a git checkout")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def subcommands(help_text: str) -> set[str]:
    """Return the commands that an argparse help lists: {a,b} in its usage, or an indented table."""
    braces = re.search(r"\{([a-z][a-z,\s-]*)\}", help_text)
    if braces:
        return set(re.split(r",\s*", braces[1].strip()))
    return set(re.findall(r"^ {2,6}([a-z][a-z-]*)(?: {2,}\S|$)", help_text, flags=re.MULTILINE))


def registries_named(text: str) -> list[str]:
    """Return the registry hosts that occur in a text."""
    return [host for host in REGISTRIES if host in text.lower()]


def test_no_file_names_a_package_registry() -> None:
    files = project_files()
    assert ROOT / "Makefile" in files
    named = {
        str(path.relative_to(ROOT)): hosts
        for path in files
        if (hosts := registries_named(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert named == {}


def test_a_planted_registry_is_found() -> None:
    assert registries_named(f"--index-url https://{REGISTRIES[0].upper()}/simple") == REGISTRIES[:1]


@pytest.mark.parametrize("name", ["run", "dev", "model"])
def test_every_pin_has_a_version_and_a_hash_and_no_address(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pins = [
        line.replace("\\\n", " ")
        for line in re.split(r"\n(?=\S)", text)
        if not line.startswith("#")
    ]
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9-]+==\S+ ", pin), pin
        assert "--hash=sha256:" in pin, pin
        assert "://" not in pin, pin


def test_the_pins_of_both_commands_agree() -> None:
    def versions(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))

    assert versions("run").items() <= versions("dev").items()


def test_the_readme_mentions_every_command() -> None:
    commands = subcommands(run(sys.executable, "-m", "llmc", "--help"))
    assert {"index", "enrich", "status", "show"} <= commands
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = {name for name in commands if not re.search(rf"\bllmc {name}\b", readme)}
    assert missing == set()


def test_subcommands_are_read_from_either_form_of_help() -> None:
    usage = "usage: llmc [-h] {index,enrich} ...\n\n  -h, --help  show this\n"
    table = (
        "usage: llmc COMMAND\n\ncommands:\n  index     Cut\n  enrich    Ask\n\n  -h, --help  x\n"
    )
    assert subcommands(usage) == subcommands(table) == {"index", "enrich"}


def test_make_help_shows_every_documented_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    documented = set(re.findall(r"^([a-z]+):.*## ", makefile, flags=re.MULTILINE))
    # Without the outer make's variables: they would change what the inner one prints.
    shown = run("env", "-u", "MAKEFLAGS", "-u", "MFLAGS", "-u", "MAKELEVEL", "make", "help")
    assert {"install", "enrich", "test", "check", "bench", "pins", "clean"} <= documented
    assert documented == set(re.findall(r"^  ([a-z]+) +\S", shown, flags=re.MULTILINE))


def test_every_phony_target_is_documented() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: ((?:[a-z]+ ?)+)$", makefile, flags=re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == set(
        re.findall(r"^([a-z]+):.*## ", makefile, flags=re.MULTILINE)
    )


DOTTED = re.compile(r"\bllmc(?:\.[A-Za-z_]\w*)+\b(?!\.\w)")
"""A module or a name in one, as it is imported."""

NOT_CODE = {"toml"}
"""What follows `llmc.` in the name of a file."""

PLANTING = {"test_layers.py", "test_house.py"}
"""Tests that plant names which lead nowhere."""


def texts_of(path: Path) -> Iterator[str]:
    """Yield what a file tells people, or hands to another interpreter, in words."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.STRING, tokenize.COMMENT):
                yield token.string
    elif path.suffix == ".md" and path.name != "CHANGELOG.md":
        yield text


def names_in(text: str) -> set[str]:
    """Return the dotted names of ours in a text: what is named, imported, or a path in backticks.

    `run/loop` is the module of that path; `.../fields.py` are files, which others look after.
    """
    found = {name for name in DOTTED.findall(text) if name.split(".")[1] not in NOT_CODE}
    for base, names in re.findall(r"\bfrom (llmc(?:\.\w+)*) import (\w+(?:, \w+)*)", text):
        found |= {f"{base}.{name}" for name in names.split(", ")}
    rooms = {path.stem for path in (ROOT / "llmc").iterdir()}
    for path in re.findall(r"`([a-z_]+(?:/[a-z_]+)+)`", text):
        if path.split("/")[0] in rooms:
            found.add(f"llmc.{path.replace('/', '.')}")
    return found


def is_there(dotted: str) -> bool:
    """Tell whether a name leads to a module, or to something in one or in one of its classes."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = getattr(thing, "__annotations__", {})
            if part in fields:
                return True
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


def test_every_module_and_name_that_is_spoken_of_exists() -> None:
    files = [path for path in project_files() if path.name not in PLANTING]
    lost = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        if path.suffix in (".py", ".md")
        for text in texts_of(path)
        for name in names_in(text)
        if not is_there(name)
    }
    assert lost == set()


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("see `llmc.reply` for it", {"llmc.reply"}),
        ("`llmc.enrichment.reply.read`.", {"llmc.enrichment.reply.read"}),
        ("from llmc.run.loop import Run, Walk", {"llmc.run.loop.Walk"}),
        ("the way is `run/heart`", {"llmc.run.heart"}),
        ("`run/loop`, `llmc.toml`, llmc.run.loop.Run.run, `docs/x` and llmc.", set[str]()),
    ],
)
def test_a_name_that_leads_nowhere_is_found(text: str, lost: set[str]) -> None:
    assert {name for name in names_in(text) if not is_there(name)} == lost


MOST_LINES = 350
MOST_ATTRIBUTES = 18


def attributes_of(node: ast.ClassDef) -> set[str]:
    """Return the names that a class gives its objects: its fields, and what its methods set."""
    fields = {
        n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and hasattr(n.target, "id")
    }
    return fields | {
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute)
        and isinstance(n.ctx, ast.Store)
        and isinstance(n.value, ast.Name)
        and n.value.id == "self"
    }


def oversized(source: str) -> Iterator[str]:
    """Yield what is too large to be one idea: the file, a class of it."""
    if len(source.splitlines()) > MOST_LINES:
        yield "the file"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and len(attributes_of(node)) > MOST_ATTRIBUTES:
            yield node.name


def test_no_file_and_no_class_of_the_package_is_too_large() -> None:
    found = {
        str(path.relative_to(ROOT)): large
        for path in (ROOT / "llmc").rglob("*.py")
        if (large := list(oversized(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_what_is_too_large_is_found() -> None:
    half = MOST_ATTRIBUTES // 2
    fields = "".join(f"    f{n}: int\n" for n in range(half))
    sets = "".join(f"        self.a{n} = 0\n" for n in range(half + 1))
    kinds = f"class Wide:\n{fields}    def __init__(self):\n{sets}"
    assert list(oversized(kinds)) == ["Wide"]
    assert list(oversized(kinds.replace("self.a0", "self.f0"))) == []
    assert list(oversized("\n" * (MOST_LINES + 1))) == ["the file"]
