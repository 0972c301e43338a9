"""`llmc ledger check`: what the logs say is compared with a real index, and gaps are filled."""

import fcntl
import gzip
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from llmc.errors import StoreError
from llmc.events import SpanEnriched, SpanFailed, SpanUnfinished
from llmc.models import (
    Attempt,
    AttemptOutcome,
    Enrichment,
    SpanMetrics,
    SpanReport,
)
from llmc.records import jsonl
from llmc.records.audit import examine
from llmc.records.fields import LEDGER_FIELDS, METRICS_FIELDS, TOTALS_FIELDS
from llmc.records.ledger import Ledger
from llmc.records.rebuild import rebuild
from llmc.show.audit import record_audit, tell_audit
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.reader import Reader
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome


def digest(name):
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


class Project:
    """A repository whose spans are settled one by one, with their lines or without."""

    def __init__(self, root):
        self.root = root
        (root / ".git").mkdir(parents=True)
        self.index = root / ".rag/index_v2.db"
        self.ledger_log = root / "logs/run_ledger.log"
        self.metrics_log = root / "logs/enrichment_metrics.jsonl"

    def put(self, *names, path="a.py"):
        """Make the index hold one file of spans, or take out what isn't named."""
        spans = tuple(
            ParsedSpan(name, "function", n * 10 + 1, n * 10 + 5, n * 99, n * 99 + 50, digest(name))
            for n, name in enumerate(names)
        )
        with Store.open(self.index, create=True) as store:
            store.spans.put_file(ParsedFile(path, "python", repr(names), 1, 1.0, spans))

    def settle(self, name, kind=None, *, lines=("metrics", "ledger"), at=None):
        """Store an enrichment or, with a `kind`, a failure; then write its lines."""
        at = at or time.time()
        result, reason = ("fail", kind) if kind else ("pass", "success")
        outcome = Outcome(result, reason, None, "7b", "ollama", "m:7b", 1, 10, 20, 1500, at)
        with Store.open(self.index) as store:
            [span] = [found for found in store.spans.list_pending(0, 1000) if found.symbol == name]
            if kind:
                store.save_failure(span, outcome)
            else:
                store.save_enrichment(
                    span, Enrichment(summary_120w="Adds."), schema_version="v1", outcome=outcome
                )
        good = None if kind else Enrichment(summary_120w="Adds.")
        last = AttemptOutcome(
            Attempt(1, "7b", 0), "ollama", 1.0, "m:7b", enrichment=good, failure_type=kind
        )
        sizes = SpanMetrics(5, 1, 2, 3, 400, 1200)
        report = SpanReport(span, sizes, (last,), "7b", "m:7b", "v1", 0.001)
        self.record(SpanFailed(report) if kind else SpanEnriched(report, 9, 1), lines)
        return report

    def record(self, event, lines=("metrics", "ledger")):
        """Write the lines of a span to the logs that are named."""
        ledger = Ledger(self.root, self.metrics_log, est_tokens_per_span=350)
        before = {path: path.read_bytes() for path in self.logs if path.exists()}
        ledger(event)
        for name, path in zip(("ledger", "metrics"), self.logs, strict=True):
            if name not in lines:
                path.unlink()
                if path in before:
                    path.write_bytes(before[path])

    @property
    def logs(self):
        return self.ledger_log, self.metrics_log

    def sql(self, statement):
        with sqlite3.connect(self.index) as raw:
            raw.execute("PRAGMA foreign_keys = ON")
            raw.execute(statement)
        raw.close()

    def check(self, patience=0.0):
        with Reader.open_readonly(self.index) as reader:
            return examine(reader, self.root, self.metrics_log, patience=patience)

    def rebuild(self, **options):
        with Reader.open_readonly(self.index) as reader:
            return rebuild(reader, self.root, self.metrics_log, patience=0.0, **options)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def gaps(audit):
    return {gap.span_hash: (gap.metrics, gap.ledger) for gap in audit.gaps}


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path / "repo")
    found.put("one", "two", "three")
    return found


