"""The engine indexes, plans, enriches and accounts, with fakes where a model would be."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from llmc import engine
from llmc.backends.builder import AttemptCascade, CallPolicy, CascadeBuilder
from llmc.backends.cascade import BackendCascade
from llmc.enrichment import prompts
from llmc.errors import ConfigError
from llmc.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    RunFinished,
    RunStarted,
    SpanEnriched,
    SpanFailed,
    SpanStarted,
    Warned,
)
from llmc.indexer.parsing import parse_file
from llmc.models import Enrichment
from llmc.run.worklist import Rules
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.presets import TierPreset
from llmc.store.store import Store
from llmc.testing import FakeBackend, refused, unusable
from llmc.testing.ollama import FakeOllama, Reply


class FakeBuilder(CascadeBuilder):
    """Hands out one fake backend and remembers the attempts it was asked for."""

    def __init__(self, settings, backend):
        super().__init__(settings, CallPolicy())
        self.backend = backend
        self.attempts = []

    def check(self):
        pass

    def __call__(self, attempt):
        self.attempts.append(attempt)
        preset = TierPreset(attempt.tier, "fake:7b", None, {"num_ctx": 1})
        cascade = BackendCascade([self.backend])
        return AttemptCascade(cascade, attempt.tier, preset, "h", "http://h", "ollama")


@pytest.fixture
def settings(repo, clean_environ):
    return load_settings(repo, Flags(retry_wait=0.0), clean_environ)


def answer(call):
    return {"summary_120w": f"About {call.item['symbol']}."}


def run(settings, script=answer, *, hooks=(), **changes):
    """Index and enrich with a fake backend; return (report, builder)."""
    settings = settings.change(**changes)
    engine.index(settings.repo, settings)
    backend = FakeBackend(script, meta={"backend": "ollama", "model": "fake:7b"})
    builder = FakeBuilder(settings, backend)
    return engine.enrich(settings.repo, settings, hooks=hooks, builder=builder), builder


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- indexing --------------------------------------------------------------------------------------


def test_indexing_finds_every_span(settings):
    report = engine.index(settings.repo, settings)
    assert (report.files, report.changed, report.spans) == (1, 1, 5)


def test_a_second_pass_touches_nothing(settings):
    engine.index(settings.repo, settings)
    report = engine.index(settings.repo, settings)
    assert (report.changed, report.removed, report.spans) == (0, 0, 5)


def test_a_file_touched_but_not_changed_counts_as_unchanged(settings):
    engine.index(settings.repo, settings)
    (settings.repo / "small.py").touch()
    assert engine.index(settings.repo, settings).changed == 0


def rewrite_unnoticed(path, text):
    """Give a file another text of the same size and time, as tar and rsync do."""
    before = path.stat()
    path.write_text(text.ljust(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_forced_pass_reads_files_that_look_unchanged(settings):
    engine.index(settings.repo, settings)
    rewrite_unnoticed(settings.repo / "small.py", "def other():\n    return 1 + 1\n")
    assert engine.index(settings.repo, settings).spans == 5
    assert engine.index(settings.repo, settings, force=True).spans == 1


def test_what_a_run_finds_changed_is_read_by_the_next_index_pass(settings):
    engine.index(settings.repo, settings)
    rewrite_unnoticed(settings.repo / "small.py", "def other():\n    return 1 + 1\n")
    assert run(settings)[0].enriched == 0
    assert engine.index(settings.repo, settings).spans == 1
    assert run(settings)[0].enriched == 1


def test_a_slow_pass_puts_no_new_time_on_what_a_faster_one_has_stored(settings):
    engine.index(settings.repo, settings)
    slow = parse_file(settings.repo, "small.py")
    (settings.repo / "small.py").write_text("def newer():\n    return 1 + 1\n")
    engine.index(settings.repo, settings)
    with Store.open(settings.index_path) as store:
        assert not store.spans.touch_file(slow)
        newer = (settings.repo / "small.py").stat()
        assert store.spans.list_files()["small.py"].mtime == newer.st_mtime != slow.mtime


def test_only_the_changed_span_loses_its_enrichment(settings):
    run(settings)
    path = settings.repo / "small.py"
    path.write_text("# a new first line\n" + path.read_text().replace("Hello", "Hi"))
    engine.index(settings.repo, settings)
    with Store.open(settings.index_path) as store:
        assert store.counts.count_results() == (5, 4)
        assert [span.symbol for span in store.spans.list_pending(0, 9)] == ["greet"]


def test_a_deleted_file_leaves_the_index(settings):
    engine.index(settings.repo, settings)
    (settings.repo / "small.py").unlink()
    report = engine.index(settings.repo, settings)
    assert (report.removed, report.spans) == (1, 0)


@pytest.mark.parametrize(
    "damage",
    [b"def broken(:\n  ((((", b"\xff not utf-8", b"a\0b"],
    ids=["syntax", "utf8", "nul"],
)
def test_a_file_that_cannot_be_parsed_is_named_and_keeps_its_spans(settings, damage):
    run(settings)
    (settings.repo / "small.py").write_bytes(damage)
    report = engine.index(settings.repo, settings)
    [(path, reason)] = report.skipped
    assert path == "small.py"
    assert "small.py" in reason
    with Store.open(settings.index_path) as store:
        assert store.counts.count_results() == (5, 5)


def test_an_empty_repository_has_no_spans(settings):
    (settings.repo / "small.py").unlink()
    report = engine.index(settings.repo, settings)
    assert (report.files, report.spans) == (0, 0)


def test_others_may_write_while_files_are_parsed(settings):
    for number in range(450):
        (settings.repo / f"m{number}.py").write_text(f"def f{number}():\n    pass\n")
    looks = []

    def look(event, arguments):
        """Whenever a source file of the repository is opened, write to the index."""
        path = str(arguments[0]) if event == "open" else ""
        if path.startswith(f"{settings.repo}/") and path.endswith(".py") and not done:
            with closing(sqlite3.connect(settings.index_path, timeout=0)) as raw:
                raw.execute("BEGIN IMMEDIATE")
            looks.append(path)

    done = []
    sys.addaudithook(look)
    try:
        report = engine.index(settings.repo, settings)
    finally:
        done.append(True)
    assert (report.files, report.changed, report.spans) == (451, 451, 455)
    assert len(looks) == 451


def test_nobody_else_may_write_to_what_indexing_makes_whatever_the_umask(settings):
    before = os.umask(0)
    try:
        engine.index(settings.repo, settings)
    finally:
        os.umask(before)
    rag = settings.index_path.parent
    modes = [path.stat().st_mode & 0o777 for path in (rag, rag / ".gitignore")]
    assert modes == [0o755, 0o644]


def test_a_gitignore_that_is_there_stays_as_it_is(settings):
    settings.index_path.parent.mkdir()
    (settings.index_path.parent / ".gitignore").write_text("mine\n")
    engine.index(settings.repo, settings)
    assert (settings.index_path.parent / ".gitignore").read_text() == "mine\n"


def test_git_overlooks_what_a_run_leaves_in_the_repository(settings):
    run(settings)
    status = subprocess.run(
        ["git", "status", "--porcelain"],
        cwd=settings.repo,
        capture_output=True,
        text=True,
        check=True,
    )
    assert status.stdout == "?? small.py\n"


# -- enriching -------------------------------------------------------------------------------------


def test_every_span_is_enriched_in_index_order(settings):
    report, builder = run(settings)
    symbols = [call.item["symbol"] for call in builder.backend.calls]
    assert symbols == ["add", "greet", "Counter", "Counter.__init__", "Counter.tick"]
    assert (report.enriched, report.failed, report.left) == (5, {}, 0)


def test_the_limit_counts_successes(settings):
    script = [refused("validation")] * 3
    report, _ = run(settings, script, limit=2, host_order="failover")
    assert (report.enriched, report.failed, report.left) == (2, {"validation": 1}, 2)


def test_a_second_run_goes_on_where_the_first_ended(settings):
    run(settings, limit=2)
    report, builder = run(settings)
    assert builder.backend.calls[0].item["symbol"] == "Counter"
    assert (report.enriched, report.left) == (3, 0)


def test_a_span_that_always_fails_ends_and_is_tried_once_a_run(settings):
    report, builder = run(settings, lambda call: unusable())
    assert report.failed == {"runtime": 5}
    assert len(builder.attempts) == 15


def test_a_failing_span_is_promoted_and_its_path_recorded(settings):
    script = [refused("parse", payload="{oops"), {"summary_120w": "Fine."}]
    run(settings, script, limit=1)
    [record] = lines(settings.repo / "logs/run_ledger.log")
    assert (record["promo"], record["attempts"]) == ("7b->14b", 2)


def test_events_tell_the_run_in_order(settings):
    seen = []
    run(settings, [unusable()], hooks=(lambda event: seen.append(type(event)),), limit=1)
    assert seen == [
        RunStarted,
        SpanStarted,
        *(CallStarted, CallFinished, AttemptFinished) * 2,
        SpanEnriched,
        RunFinished,
    ]


def test_a_refused_reply_is_saved_and_the_failure_remembered(settings):
    seen = []
    run(settings, lambda call: refused("parse", payload="{oops"), hooks=(seen.append,))
    failed = [event.report for event in seen if isinstance(event, SpanFailed)]
    saved = sorted((settings.repo / "logs/failed_enrichments").iterdir())
    assert len(saved) == len(failed) == 5
    assert {path.read_text() for path in saved} == {"{oops"}
    with Store.open(settings.index_path) as store:
        assert store.counts.count_all().failed == {"parse": 5}


@pytest.mark.parametrize("kind", ["validation", "runtime"])
def test_other_failures_save_no_reply(settings, kind):
    run(settings, lambda call: refused(kind, payload="x") if kind != "runtime" else unusable())
    assert not (settings.repo / "logs/failed_enrichments").exists()


def test_records_agree_with_the_index(settings):
    run(settings)
    metrics = lines(settings.metrics_log)
    assert [m["spans_total"] for m in metrics] == [5] * 5
    assert [m["enrichments_total"] for m in metrics] == [1, 2, 3, 4, 5]
    assert metrics[-1]["estimated_remote_tokens_saved"] == 5 * 350
    assert len(lines(settings.repo / "logs/run_ledger.log")) == 5


def test_several_slots_work_side_by_side(settings):
    def slow(call):
        time.sleep(0.2)
        return answer(call)

    started = time.monotonic()
    report, _ = run(settings, slow, concurrency=5)
    assert report.enriched == 5
    assert time.monotonic() - started < 0.9


def test_a_bug_in_a_backend_is_a_traceback_not_a_failed_span(settings):
    def buggy(call):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(settings, buggy)


def test_an_interrupt_ends_the_run_with_what_is_stored(settings):
    def interrupt(event):
        if isinstance(event, SpanEnriched) and event.enrichments_total == 2:
            raise KeyboardInterrupt

    report, _ = run(settings, hooks=(interrupt,))
    assert report.interrupted
    assert report.enriched in (2, 3)  # the third may have come in meanwhile: then it is stored too
    assert report.left == 5 - report.enriched
    with Store.open(settings.index_path) as store:
        assert store.counts.count_results() == (5, report.enriched)


def test_a_span_changed_since_indexing_is_left_for_later(settings):
    engine.index(settings.repo, settings)
    (settings.repo / "small.py").write_text("# all different\n" * 30)
    seen = []
    builder = FakeBuilder(settings, FakeBackend(answer))
    report = engine.enrich(settings.repo, settings, hooks=(seen.append,), builder=builder)
    assert (report.enriched, report.left) == (0, 5)
    told = [event.message for event in seen if isinstance(event, Warned)]
    assert "cannot be read as it was indexed" in told[0]


@pytest.mark.parametrize("path", ["../outside.py", "/etc/hostname"])
def test_a_path_that_leads_out_of_the_repository_is_never_read(settings, path, tmp_path):
    (tmp_path / "outside.py").write_text("secret = 1\n" * 50)
    engine.index(settings.repo, settings)
    with Store.open(settings.index_path) as store, store.transaction():
        store._db.execute("UPDATE files SET path = ?", (path,))
    builder = FakeBuilder(settings, FakeBackend(answer))
    engine.enrich(settings.repo, settings, builder=builder)
    assert builder.backend.calls == ()


def test_a_link_that_leads_out_of_the_repository_is_never_read(settings, tmp_path):
    engine.index(settings.repo, settings)
    source = settings.repo / "small.py"
    source.rename(tmp_path / "moved.py")
    source.symlink_to(tmp_path / "moved.py")
    builder = FakeBuilder(settings, FakeBackend(answer))
    engine.enrich(settings.repo, settings, builder=builder)
    assert builder.backend.calls == ()


def test_a_plan_sends_nothing_and_shows_the_prompts(settings):
    engine.index(settings.repo, settings)
    planned = list(engine.plan(settings.repo, settings.change(limit=2)))
    assert [(span.symbol, tier) for span, tier, _ in planned] == [("add", "7b"), ("greet", "7b")]
    assert all(isinstance(prompt, prompts.Prompt) for _, _, prompt in planned)
    with pytest.raises(StopIteration):
        next(iter(engine.plan(settings.repo, settings.change(cooldown=10**9))))


def test_a_run_on_a_fake_ollama_stores_what_it_said(settings, clean_environ):
    reply = Reply(text='{"summary_120w": "From the host.", "inputs": ["left: the one"]}')
    with FakeOllama(lambda call: reply) as fake:
        environ = clean_environ | {"ENRICH_OLLAMA_HOSTS": f"attic={fake.url}"}
        configured = load_settings(settings.repo, Flags(), environ)
        engine.index(configured.repo, configured)
        report = engine.enrich(configured.repo, configured)
        assert len(fake.calls) == 5
    assert report.enriched == 5
    with Store.open(configured.index_path) as store:
        [shown] = store.results.find("small.py", 5)
    assert shown.enrichment["inputs"] == ["left: the one", "right"]
    assert shown.enrichment["evidence"][0]["lines"] == [4, 6]
    assert shown.outcome.completion_tokens > 0


@pytest.mark.embedded
def test_the_small_model_enriches_a_repository(settings):
    embedded = settings.change(backend="embedded", limit=2)
    engine.index(embedded.repo, embedded)
    report = engine.enrich(embedded.repo, embedded)
    assert report.enriched == 2
    with Store.open(embedded.index_path) as store:
        for shown in store.results.list_latest(2):
            assert shown.summary
            whole = [shown.span.start_line, shown.span.end_line]
            assert {"field": "summary_120w", "lines": whole} in shown.enrichment["evidence"]
            Enrichment(summary_120w=shown.summary)


def test_a_missing_gateway_is_said_before_any_work(settings):
    engine.index(settings.repo, settings)
    with pytest.raises(ConfigError, match="no gateway is configured"):
        engine.enrich(settings.repo, replace(settings, backend="gateway"))
    assert not (settings.repo / "logs").exists()


def test_importing_the_engine_reaches_no_network_and_loads_no_model():
    code = "import llmc.engine, sys; print('xllamacpp' in sys.modules, 'ollama' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False False"


def test_totals_follow_when_a_missing_file_leaves_the_index(settings):
    (settings.repo / "other.py").write_text(
        "def gone():\n    return 1\n\n\ndef too():\n    return 2\n"
    )
    engine.index(settings.repo, settings)
    (settings.repo / "other.py").unlink()
    backend = FakeBackend(answer, meta={"backend": "ollama", "model": "fake:7b"})
    builder = FakeBuilder(settings, backend)
    with Store.open(settings.index_path) as store, store.transaction():
        store._db.execute("UPDATE spans SET id = id + 100 WHERE symbol IN ('gone', 'too')")
        store._db.execute("UPDATE spans SET id = id + 200 WHERE symbol LIKE 'Counter.%'")
    rules = Rules(maintain=True, verify=False, side_by_side=False)
    engine.enrich(settings.repo, settings, builder=builder, rules=rules)
    assert [m["spans_total"] for m in lines(settings.metrics_log)] == [7, 7, 7, 5, 5]
