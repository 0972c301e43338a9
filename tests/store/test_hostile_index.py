"""Whatever a program has written into the index: no command falls over it, no result is lost."""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest

from llmc import cli, engine
from llmc.events import Warned
from llmc.models import Enrichment
from llmc.records.rebuild import rebuild
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome
from llmc.store.tables.values import read_list
from llmc.testing.ollama import FakeOllama, Reply
from tests import driving

GOOD = Reply(text='{"summary_120w": "Does what it says."}')
LAST = "WHERE id = (SELECT max(id) FROM spans)"
FAILED = "WHERE result = 'fail'"

NO_SPAN = [
    f"UPDATE spans SET {change} {LAST}"
    for change in (
        "byte_start = 'abc'",
        "byte_end = 1e300",
        "byte_start = -1",
        "byte_start = byte_end + 1",
        "start_line = 'x'",
        "start_line = x'00ff'",
        "end_line = 9223372036854775807",
        "end_line = start_line - 1",
        "symbol = x'616263'",
        "symbol = 'a' || char(0) || 'b'",
        "kind = x'ff'",
        "span_hash = CAST(x'ff' AS TEXT)",
        "span_hash = x'00'",
        "span_hash = ''",
        "span_hash = 'ä'",
        "id = -5",
        "file_id = 'none'",
    )
]
NO_FILE = [
    f"UPDATE files SET {change}"
    for change in (
        "path = 'small' || char(0) || '.py'",
        "path = CAST(path AS BLOB)",
        "path = CAST(x'ff2e7079' AS TEXT)",
        "path = '../small.py'",
        "path = '/etc/passwd'",
        "path = ''",
        "path = replace(hex(zeroblob(3000)), '00', 'long')",
        "lang = CAST(x'00' AS BLOB)",
        "lang = 'py' || char(0)",
        "size = 'big', lang = x'ff'",
        "mtime = 'once', file_hash = x'ff'",
    )
]
BESIDE = [
    "UPDATE spans SET symbol = CAST(x'ff' AS TEXT), doc_hint = x'ff00'",
    f"UPDATE spans SET id = 9223372036854775807 {LAST}",
    "UPDATE enrichments SET tags = x'ff', summary = x'ff', usage_snippet = x'ff00'",
    "UPDATE enrichments SET model = x'ff', created_at = 1e999, schema_ver = x'00'",
    "UPDATE enrichments SET inputs = 5, outputs = x'ff', pitfalls = '[[[', evidence = 1e300",
    f"UPDATE enrichments SET evidence = '{'[' * 900}{']' * 900}'",
    """UPDATE enrichments SET evidence = '[{"field": 1, "lines": ["a", 1e999]}]'""",
    "UPDATE llmc_outcomes SET tier = x'ff', model = x'ff', reason = x'ff'",
    "UPDATE llmc_outcomes SET updated_at = 'abc', attempts = 'x'",
    "UPDATE llmc_outcomes SET updated_at = 1e300, wall_ms = -1e300",
    "UPDATE llmc_outcomes SET updated_at = 9e999",
    "UPDATE llmc_outcomes SET prompt_tokens = 9223372036854775807, failed_runs = 'x'",
    "UPDATE llmc_outcomes SET prompt_tokens = 'x', completion_tokens = 1e300",
    "UPDATE llmc_failures SET count = 'abc', kind = x'ff', detail = x'00', excerpt = x'ff'",
    "UPDATE llmc_failures SET count = 9223372036854775807, retry_at = 'x', failed_at = x'00'",
    "UPDATE llmc_failures SET count = -7, retry_at = 9e999, failed_at = 1e300",
    "INSERT INTO llmc_claims VALUES (x'ff', x'ff', 'never'), ('a', CAST(x'ff' AS TEXT), 9e999)",
    "INSERT INTO llmc_claims SELECT span_hash, '1-0123456789abcdef', 9e999 FROM spans",
    "INSERT INTO llmc_origins SELECT span_hash, x'ff', 'result', 'x', 'y', 'z' FROM spans",
    "INSERT INTO llmc_verdicts SELECT span_hash, x'ff', -1, 1, 'a', 'b', x'ff', 'c' FROM spans",
    f"INSERT INTO llmc_twins SELECT 1, span_hash, 1, x'ff', 'x', -1, 2, 1, 0 FROM spans {LAST}",
]


class Project:
    """A repository whose index has five spans: two enriched, one failed, two pending."""

    def __init__(self, settings):
        self.settings = settings
        self.index = settings.index_path
        engine.index(settings.repo, settings)
        with Store.open(self.index) as store:
            first, second, third, *_ = store.spans.list_pending(0, 9)
            for span in (first, second):
                done = outcome("pass", "success")
                store.save_enrichment(
                    span, Enrichment(summary_120w="s"), schema_version="v", outcome=done
                )
            store.save_failure(third, outcome("fail", "parse"), signature="m")
            rebuild(store, settings.repo, settings.metrics_log, patience=0.0)

    def damage(self, statement):
        with closing(sqlite3.connect(self.index)) as raw:
            raw.execute("PRAGMA foreign_keys = OFF")
            raw.execute(statement)
            raw.commit()

    def llmc(self, *words):
        return cli.main(words)

    def enrich(self, **changes):
        """Enrich without an index pass before."""
        settings = self.settings.change(retry_failed=True, **changes)
        return engine.enrich(self.settings.repo, settings)

    def totals(self):
        with Store.open_readonly(self.index) as reader:
            return reader.counts.count_all()