# -- agreement -----------------------------------------------------------------------------------


def test_a_run_that_ended_well_agrees(project):
    project.settle("one")
    project.settle("two", "parse")
    audit = project.check()
    assert (audit.agrees, audit.outcomes, audit.lines) == (True, 2, 4)


def test_an_index_without_a_run_agrees_with_no_logs_at_all(project):
    assert project.check().agrees


def test_an_unfinished_span_has_lines_and_no_outcome(project):
    report = project.settle("one", "runtime", lines=())
    project.sql("DELETE FROM llmc_outcomes")
    project.record(SpanUnfinished(report))
    assert project.check().agrees


def test_enrichments_of_another_program_are_counted_apart(project):
    project.sql(f"INSERT INTO enrichments (span_hash, summary) VALUES ('{digest('two')}', 'x')")
    project.settle("one")
    audit = project.check()
    assert (audit.agrees, audit.elsewhere) == (True, 1)


def test_an_index_of_another_program_alone_agrees(project):
    for table in ("twins", "outcomes", "archive"):
        project.sql(f"DROP TABLE llmc_{table}")
    project.sql(f"INSERT INTO enrichments (span_hash, summary) VALUES ('{digest('two')}', 'x')")
    audit = project.check()
    assert (audit.agrees, audit.outcomes, audit.elsewhere) == (True, 0, 1)


def test_lines_of_other_programs_are_nothing_to_it(project):
    project.settle("one")
    for path in project.logs:
        jsonl.append(path, [{"earlier": 1}, {"task_id": 5}, {"task_id": "x", "result": []}])
    assert project.check().agrees


def test_both_logs_may_be_one_file(project):
    project.metrics_log = project.ledger_log
    project.settle("one")
    with project.ledger_log.open("ab") as log:
        log.write(b"torn\n")
    audit = project.check()
    assert (audit.agrees, audit.lines) == (True, 3)
    assert [damage.lines for damage in audit.damaged] == [(3,)]


# -- missing lines -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "parse"], ids=["pass", "fail"])
@pytest.mark.parametrize("there", [(), ("metrics",), ("ledger",)], ids=str)
def test_an_outcome_without_its_lines_is_a_gap(project, kind, there):
    project.settle("one")
    project.settle("two", kind, lines=there)
    audit = project.check()
    assert gaps(audit) == {digest("two"): ("metrics" not in there, "ledger" not in there)}
    assert not audit.agrees


def test_the_line_of_an_earlier_failure_does_not_stand_for_the_last_one(project):
    project.settle("one", "parse", at=time.time() - 100)
    for path in project.logs:
        [record] = lines(path)
        record["timestamp"] = (datetime.now(UTC) - timedelta(seconds=100)).isoformat()
        path.write_text(json.dumps(record) + "\n")
    assert project.check().agrees
    project.settle("one", "parse", lines=())
    assert gaps(project.check()) == {digest("one"): (True, True)}


def test_the_line_of_a_failure_does_not_stand_for_a_pass(project):
    project.settle("one", "parse")
    project.settle("one", lines=())
    assert gaps(project.check()) == {digest("one"): (True, True)}


def test_the_metrics_line_of_an_unfinished_span_does_not_stand_for_its_failure(project):
    report = project.settle("one", "parse", lines=("ledger",))
    project.record(SpanUnfinished(report))
    assert gaps(project.check()) == {digest("one"): (True, False)}


@pytest.mark.parametrize("timestamp", [None, 5, "yesterday", "9999-99-99", "2026-01-01T25:00"])
def test_a_line_whose_time_cannot_be_read_counts(project, timestamp):
    project.settle("one")
    for path in project.logs:
        [record] = lines(path)
        path.write_text(json.dumps(record | {"timestamp": timestamp}) + "\n")
    assert project.check().agrees


