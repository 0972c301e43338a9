"""At the end of a run it is said why spans are left, and when those that failed are tried again."""

import json
import subprocess
import sys
import time

import pytest

from llmc.events import SpanEnriched, SpanLeft
from llmc.models import RunReport, Span
from llmc.show.progress.lines import sum_up
from llmc.show.remains import Outlook, Reason, Remains, tell_retry
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama, Reply

GOOD = Reply(text='{"summary_120w": "Does what it says."}')


def span(number):
    return Span(number, "a.py", "python", f"f{number}", "function", 1, 2, 0, 9, f"sha256:{number}")


def report(left, enriched=0, **more):
    return RunReport(enriched, {}, left, 1.0, **more)


def explained(a_report, *events, **around):
    remains = Remains()
    for event in events:
        remains(event)
    return [(reason.count, reason.why) for reason in remains.explain(a_report, Outlook(**around))]


@pytest.mark.parametrize(
    ("given", "around", "expected"),
    [
        (report(0), {}, []),
        (report(7, enriched=5), {"limit": 5}, [(7, "beyond the limit of 5")]),
        (report(7, interrupted=True), {}, [(7, "not begun or not settled when the run ended")]),
        (report(7, stopped="x"), {"limit": 5},
         [(7, "not begun or not settled when the run ended")]),
        (report(7), {"claimed": 3, "cooldown": 60},
         [(3, "in work in another run"),
          (4, "in files that changed less than 60 s ago (the cooldown)")]),
        (report(7), {}, [(7, "new in the index since the run began")]),
        (report(7, kept=7), {}, []),
        (report(2), {"claimed": 9}, [(2, "in work in another run")]),
    ],
)  # fmt: skip
def test_each_span_that_is_left_has_a_reason(given, around, expected):
    assert explained(given, **around) == expected


def test_spans_that_were_left_alone_are_counted_by_what_was_said_of_them():
    events = [SpanLeft(span(1), "changed"), SpanLeft(span(2), "changed"), SpanLeft(span(3), "odd")]
    assert explained(report(3), *events) == [(2, "changed"), (1, "odd")]


def test_a_span_that_is_left_twice_counts_once_and_one_that_came_back_does_not(settled):
    again = [SpanLeft(span(1), "changed"), SpanLeft(span(1), "at tier 14b")]
    assert explained(report(1), *again) == [(1, "at tier 14b")]
    back = [SpanLeft(span(1), "changed"), settled(span(1))]
    assert explained(report(1, enriched=4), *back, limit=4) == [(1, "beyond the limit of 4")]


@pytest.fixture
def settled():
    class Report:
        def __init__(self, span):
            self.span = span

    return lambda span: SpanEnriched(Report(span), 9, 1)


def test_the_end_has_a_line_for_each_reason():
    text = sum_up(report(3), [Reason(2, "in work in another run"), Reason(1, "odd")]).plain
    assert text.splitlines()[1:] == ["left      2 in work in another run", "left      1 odd"]


def test_what_rests_is_told_with_the_time_of_the_first():
    noon = time.mktime((2026, 3, 1, 12, 0, 0, 0, 0, -1))
    assert tell_retry(noon + 3600, noon) == "13:00"
    assert tell_retry(noon + 24 * 3600, noon) == "2026-03-02 12:00"
    assert tell_retry(None) == ""
    text = sum_up(RunReport(0, {}, 0, 1.0, resting=2), (), time.time() + 60).plain
    assert "2 failed in earlier runs and rest, the first until " in text
    assert text.endswith("; --retry-failed tries them now")


# -- as people see it ----------------------------------------------------------------------------


def llmc(*words, env):
    return subprocess.run(
        [sys.executable, "-m", "llmc", *map(str, words)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_limit_is_named(repo, clean_environ):
    with FakeOllama(lambda call: GOOD) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        result = llmc("enrich", repo, "--limit", 2, env=clean_environ)
    assert result.stdout.splitlines()[1:] == ["left      3 beyond the limit of 2"]


def test_the_json_has_the_reasons(repo, clean_environ):
    with FakeOllama(lambda call: GOOD) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        result = llmc("enrich", repo, "--limit", 2, "--json", env=clean_environ)
    expected = [{"count": 3, "why": "beyond the limit of 2"}]
    assert json.loads(result.stdout)["left_because"] == expected


def test_a_cooldown_is_named(repo, clean_environ):
    with FakeOllama(lambda call: GOOD) as fake:
        clean_environ |= {"ENRICH_OLLAMA_HOSTS": fake.url, "ENRICH_COOLDOWN_SECONDS": "900"}
        result = llmc("enrich", repo, env=clean_environ)
    expected = "left      5 in files that changed less than 900 s ago (the cooldown)"
    assert result.stdout.splitlines()[1:] == [expected]


def test_a_file_that_changes_during_the_run_is_named(repo, clean_environ):
    def spoil(call):
        (repo / "small.py").write_text("# another\n" * 40)
        return GOOD

    with FakeOllama(spoil) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        result = llmc("enrich", repo, env=clean_environ)
    assert "4 changed since the last llmc index, or not to be read" in result.stdout


def test_what_failed_is_told_with_when_it_is_tried_again(repo, clean_environ):
    with FakeOllama(lambda call: faults.WrongSchema()) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        first = llmc("enrich", repo, env=clean_environ).stdout
        second = llmc("enrich", repo, env=clean_environ).stdout
    assert "what failed rests, the first until " in first
    assert "5 failed in earlier runs and rest, the first until " in second


def test_in_a_pipe_nothing_is_wrapped_and_no_escape_is_sent(repo, clean_environ):
    name = "a_very_long_name_" * 9
    (repo / "small.py").write_text(f"def {name}():\n    return 1 + 1\n")
    clean_environ |= {"COLUMNS": "40", "CI": "true", "TERM": "xterm-256color"}
    with FakeOllama(lambda call: GOOD) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        result = llmc("enrich", repo, "--verbose", env=clean_environ)
    assert "\x1b" not in result.stdout + result.stderr
    assert any(line.startswith("1/1 ok") and name in line for line in result.stderr.splitlines())
