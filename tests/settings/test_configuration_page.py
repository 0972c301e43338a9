"""docs/configuration.md names every key, with its default, and its files do what it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from llmc.settings.chains import ChainEntry, EnrichmentTable
from llmc.settings.flags import Flags
from llmc.settings.groups import Labels, Pace
from llmc.settings.keys import ENTRY, TABLES
from llmc.settings.loading import load_settings
from llmc.settings.network import NetworkTable

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
HEADINGS = {name: f"`[{name}]`" for name in ("enrichment", ENTRY, "privacy", "network")}
HEADINGS[ENTRY] = f"`[[{ENTRY}]]`"
FILES = ("One machine", "Three machines", "Machines and a cloud")

DEFAULTS = {
    "default_chain": EnrichmentTable().default_chain,
    "concurrency": Pace().concurrency,
    "cooldown_seconds": Pace().cooldown,
    "est_tokens_per_span": Labels().est_tokens_per_span,
    "callees": EnrichmentTable().callees,
    "chain": [],
    "local_only": [],
    "trust_env": NetworkTable().trust_env,
    "ca_file": NetworkTable().ca_file,
}


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_table_has_a_section() -> None:
    assert HEADINGS.keys() == TABLES.keys()
    assert [name for name in SECTIONS if "`[" in name] == list(HEADINGS.values())


@pytest.mark.parametrize("table", TABLES)
def test_the_keys_of_the_page_are_those_of_the_code(table: str) -> None:
    named = [row[0].strip("`") for row in rows(HEADINGS[table])]
    assert sorted(named) == sorted(TABLES[table])
    assert all(len(row) == 4 and all(row) for row in rows(HEADINGS[table]))


@pytest.mark.parametrize("table", ["enrichment", "privacy", "network"])
def test_the_defaults_of_a_table_are_those_of_the_code(table: str) -> None:
    words = {"`true`": True, "`false`": False}
    told = {
        name.strip("`"): words[default]
        if default in words
        else ast.literal_eval(default.strip("`"))
        for name, _, default, _ in rows(HEADINGS[table])
    }
    assert told == {name: DEFAULTS[name] for name in TABLES[table]}


def test_the_defaults_of_an_entry_are_those_of_the_code() -> None:
    words = {"none": None, "required": ..., "`true`": True}
    for name, _, default, _ in rows(HEADINGS[ENTRY]):
        field = ChainEntry.model_fields[name.strip("`")]
        told = words[default] if default in words else ast.literal_eval(default.strip("`"))
        assert told == (... if field.is_required() else field.default), name


@pytest.mark.parametrize("name", FILES)
def test_a_worked_file_selects_what_the_page_says(tmp_path: Path, name: str) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", SECTIONS[name], re.DOTALL)
    (tmp_path / "llmc.toml").write_text(text)
    settings = load_settings(tmp_path, Flags(trust=True), {})
    told = {row[0].strip("`"): row[1].strip("| ") for row in rows(name)}
    assert told == {
        tier: ", ".join(entry.name for entry in settings.list_entries(tier)) for tier in told
    }
    assert list(told) == ["7b", "14b", "nano"]
    assert settings.sources.warnings == ()


def test_the_cloud_file_does_what_its_text_says(tmp_path: Path) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", SECTIONS["Machines and a cloud"], re.DOTALL)
    (tmp_path / "llmc.toml").write_text(text)
    home = load_settings(tmp_path, Flags(trust=True, chain="home"), {})
    assert [entry.name for entry in home.chain] == ["attic-alone"]
    assert home.privacy.local_only == (("billing/",),)
    asked = load_settings(tmp_path, environ={}).find_unmet()
    assert {"host", "key"} <= {need.kind for need in asked}