@pytest.mark.parametrize("name", ["{}.1", "{}-20260131", "{}.2026-01-31", "{}.2.gz"])
def test_the_lines_of_rotated_logs_count(project, name):
    project.settle("one")
    for path in project.logs:
        data = path.read_bytes()
        path.unlink()
        rotated = path.with_name(name.format(path.name))
        rotated.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    project.settle("two")
    assert project.check().agrees


def test_metrics_lines_count_in_the_usual_log_and_in_the_one_that_is_named(project, tmp_path):
    project.settle("one")
    project.metrics_log = tmp_path / "named.jsonl"
    project.settle("two")
    assert project.check().agrees


def test_rebuilding_into_a_named_log_repeats_no_line_of_the_usual_one(project, tmp_path):
    project.settle("one")
    project.settle("two", lines=("ledger",))
    project.metrics_log = tmp_path / "named.jsonl"
    audit = project.rebuild()
    assert (audit.rebuilt, audit.agrees) == (1, True)
    assert [line["span_hash"] for line in lines(project.metrics_log)] == [digest("two")]


def test_lines_of_another_repository_in_a_shared_log_do_not_count(project, tmp_path):
    other = Project(tmp_path / "other")
    other.put("one", "two", "three")
    project.metrics_log = other.metrics_log = tmp_path / "shared.jsonl"
    project.settle("one", lines=("ledger",))
    other.settle("one")
    assert gaps(project.check()) == {digest("one"): (True, False)}
    assert other.check().agrees


def test_a_repository_that_was_moved_finds_its_lines_in_a_shared_log(project, tmp_path):
    project.metrics_log = tmp_path / "shared.jsonl"
    project.settle("one")
    project.root = project.root.rename(tmp_path / "moved")
    project.index = project.root / ".rag/index_v2.db"
    assert project.check().agrees


def test_the_ledger_of_another_repository_does_not_stand_for_ours(project, tmp_path):
    other = Project(tmp_path / "other")
    other.put("one", "two", "three")
    other.settle("one")
    project.settle("one", lines=("metrics",))
    project.metrics_log = other.ledger_log
    assert gaps(project.check()) == {digest("one"): (False, True)}


def test_a_metrics_log_that_is_no_file_cannot_be_compared(project):
    os.mkfifo(project.root / "pipe")
    project.metrics_log = project.root / "pipe"
    with pytest.raises(StoreError, match="pipe is no file"):
        project.check()


def test_rebuilding_writes_through_no_link_that_leads_out(project, tmp_path):
    project.settle("one", lines=())
    (project.root / "logs").rmdir()
    (project.root / "logs").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="leads out of the repository"):
        project.rebuild()
    assert not (tmp_path / "run_ledger.log").exists()


def test_a_backup_made_by_hand_does_not_count(project):
    project.settle("one")
    for path in project.logs:
        path.rename(f"{path}.bak")
    assert gaps(project.check()) == {digest("one"): (True, True)}


def test_lines_that_a_run_writes_a_moment_later_are_no_gap(project):
    project.settle("one", lines=())
    report = project.settle("two")

    def write_late():
        time.sleep(0.2)
        late = SpanReport(
            project_span(project, "one"), report.metrics, report.outcomes, "7b", "m", "v1", 0.0
        )
        project.record(SpanEnriched(late, 9, 2))

    writer = threading.Thread(target=write_late)
    writer.start()
    audit = project.check(patience=3.0)
    writer.join()
    assert audit.gaps == ()


def project_span(project, name):
    with Reader.open_readonly(project.index) as reader:
        [found] = [r.span for r in reader.results.find("a.py") if r.span.symbol == name]
    return found


# -- rebuilding ----------------------------------------------------------------------------------


