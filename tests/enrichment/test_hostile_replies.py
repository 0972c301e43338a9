"""Replies that mean harm, or look like it: what becomes of each, in the index and on the terminal.

A file of tests/replies is one case: `text` is a list of pieces, each a string or [string, how
often]; `outcome` is accepted or the kind of the refusal, `result` the fields to look at. A case
found by tests/chaos goes there for good.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmc.enrichment.reply import read_reply
from llmc.errors import BackendError
from llmc.models import Enrichment
from llmc.testing.ollama import FakeOllama, Reply
from tests.chaos.reply_index import Index

CASES = sorted((Path(__file__).parents[1] / "replies").glob("*.json"))
EACH = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)


@dataclass(frozen=True)
class Case:
    """One file, read and tried."""

    text: str
    expected: dict[str, Any]
    result: Enrichment | BackendError

    @property
    def outcome(self) -> str | None:
        failed = isinstance(self.result, BackendError)
        return self.result.failure_type if failed else "accepted"  # type: ignore[union-attr]


def tried(path: Path) -> Case:
    case = json.loads(path.read_text(encoding="utf-8"))
    text = "".join(part if isinstance(part, str) else part[0] * part[1] for part in case["text"])
    try:
        result: Enrichment | BackendError = read_reply(
            text,
            case.get("lines", (10, 20)),
            done_reason=case.get("done_reason"),
            eval_count=case.get("eval_count"),
            require_summary=case.get("strict", False),
        )
    except BackendError as error:
        result = error
    return Case(text, case, result)


@EACH
def test_a_reply_comes_to_what_its_file_says(path: Path) -> None:
    case = tried(path)
    assert case.outcome == case.expected["outcome"]
    if isinstance(case.result, Enrichment):
        found = case.result.model_dump()
        wanted = case.expected.get("result", {})
        assert {name: found[name] for name in wanted} == wanted


@EACH
def test_a_refusal_carries_the_reply_and_says_why_in_a_few_words(path: Path) -> None:
    result = tried(path).result
    if isinstance(result, BackendError):
        assert result.failure is not None
        assert result.failure[2] == tried(path).text
        assert 10 < len(result.failure[1]) < 300
        assert not any(unicodedata.category(char).startswith("C") for char in str(result))


def test_the_cases_end_in_every_way() -> None:
    outcomes = [tried(path).outcome for path in CASES]
    assert set(outcomes) == {"accepted", "parse", "truncation", "validation"}


def test_every_case_is_stored_and_read_back_as_it_was(tmp_path: Path) -> None:
    results = [tried(path).result for path in CASES]
    with Index(tmp_path / "index.db", len(results)) as index:
        assert [CASES[position].stem for position in index.lost(results)] == []


def test_a_refusal_does_not_hold_on_to_what_was_read() -> None:
    text = '{"unknown": [' + "[]," * 100_000 + "[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(BackendError) as caught:
            read_reply(text, (10, 20))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
        assert caught.value.failure_type == "validation"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("text", ['{"inputs": []}', "{" + " " * 100_000 + "}", "{" * 100_000])
def test_the_garbage_collector_is_left_as_it_was(text: str, collecting: bool) -> None:
    assert gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with suppress(BackendError):
            read_reply(text, (10, 20))
        assert gc.isenabled() == collecting
    finally:
        gc.enable()


@pytest.mark.parametrize("value", ["[]", "{}", '""', "1"])
def test_a_reply_of_very_many_values_is_refused_before_they_take_room(value: str) -> None:
    text = '{"inputs": [' + f"{value}," * 2_000_000 + "[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(BackendError):
            read_reply(text, (10, 20))
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()


NASTY = "\\u001b[2J\\u001b]0;owned\\u0007\\u0000\\u009b31m\\u202e\\ud800\\r\\u2028"


@pytest.mark.parametrize("words", [("show", "small.py"), ("show", "--last", "9"), ("status",)])
def test_nothing_of_a_reply_is_obeyed_by_the_terminal(
    repo: Path, clean_environ: dict[str, str], words: tuple[str, ...]
) -> None:
    fields = ("summary_120w", "inputs", "outputs", "pitfalls", "usage_snippet", "tags", "model")
    text = "{" + ", ".join(f'"{name}": "It adds {NASTY} two."' for name in fields) + "}"
    with FakeOllama(lambda call: Reply(text=text)) as host:
        environ = clean_environ | {"ENRICH_OLLAMA_HOSTS": host.url, "FORCE_COLOR": ""}
        said = [llmc(environ, "enrich", str(repo)), llmc(environ, *words, "--repo", str(repo))]
    if words[0] == "show":
        assert "It adds" in said[1]
    for shown in said:
        odd = {char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs")}
        assert odd <= {"\n", "\t"}


def llmc(environ: dict[str, str], *words: str) -> str:
    """Run the command; return all that it writes."""
    done = subprocess.run(
        [sys.executable, "-m", "llmc", *words],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return done.stdout.decode("utf-8")
