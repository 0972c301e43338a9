"""How claims are shown: each behind its mark, with its lines, and what was dropped as a number."""

import io
import json
from contextlib import closing

import pytest
from rich.cells import cell_len
from rich.console import Console

from llmc import cli, engine
from llmc.events import SpanEnriched
from llmc.models import Span, Verdict
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.show.display import record_result, view_results
from llmc.show.outcome import record_run
from llmc.show.progress.display import sum_up, tell_span
from llmc.store.origins import Origin
from llmc.store.results import StoredResult
from llmc.store.verdicts import Checked
from llmc.testing import FakeBackend
from tests.test_engine import FakeBuilder

SPAN = Span(1, "a.py", "python", "count", "function", 11, 20, 0, 9, "sha256:1")
FOUND = {
    "summary": "It counts. It stops. It never fails. So it is.",
    "inputs": ["n: of", "m: of"],
    "outputs": [],
    "side_effects": ["writes a file"],
    "pitfalls": ["raises KeyError"],
    "usage_snippet": "count(3)",
    "model": "m:7b",
    "evidence": [
        {"field": "summary_120w", "lines": [11, 20]},
        {"field": "inputs", "lines": [11, 11]},
        {"field": "side_effects", "lines": [13, 14]},
        {"field": "side_effects", "lines": [12, 12]},
        {"field": "pitfalls", "lines": [17, 17]},
        {"field": "pitfalls", "lines": ["17", 9]},
        "none",
    ],
}
VERDICTS = (
    Checked("summary_120w", 0, "It counts.", "not provable", "prose", "r"),
    Checked("summary_120w", 11, "It stops.", "not provable", "prose", "s"),
    Checked("summary_120w", 21, "It never fails.", "proven", "raises", "line 10 of it is last"),
    Checked("inputs", 0, "n: of", "proven", "parameter", "n is a parameter"),
    Checked("inputs", -1, None, "refuted", "parameter", "k is none"),
    Checked("side_effects", 0, "writes a file", "not provable", "effects", "open in line 3 of it"),
    Checked("pitfalls", 0, "raises KeyError", "proven", "raises", "KeyError in line 7 of it"),
    Checked("pitfalls", -1, None, "refuted", "identifier", "x is nowhere, see line 2 of it"),
    Checked("usage_snippet", 0, "count(3)", "proven", "arity", "count can be called so"),
)


def stored(verdicts=VERDICTS, **changes):
    found = FOUND | changes
    return StoredResult(
        SPAN, found["summary"], found, origin=Origin("here", "ab" * 8), verdicts=verdicts
    )


def shown(*results, width=80, encoding="utf-8"):
    with closing(io.TextIOWrapper(io.BytesIO(), encoding)) as file:
        console = Console(file=file, width=width, legacy_windows=False)
        console.print(view_results(results))
        file.flush()
        return file.buffer.getvalue().decode(encoding)


def test_each_claim_stands_behind_a_mark_with_the_lines_that_bear_it_out():
    lines = [line.rstrip() for line in shown(stored()).splitlines()]
    assert lines == [
        "a.py:11-20 count  function",
        "  · It counts. It stops.",
        "  ✓ It never fails. (line 20 is last)",
        "  - So it is.",
        "  inputs (line 11)",
        "    ✓ n: of (n is a parameter)",
        "    - m: of",
        "  side effects (lines 12, 13-14)",
        "    · writes a file",
        "  pitfalls (line 17)",
        "    ✓ raises KeyError (KeyError in line 17)",
        "  usage",
        "    ✓ count(3)",
        "      (count can be called so)",
        "  claims: 2 refuted and dropped (1 identifier, 1 parameter)",
        "  by m:7b",
        "",
        "✓ proven by the parser, as the brackets say; · said by m:7b, not provable; - not",
        "checked",
    ]


def test_what_was_not_checked_is_shown_as_that():
    lines = [line.rstrip() for line in shown(stored(None)).splitlines()]
    assert lines[1] == "  It counts. It stops. It never fails. So it is."
    assert lines[2:4] == ["  inputs (line 11)", "    - n: of"]
    assert "    count(3)" in lines
    assert lines[-1] == "- not checked"


def test_a_summary_alone_that_was_not_checked_needs_no_mark():
    lists = {name: [] for name in ("inputs", "side_effects", "pitfalls")}
    text = shown(stored(None, **lists, usage_snippet=None))
    assert "checked" not in text
    assert text.rstrip().endswith("by m:7b")


def test_where_only_ascii_can_be_shown_the_marks_are_ascii():
    text = shown(stored(), encoding="ascii")
    assert "+ n: of (n is a parameter)" in text
    assert ". writes a file" in text
    assert "+ proven by the parser" in text