def test_rebuilding_writes_what_is_missing_and_then_they_agree(project):
    project.settle("one", lines=())
    project.settle("two", "parse", lines=("metrics",))
    project.settle("three")
    audit = project.rebuild()
    assert (audit.agrees, audit.rebuilt, len(audit.gaps)) == (True, 2, 2)
    assert project.check() == type(audit)(outcomes=3, elsewhere=0, lines=6, gaps=(), lost=())


def test_rebuilding_twice_adds_nothing(project):
    project.settle("one", lines=())
    project.rebuild()
    before = [path.read_bytes() for path in project.logs]
    assert project.rebuild().gaps == ()
    assert [path.read_bytes() for path in project.logs] == before


def test_a_rebuilt_pass_says_what_the_index_knows(project):
    at = 1_700_000_000.25
    project.settle("two", lines=(), at=at)
    project.rebuild(log_fields=("team",))
    [line], [metrics] = (lines(path) for path in project.logs)
    stamp = "2023-11-14T22:13:20.250000+00:00"
    known = {
        "timestamp": stamp,
        "task_id": digest("two"),
        "path": "a.py",
        "tier_used": "7b",
        "line_count": 5,
        "promo": "none",
        "schema_ok": True,
        "attempts": 1,
        "wall_ms": 1500,
        "result_model": "m:7b",
        "result": "pass",
        "reason": "success",
        "rebuilt": True,
    }
    assert line == dict.fromkeys(LEDGER_FIELDS) | known
    assert metrics == dict.fromkeys(("team", *METRICS_FIELDS, *TOTALS_FIELDS)) | {
        "timestamp": stamp,
        "repo_root": str(project.root),
        "span_hash": digest("two"),
        "path": "a.py",
        "duration_sec": 1.5,
        "model": "m:7b",
        "tier": "7b",
        "schema_ok": True,
        "attempts": 1,
        "rebuilt": True,
    }


def test_a_rebuilt_failure_says_its_kind_and_its_tier(project):
    project.settle("one", "truncation", lines=())
    project.rebuild()
    [line], [metrics] = (lines(path) for path in project.logs)
    assert (line["result"], line["reason"], line["router_tier"]) == ("fail", "truncation", "7b")
    assert (metrics["schema_ok"], metrics["router_tier"]) == (False, "7b")
    assert not metrics.keys() & set(TOTALS_FIELDS)


def test_many_gaps_are_filled(project):
    names = [f"f{n}" for n in range(1200)]
    project.put(*names)
    project.settle("f0")
    project.sql(
        "INSERT INTO llmc_outcomes SELECT s.span_hash, 'fail', 'parse', NULL, '7b', 'ollama', 'm', "
        "1, 1, 5, 5, 10, 1700000000 + s.id FROM spans s WHERE s.span_hash NOT IN "
        "(SELECT span_hash FROM llmc_outcomes)"
    )
    audit = project.rebuild()
    assert (audit.agrees, audit.rebuilt) == (True, 1199)
    assert [len(lines(path)) for path in project.logs] == [1200, 1200]
    assert project.check().agrees


def test_rebuilding_seals_a_torn_line_first(project):
    project.settle("one", lines=())
    project.ledger_log.parent.mkdir(exist_ok=True)
    project.ledger_log.write_bytes(b'{"task_id": "sha')
    audit = project.rebuild()
    assert audit.agrees
    assert project.ledger_log.read_bytes().startswith(b'{"task_id": "sha\n{"timestamp"')


def test_two_programs_do_not_rebuild_at_once(project):
    project.settle("one", lines=())
    project.ledger_log.parent.mkdir(exist_ok=True)
    other = os.open(project.ledger_log.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match="another program rebuilds the logs"):
        project.rebuild()
    os.close(other)
    assert project.rebuild().rebuilt == 1


# -- lost results --------------------------------------------------------------------------------


def test_a_pass_whose_enrichment_is_gone_is_lost(project):
    project.settle("one")
    project.settle("two")
    project.sql(f"DELETE FROM enrichments WHERE span_hash = '{digest('two')}'")
    audit = project.check()
    assert [span.symbol for span in audit.lost] == ["two"]
    assert (audit.gaps, audit.agrees) == ((), False)


