"""What is written beside the code stays true: no addresses of registries, docs that name it all."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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