def test_of_several_models_none_is_named_for_what_is_not_provable():
    assert "said by a model, not provable" in shown(stored(), stored(model="other"))


@pytest.mark.parametrize("width", [20, 40, 80, 160])
def test_a_claim_is_wrapped_beside_its_mark(width):
    entry = "n: " + "word " * 40
    lines = shown(stored((), inputs=[entry.strip()]), width=width).splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("    - n:"))
    rest = [line for line in lines[first + 1 :] if "word" in line]
    assert all(line.startswith("      word") for line in rest)
    assert bool(rest)
    assert max(map(cell_len, lines)) <= width


def test_a_claim_can_not_speak_to_the_terminal():
    hostile = Checked("inputs", 0, "\x1b[31mx", "proven", "a\x1b[1m", "\x1b]0;x\x07[bold]")
    text = shown(stored((hostile,), inputs=["\x1b[31mx"], model="\x1b[2J"))
    assert "\x1b" not in text
    assert "[bold]" in text


def test_json_has_every_verdict_with_lines_of_the_file_and_says_whose_words_they_are():
    record = record_result(stored())
    assert [found["entry"] for found in record["verdicts"]] == [
        *[None] * 3,
        0,
        None,
        0,
        0,
        None,
        None,
    ]
    assert record["verdicts"][7] == {
        "field": "pitfalls",
        "entry": None,
        "claim": None,
        "ruling": "refuted",
        "kind": "identifier",
        "reason": "x is nowhere, see line 12",
    }
    assert record["origins"]["verdicts"] == "model"
    assert record_result(stored(None))["verdicts"] is None


# -- a run -----------------------------------------------------------------------------------------


ANSWER = {"summary_120w": "Does what it says.", "pitfalls": ["It is slow."]}
GIVEN = [
    Verdict("summary_120w", "Does what it says.", "not provable", "prose", "prose"),
    Verdict("pitfalls", "It is slow.", "proven", "raises", "as it is"),
    Verdict("pitfalls", "It raises KeyError.", "refuted", "raises", "nothing is raised"),
    Verdict("inputs", "k: of", "refuted", "parameter", "k is none"),
]


@pytest.fixture
def finished(repo, own_environ, at_home):
    """A run whose five spans were all given these verdicts: its report and its events."""
    settings = load_settings(repo, Flags(retry_wait=0.0), own_environ)
    engine.index(repo, settings)
    events = []
    backend = FakeBackend(lambda _: ANSWER, meta={"verdicts": GIVEN})
    report = engine.enrich(
        repo, settings, hooks=(events.append,), builder=FakeBuilder(settings, backend)
    )
    assert report.enriched == 5
    return repo, report, events


def command(capsys, *words):
    capsys.readouterr()
    assert cli.main([*words]) == 0
    return capsys.readouterr().out


def test_a_run_stores_the_verdicts_and_says_how_many_claims_it_dropped(finished, capsys):
    repo, report, events = finished
    assert report.dropped == {"parameter": 5, "raises": 5}
    [line] = [line for line in sum_up(report).plain.splitlines() if "claims" in line]
    assert line == "claims    10 refuted and dropped (5 parameter, 5 raises)"
    spans = [event.report for event in events if isinstance(event, SpanEnriched)]
    assert tell_span(spans[0], 1, 5).plain.endswith("  2 claims dropped")
    assert record_run(report, [], {}, 0)["claims_dropped"] == report.dropped
    text = command(capsys, "show", "small.py", "--repo", str(repo))
    assert text.count("✓ It is slow. (as it is)") == 5


def test_status_counts_the_claims(finished, capsys):
    repo, *_ = finished
    text = command(capsys, "status", str(repo))
    assert (
        "claims: 5 proven by the parser, 5 not provable, "
        "10 refuted and dropped (5 parameter, 5 raises)\n" in text
    )
    assert "not checked" not in text
    record = json.loads(command(capsys, "status", str(repo), "--json"))
    assert record["claims"] == {
        "proven": 5,
        "not_provable": 5,
        "dropped": 10,
        "dropped_by_kind": {"parameter": 5, "raises": 5},
    }
    assert record["not_checked"] == 0


def test_status_says_of_how_many_enrichments_no_claim_was_checked(finished, capsys, monkeypatch):
    repo, *_ = finished
    monkeypatch.setenv("XDG_CONFIG_HOME", str(repo.parent / "another"))
    text = command(capsys, "status", str(repo))
    assert "claims of 5 enrichments were not checked\n" in text
    assert "proven" not in text
    record = json.loads(command(capsys, "status", str(repo), "--json"))
    assert (record["not_checked"], record["claims"]["proven"]) == (5, 0)