def test_a_pass_that_only_the_ledger_knows_is_told_and_may_be_another_index_s(project):
    project.settle("one")
    project.index = project.root / ".rag/second.db"
    project.put("one", "two", "three")
    audit = project.check()
    assert [span.symbol for span in audit.unknown] == ["one"]
    assert (audit.lost, audit.agrees) == ((), True)
    assert "unknown   1 span passed" in "\n".join(tell_audit(audit))
    assert [span["symbol"] for span in record_audit(audit)["unknown"]] == ["one"]


def test_a_lost_result_stays_lost_after_a_rebuild(project):
    project.settle("one", lines=())
    project.sql("DELETE FROM enrichments")
    audit = project.rebuild()
    assert ([span.symbol for span in audit.lost], audit.agrees) == (["one"], False)


def test_a_pass_whose_text_left_the_index_is_not_lost(project):
    project.settle("one")
    project.put("two", "three")
    assert project.check().agrees


def test_a_pass_whose_text_came_back_has_its_archived_enrichment(project):
    project.settle("one")
    project.put("two")
    project.put("one", "two")
    audit = project.check()
    assert (audit.agrees, audit.elsewhere) == (True, 1)


def test_an_archived_result_of_a_span_in_the_index_is_not_lost(project):
    project.settle("one")
    project.sql(
        "INSERT INTO llmc_archive (span_hash, start_line) SELECT span_hash, 1 FROM enrichments"
    )
    project.sql("DELETE FROM enrichments")
    assert project.check().lost == ()


def test_passes_of_hashes_that_no_database_holds_are_passed_over(project):
    project.settle("one")
    odd = ["\ud800", "a\0b", "x" * 5_000_000, "", *(f"sha256:{n}" for n in range(1500))]
    jsonl.append(project.ledger_log, [{"task_id": name, "result": "pass"} for name in odd])
    assert project.check().agrees


# -- what nothing can mend -----------------------------------------------------------------------


def test_damaged_lines_are_told_by_number_and_are_history(project):
    project.settle("one")
    with project.ledger_log.open("ab") as log:
        log.write(b'{"task_id": "sh\n' + b"[" * 100_000 + b"\n\x00\xff\n")
    project.settle("two")
    audit = project.check()
    [damage] = audit.damaged
    assert (damage.log, damage.count, damage.lines) == (project.ledger_log, 3, (2, 3, 4))
    assert audit.agrees


def test_a_torn_line_leaves_its_outcome_without_one(project):
    project.settle("one")
    project.ledger_log.write_bytes(project.ledger_log.read_bytes()[:-40])
    audit = project.check()
    assert gaps(audit) == {digest("one"): (False, True)}
    assert [damage.lines for damage in audit.damaged] == [(1,)]


def again(project, seconds):
    """Write the ledger line of the only span once more, as if `seconds` later."""
    [record] = lines(project.ledger_log)
    at = datetime.fromisoformat(record["timestamp"]) + timedelta(seconds=seconds)
    jsonl.append(project.ledger_log, [record | {"timestamp": at.isoformat(), "wall_ms": 2000}])


def test_a_second_pass_after_the_first_is_normal(project):
    project.settle("one")
    again(project, 60)
    assert project.check().twice == ()


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_second_pass_at_the_time_of_the_first_is_told(project, seconds):
    project.settle("one")
    [record] = lines(project.ledger_log)
    project.ledger_log.write_text(json.dumps(record | {"wall_ms": 2000}) + "\n")
    again(project, seconds)
    assert project.check().twice == (digest("one"),)


def test_a_copied_line_is_told(project):
    project.settle("one")
    [record] = lines(project.ledger_log)
    project.ledger_log.unlink()
    jsonl.append(project.ledger_log, [record | {"wall_ms": 0}] * 2)
    assert project.check().twice == (digest("one"),)