def outcome(result, reason):
    return Outcome(result, reason, None, "7b", "ollama", "m", 1, 9, 9, 9, time.time())


@pytest.fixture(scope="module")
def host():
    with FakeOllama(lambda call: GOOD) as fake:
        yield fake


@pytest.fixture
def project(repo, clean_environ, monkeypatch, host):
    environ = clean_environ | {"ENRICH_OLLAMA_HOSTS": f"attic={host.url}"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Project(load_settings(repo, Flags(retry_wait=0.0), environ))


@pytest.mark.parametrize("statement", NO_SPAN + NO_FILE + BESIDE)
def test_no_command_falls_over_it(project, statement, capfd):
    project.damage(statement)
    repo = str(project.settings.repo)
    for words in (
        ("status", repo),
        ("status", repo, "--json"),
        ("show", "--repo", repo, "--json"),
        ("ledger", "check", repo),
        ("ledger", "check", repo, "--rebuild"),
        ("enrich", repo, "--retry-failed", "--limit", "1"),
        ("index", repo),
        ("status", repo),
    ):
        assert project.llmc(*words) in (0, 1), words
        capfd.readouterr()
    assert project.llmc("show", "small.py", "--repo", repo) == 0


@pytest.mark.parametrize("statement", NO_SPAN + NO_FILE + BESIDE)
def test_what_is_paid_for_is_stored_and_the_rest_left_alone(project, statement):
    project.damage(statement)
    before = project.totals()
    report = project.enrich()
    after = project.totals()
    assert after.enriched == before.enriched + report.enriched
    assert report.failed == {}


@pytest.mark.parametrize("statement", NO_SPAN + NO_FILE + BESIDE)
def test_an_index_pass_mends_it(project, statement):
    project.damage(statement)
    engine.index(project.settings.repo, project.settings)
    project.enrich()
    totals = project.totals()
    assert (totals.files, totals.spans, totals.enriched, totals.pending) == (1, 5, 5, 0)


@pytest.mark.parametrize("statement", [*NO_SPAN, *NO_FILE[:4]])
def test_what_was_mended_is_said_and_is_mended_once(project, statement):
    project.damage(statement)
    said = []
    engine.index(project.settings.repo, project.settings, hooks=(said.append,))
    assert [type(event) for event in said] == [Warned]
    assert "could not be used" in said[0].message
    said.clear()
    engine.index(project.settings.repo, project.settings, hooks=(said.append,))
    assert said == []


def test_a_result_outlives_the_damage_to_its_span(project):
    project.damage("UPDATE spans SET start_line = 'x'")
    engine.index(project.settings.repo, project.settings)
    assert project.totals().enriched == 2


def test_an_archived_result_with_a_bad_line_comes_back(project):
    source = project.settings.repo / "small.py"
    text = source.read_text()
    source.write_text("x = 1\n")
    engine.index(project.settings.repo, project.settings)
    project.damage("UPDATE llmc_archive SET start_line = 'x', evidence = 7")
    source.write_text(text)
    engine.index(project.settings.repo, project.settings)
    assert project.totals().enriched == 2


@pytest.mark.parametrize("count", ["'abc'", "x'ff'", "9223372036854775807", "-7", "1e300"])
def test_a_count_that_is_none_starts_anew(project, count):
    project.damage(f"UPDATE llmc_failures SET count = {count}")
    with Store.open(project.index) as store:
        [span] = [shown.span for shown in store.results.find("small.py") if shown.failure]
        store.save_failure(span, outcome("fail", "parse"), signature="m")
        [failure] = [shown.failure for shown in store.results.find("small.py") if shown.failure]
    assert failure.count == 1


@pytest.mark.parametrize("statement", NO_SPAN)
def test_what_can_not_be_a_span_is_not_work(project, statement):
    project.damage(statement)
    with Store.open(project.index) as store:
        assert (
            len(store.spans.list_pending(0, 9)) == len(store.claims.take(0, 9, lease_sec=60)) == 2
        )


def test_lists_nested_too_deep_count_as_empty():
    assert read_list("[" * 5 + "]" * 5) != []
    assert read_list("[" * 900 + "]" * 900) == []


def test_tokens_past_belief_are_not_counted(project):
    project.damage(f"UPDATE llmc_outcomes SET prompt_tokens = 9223372036854775807 {FAILED}")
    assert project.totals().prompt_tokens == 18
    project.enrich()
    assert project.totals().prompt_tokens < 1_000_000


def test_numbers_beyond_64_bits_do_not_keep_a_result_from_being_stored(project):
    with Store.open(project.index) as store:
        span = store.spans.list_pending(0, 9)[-1]
        paid = replace(outcome("pass", "success"), prompt_tokens=10**30)
        assert store.save_enrichment(
            span, Enrichment(summary_120w="s"), schema_version="v", outcome=paid
        )


def test_the_batch_driver_does_not_fall_over_it(tmp_path):
    repo = driving.make_repo(tmp_path / "repo")
    repo.add("src/all.py", driving.plain("G_1"), driving.plain("G_2"), driving.plain("G_3"))
    repo.execute(f"UPDATE spans SET byte_start = 'abc' {LAST}")
    with FakeOllama(driving.lettered("G_1", "G_2", "G_3")) as host:
        run = driving.drive(repo, hosts={"attic": host})
    assert (run.status, sorted(run.rows)) == (0, ["G_1", "G_2"])


def test_status_in_json_is_still_json(project, capsys):
    project.damage("UPDATE files SET lang = x'ff'")
    project.llmc("status", str(project.settings.repo), "--json")
    assert json.loads(capsys.readouterr().out)["files"] == 1