@pytest.mark.parametrize(
    "wall",
    [None, "x", -5, 10**400, float("nan"), float("inf"), True],
    ids=["null", "text", "negative", "digits", "nan", "infinity", "bool"],
)
def test_odd_durations_do_no_harm(project, wall):
    project.settle("one")
    [record] = lines(project.ledger_log)
    project.ledger_log.write_text(json.dumps(record | {"wall_ms": wall}) + "\n")
    assert project.check().agrees


# -- the command ---------------------------------------------------------------------------------


def llmc(project, env, *words):
    return subprocess.run(
        [sys.executable, "-m", "llmc", "ledger", "check", project.root, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_says_that_they_agree(project, clean_environ):
    project.settle("one")
    result = llmc(project, clean_environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "logs and index agree"


def test_the_command_names_what_is_missing_and_mends_it_on_demand(project, clean_environ):
    project.settle("one")
    project.settle("two", "parse", lines=())
    found = llmc(project, clean_environ)
    assert found.returncode == 1
    assert "a.py:11 fail: no metrics and ledger line" in found.stdout
    mended = llmc(project, clean_environ, "--rebuild")
    assert mended.returncode == 0
    assert "missing   the lines of 1 outcomes; 1 rebuilt" in mended.stdout
    assert llmc(project, clean_environ).returncode == 0


def test_the_command_cannot_mend_a_lost_result(project, clean_environ):
    project.settle("one")
    project.sql("DELETE FROM enrichments")
    result = llmc(project, clean_environ, "--rebuild")
    assert result.returncode == 1
    assert "a.py:1 one" in result.stdout


def test_the_command_in_json(project, clean_environ):
    project.settle("one", lines=("metrics",))
    result = llmc(project, clean_environ, "--json")
    found = json.loads(result.stdout)
    assert (result.returncode, found["agrees"], found["outcomes"]) == (1, False, 1)
    [gap] = found["missing"]
    assert (gap["span_hash"], gap["path"], gap["line"], gap["result"], gap["metrics"]) == (
        digest("one"),
        "a.py",
        1,
        "pass",
        False,
    )


def test_the_command_reads_a_metrics_log_elsewhere(project, clean_environ, tmp_path):
    project.metrics_log = tmp_path / "moved.jsonl"
    project.settle("one")
    assert llmc(project, clean_environ).returncode == 1
    assert llmc(project, clean_environ, "--log", tmp_path / "moved.jsonl").returncode == 0


def test_the_command_cannot_run_without_an_index(tmp_path, clean_environ):
    project = Project(tmp_path / "repo")
    result = llmc(project, clean_environ)
    assert result.returncode == 2
    assert "there is no index" in result.stderr


def test_the_command_needs_to_be_told_what_to_do(clean_environ):
    result = subprocess.run(
        [sys.executable, "-m", "llmc", "ledger"],
        env=clean_environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2


def test_a_check_leaves_the_logs_and_the_repository_as_they_are(project, clean_environ):
    before = sorted(project.root.iterdir())
    assert llmc(project, clean_environ).returncode == 0
    assert sorted(project.root.iterdir()) == before


def test_no_name_reaches_the_terminal_as_control(project):
    project.put("evil\x1b[31m", path="a\n\x1b]0;x\x07.py")
    project.settle("evil\x1b[31m", lines=())
    project.sql("DELETE FROM enrichments")
    text = "\n".join(tell_audit(project.check()))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert len(text.splitlines()) == 7


def test_long_lists_are_cut_for_people_and_whole_in_json(project):
    names = [f"f{n}" for n in range(30)]
    project.put(*names)
    for name in names:
        project.settle(name, lines=())
    audit = project.check()
    assert "          and 10 more; --json names all" in list(tell_audit(audit))
    assert len(record_audit(audit)["missing"]) == 30
