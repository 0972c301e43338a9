"""The logs of a run: whole lines only, whoever writes, whatever is in them, whatever goes wrong."""

import fcntl
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from llmc.errors import FullDiskError, StoreError
from llmc.events import RunStarted, SpanEnriched, SpanFailed, SpanUnfinished
from llmc.models import (
    Attempt,
    AttemptOutcome,
    AttemptRecord,
    Enrichment,
    Span,
    SpanMetrics,
    SpanReport,
)
from llmc.records import fields, jsonl
from llmc.records.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
SPAN = Span(1, "a.py", "python", "one", "function", 3, 7, 0, 50, "sha256:" + "1" * 64)


def attempt(**changes):
    record = AttemptRecord("ollama-attic", "ollama", "m:7b", 1.0, True, host="attic")
    good = AttemptOutcome(
        Attempt(1, "7b", 0),
        "ollama",
        1.0,
        "m:7b",
        "attic",
        {"num_ctx": 4096},
        enrichment=Enrichment(summary_120w="Adds."),
        tokens_per_sec=30.0,
        records=(record,),
    )
    return replace(good, **changes)


def refused(kind="parse", payload="{oops"):
    return attempt(enrichment=None, failure_type=kind, payload=payload, tokens_per_sec=None)


def report(*outcomes, span=SPAN):
    sizes = SpanMetrics(5, 1, 2, 3, 400, 1200)
    return SpanReport(span, sizes, outcomes or (attempt(),), "7b", "m:7b", "v1", 1.5)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def python(code, *words):
    """Start a Python process that knows the package."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], cwd=ROOT)


def ended(*processes):
    return [process.wait(timeout=120) for process in processes]


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


@pytest.fixture
def ledger(tmp_path, logs):
    return Ledger(tmp_path, logs / "metrics.jsonl", est_tokens_per_span=350)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


# -- appending -----------------------------------------------------------------------------------

WRITER = """
import random, sys
from pathlib import Path
from llmc.records import jsonl
path, name = Path(sys.argv[1]), sys.argv[2]
sizes = random.Random(name)
for number in range(2000):
    jsonl.append(path, [{"by": name, "n": number, "x": name * sizes.randrange(1000, 20000)}])
"""


def test_two_processes_never_mix_their_lines(tmp_path):
    path = tmp_path / "log"
    assert ended(*(python(WRITER, path, name) for name in "ab")) == [0, 0]
    written = lines(path)
    for name in "ab":
        own = [record for record in written if record["by"] == name]
        assert [record["n"] for record in own] == list(range(2000))
        assert {char for record in own for char in record["x"]} == {name}


GROUPS = """
import sys
from pathlib import Path
from llmc.records import jsonl
path, name = Path(sys.argv[1]), sys.argv[2]
for number in range(1000):
    jsonl.append(path, [{"group": f"{name}{number}", "x": "x" * 3000} for _ in range(4)])
"""


def test_the_lines_of_a_group_stay_together(tmp_path):
    path = tmp_path / "log"
    assert ended(*(python(GROUPS, path, name) for name in "ab")) == [0, 0]
    groups = [record["group"] for record in lines(path)]
    assert len(groups) == 8000
    assert all(len(set(groups[at : at + 4])) == 1 for at in range(0, 8000, 4))


def test_no_line_is_lost_when_the_log_is_rotated_while_two_processes_write(tmp_path):
    path = tmp_path / "log"
    writers = [python(GROUPS, path, name) for name in "ab"]
    moved = 0
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            path.rename(tmp_path / f"moved-{moved}")
            moved += 1
    assert ended(*writers) == [0, 0]
    files = [*tmp_path.glob("moved-*"), *([path] if path.exists() else [])]
    assert moved > 1
    assert sum(len(lines(file)) for file in files) == 8000


def test_a_torn_last_line_is_sealed_when_a_run_starts(tmp_path, logs):
    logs.mkdir()
    for name in ("run_ledger.log", "metrics.jsonl"):
        (logs / name).write_bytes(b'{"a": 1}\n{"b": ')
    Ledger(tmp_path, logs / "metrics.jsonl", est_tokens_per_span=350)
    for name in ("run_ledger.log", "metrics.jsonl"):
        assert (logs / name).read_bytes() == b'{"a": 1}\n{"b": \n'


def test_a_line_torn_during_the_run_is_not_glued_to_the_next(ledger, logs):
    (logs / "run_ledger.log").write_bytes(b'{"torn": ')
    ledger(SpanEnriched(report(), 1, 1))
    torn, whole = (logs / "run_ledger.log").read_bytes().splitlines()
    assert torn == b'{"torn": '
    assert json.loads(whole)["task_id"] == SPAN.span_hash


def test_whole_logs_are_left_as_they_are(tmp_path, logs):
    logs.mkdir()
    (logs / "run_ledger.log").write_bytes(b'{"a": 1}\n')
    Ledger(tmp_path, logs / "metrics.jsonl", est_tokens_per_span=350)
    assert (logs / "run_ledger.log").read_bytes() == b'{"a": 1}\n'
    assert not (logs / "metrics.jsonl").exists()


SHORT = """
import resource, sys
from pathlib import Path
from llmc.records import jsonl
from llmc.errors import FullDiskError
path = Path(sys.argv[1])
jsonl.append(path, [{"n": 1}])
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
try:
    jsonl.append(path, [{"n": 2}, {"x": "x" * 1000}])
except FullDiskError as error:
    print(error)
else:
    sys.exit("nothing was raised")
if path.stat().st_size != size:
    sys.exit(f"{path.stat().st_size - size} bytes stayed")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
jsonl.append(path, [{"n": 3}])
"""


def test_a_write_cut_short_is_undone_and_says_which_file_and_what_to_do(tmp_path):
    path = tmp_path / "log"
    run = subprocess.run(
        [sys.executable, "-c", SHORT, path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert str(path) in run.stdout
    assert "move it away" in run.stdout
    assert lines(path) == [{"n": 1}, {"n": 3}]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"]
    if mount is None or subprocess.run([mount, *options, folder], check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_whole_lines_and_is_said(small_disk):
    path = small_disk / "log"

    def fill():
        for number in range(100):
            jsonl.append(path, [{"n": number, "x": "x" * 3000}])

    with pytest.raises(FullDiskError, match="free some disk space") as caught:
        fill()
    assert str(path) in str(caught.value)
    numbers = [record["n"] for record in lines(path)]
    assert numbers == list(range(len(numbers)))
    assert 10 < len(numbers) < 30


def test_a_refused_reply_that_a_full_disk_cuts_short_is_not_kept(small_disk):
    with pytest.raises(FullDiskError, match="free some disk space"):
        jsonl.create(small_disk / "reply", b"x" * 100_000)
    assert list(small_disk.iterdir()) == []


def test_a_writer_waits_for_the_lock_of_another(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"half ")
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=jsonl.append, args=(path, [{"n": 1}]))
        writer.start()
        writer.join(0.2)
        other.write(b"and half\n")
    writer.join(60)
    assert path.read_bytes() == b'half and half\n{"n": 1}\n'


def test_a_log_that_is_moved_away_while_a_writer_waits_for_it_is_made_anew(tmp_path):
    path = tmp_path / "log"
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=jsonl.append, args=(path, [{"n": 1}]))
        writer.start()
        writer.join(0.2)
        path.rename(tmp_path / "log.1")
    writer.join(60)
    assert lines(path) == [{"n": 1}]


def test_a_log_that_was_moved_away_is_made_anew(ledger, logs):
    ledger(SpanEnriched(report(), 1, 1))
    (logs / "run_ledger.log").rename(logs / "run_ledger.log.1")
    ledger(SpanEnriched(report(), 1, 1))
    assert [len(lines(logs / name)) for name in ("run_ledger.log", "run_ledger.log.1")] == [1, 1]


def test_a_folder_that_was_removed_is_made_anew(ledger, logs):
    shutil.rmtree(logs)
    ledger(SpanEnriched(report(), 1, 1))
    assert len(lines(logs / "run_ledger.log")) == 1


def test_a_log_that_is_a_device_takes_what_it_is_given(tmp_path, logs):
    ledger = Ledger(tmp_path, Path(os.devnull), est_tokens_per_span=350)
    ledger(SpanEnriched(report(), 1, 1))
    assert len(lines(logs / "run_ledger.log")) == 1


# -- links and pipes that a repository may hold --------------------------------------------------


@pytest.fixture
def outside(tmp_path_factory):
    """A folder outside the repository, with a file that is nobody else's business."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "treasure").write_text("mine\n")
    return folder


def untouched(outside):
    return {path.name: path.read_text() for path in outside.iterdir()} == {"treasure": "mine\n"}


@pytest.mark.parametrize("name", ["run_ledger.log", "metrics.jsonl"])
@pytest.mark.parametrize("target", ["treasure", "made"])
def test_a_link_in_the_place_of_a_log_is_refused_at_the_start(tmp_path, outside, name, target):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / name).symlink_to(outside / target)
    with pytest.raises(StoreError, match=f"{name}: .*a link stands in its place: remove that"):
        Ledger(tmp_path, tmp_path / "logs/metrics.jsonl", est_tokens_per_span=350)
    assert untouched(outside)


@pytest.mark.parametrize("name", ["run_ledger.log", "metrics.jsonl"])
def test_a_link_that_takes_the_place_of_a_log_during_the_run_is_refused(
    ledger, logs, outside, name
):
    (logs / name).symlink_to(outside / "treasure")
    with pytest.raises(StoreError, match="a link stands in its place"):
        ledger(SpanEnriched(report(), 1, 1))
    assert untouched(outside)


@pytest.mark.parametrize("place", ["logs", "logs/deeper"])
def test_a_folder_of_logs_that_leads_out_of_the_repository_is_refused(tmp_path, outside, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(outside)
    with pytest.raises(StoreError, match=r"leads out of the repository, to .*; remove the link"):
        Ledger(tmp_path, tmp_path / place / "metrics.jsonl", est_tokens_per_span=350)
    assert untouched(outside)


def test_a_folder_that_becomes_a_link_during_the_run_is_refused(ledger, logs, outside):
    logs.rmdir()
    logs.symlink_to(outside)
    with pytest.raises(StoreError, match="leads out of the repository"):
        ledger(SpanEnriched(report(), 1, 1))
    assert untouched(outside)


def test_a_folder_of_refused_replies_that_leads_out_is_refused(ledger, logs, outside):
    (logs / "failed_enrichments").symlink_to(outside)
    with pytest.raises(StoreError, match="leads out of the repository"):
        ledger(SpanFailed(report(refused())))
    assert untouched(outside)


def test_a_reply_is_not_saved_through_a_link(tmp_path, outside):
    (tmp_path / "reply").symlink_to(outside / "treasure")
    with pytest.raises(StoreError, match="a link stands in its place"):
        jsonl.create(tmp_path / "reply", b"theirs", within=tmp_path)
    assert untouched(outside)


def test_a_folder_of_logs_may_be_a_link_inside_the_repository(tmp_path, logs):
    (tmp_path / "kept").mkdir()
    logs.symlink_to("kept")
    ledger = Ledger(tmp_path, logs / "metrics.jsonl", est_tokens_per_span=350)
    ledger(SpanFailed(report(refused())))
    assert len(lines(tmp_path / "kept/run_ledger.log")) == 1
    assert len(list((tmp_path / "kept/failed_enrichments").iterdir())) == 1


def test_a_log_that_somebody_names_elsewhere_may_be_a_link(tmp_path, outside):
    (outside / "named.jsonl").symlink_to(outside / "real.jsonl")
    ledger = Ledger(tmp_path, outside / "named.jsonl", est_tokens_per_span=350)
    ledger(SpanEnriched(report(), 1, 1))
    assert len(lines(outside / "real.jsonl")) == 1


def test_a_log_named_by_another_way_into_the_repository_is_no_link(tmp_path, outside):
    repo = tmp_path / "repo"
    (repo / "logs").mkdir(parents=True)
    (tmp_path / "way").symlink_to(repo)
    (repo / "logs/metrics.jsonl").symlink_to(outside / "treasure")
    with pytest.raises(StoreError, match="a link stands in its place"):
        Ledger(repo, tmp_path / "way/logs/metrics.jsonl", est_tokens_per_span=350)
    assert untouched(outside)


def test_a_repository_that_is_reached_through_a_link_has_its_logs(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "repo").symlink_to("real")
    ledger = Ledger(tmp_path / "repo", tmp_path / "repo/logs/m", est_tokens_per_span=350)
    ledger(SpanEnriched(report(), 1, 1))
    assert len(lines(tmp_path / "real/logs/m")) == 1


@pytest.mark.parametrize("name", ["logs/run_ledger.log", "metrics.jsonl"])
def test_a_pipe_in_the_place_of_a_log_is_refused_and_not_waited_for(tmp_path, name):
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / name)
    with pytest.raises(StoreError, match=f"{name}: it is no file"):
        Ledger(tmp_path, tmp_path / "metrics.jsonl", est_tokens_per_span=350)


def test_a_pipe_in_the_place_of_a_reply_is_refused(tmp_path):
    os.mkfifo(tmp_path / "reply")
    with pytest.raises(StoreError, match="what stands in its place is no file"):
        jsonl.create(tmp_path / "reply", b"x", within=tmp_path)


def test_a_device_is_no_log(tmp_path):
    with pytest.raises(StoreError, match="/dev/full: it is no file"):
        Ledger(tmp_path, Path("/dev/full"), est_tokens_per_span=350)


# -- what could not be written -------------------------------------------------------------------


def test_lines_that_found_no_room_are_written_with_the_next_ones(small_disk, tmp_path):
    ledger = Ledger(tmp_path, small_disk / "metrics.jsonl", est_tokens_per_span=350)
    (small_disk / "ballast").write_bytes(b"x" * 65536)
    with pytest.raises(FullDiskError):
        ledger(SpanEnriched(report(span=replace(SPAN, span_hash="a")), 1, 1))
    (small_disk / "ballast").unlink()
    ledger(SpanEnriched(report(span=replace(SPAN, span_hash="b")), 1, 1))
    assert [line["span_hash"] for line in lines(small_disk / "metrics.jsonl")] == ["a", "b"]
    assert [line["task_id"] for line in lines(tmp_path / "logs/run_ledger.log")] == ["a", "b"]


def test_a_reply_that_could_not_be_saved_is_saved_with_the_next_lines(ledger, logs):
    (logs / "failed_enrichments").write_text("")
    with pytest.raises(StoreError, match="move that away"):
        ledger(SpanFailed(report(refused())))
    (logs / "failed_enrichments").unlink()
    ledger(SpanEnriched(report(), 1, 1))
    [saved] = (logs / "failed_enrichments").iterdir()
    saved.unlink()
    ledger(SpanEnriched(report(), 1, 1))
    assert not saved.exists()
    assert len(lines(logs / "run_ledger.log")) == 3


def test_a_foreign_lock_on_a_log_is_waited_for_a_few_seconds_only(ledger, logs):
    with (logs / "run_ledger.log").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"has held a lock on .*run_ledger\.log for 5 s"):
            ledger(SpanEnriched(report(), 1, 1))
    ledger(SpanEnriched(report(), 1, 1))
    assert len(lines(logs / "run_ledger.log")) == 2


@pytest.mark.parametrize("place", ["logs", "logs/run_ledger.log"])
def test_something_else_in_the_place_of_a_log_is_named_at_the_start(tmp_path, place):
    if place == "logs":
        (tmp_path / place).write_text("")
    else:
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(StoreError, match=f"{place}: .*stands in its place: move that away"):
        Ledger(tmp_path, tmp_path / "metrics.jsonl", est_tokens_per_span=350)


def test_others_may_read_the_logs_but_not_write_them(tmp_path, open_umask):
    ledger = Ledger(tmp_path, tmp_path / "far/off/metrics.jsonl", est_tokens_per_span=350)
    ledger(SpanFailed(report(refused())))
    modes = {
        path.relative_to(tmp_path).as_posix().split("_sha")[0]: path.stat().st_mode & 0o777
        for path in tmp_path.rglob("*")
    }
    [reply] = [name for name in modes if name.startswith("logs/failed_enrichments/")]
    assert modes == {
        "logs": 0o755,
        "logs/run_ledger.log": 0o644,
        "logs/failed_enrichments": 0o755,
        reply: 0o644,
        "far": 0o755,
        "far/off": 0o755,
        "far/off/metrics.jsonl": 0o644,
    }


# -- what is in a line ---------------------------------------------------------------------------

HOSTILE = {
    "newlines": "a\nb\r\nc\x0b\x0c\x85\u2028\u2029",
    "controls": "".join(map(chr, range(32))) + "\x7f",
    "half a surrogate pair": "a\ud800b\udcff",
    "emoji": "\U0001f600",
    "huge": "x" * 3_000_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_breaks_a_line(ledger, logs, text):
    record = AttemptRecord(text, text, text, 1.0, False, "runtime", text, text)
    failed = attempt(
        enrichment=None, failure_type="runtime", detail=text, payload=text, records=(record,)
    )
    ledger(SpanFailed(report(failed, span=replace(SPAN, path=text, span_hash=text))))
    [metrics] = lines(logs / "metrics.jsonl")
    [line] = lines(logs / "run_ledger.log")
    assert (metrics["path"], line["path"], line["task_id"]) == (text, text, text)
    assert metrics["attempt_details"][0]["error"] == text


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), 10**5000], ids=["nan", "infinity", "digits"]
)
def test_a_number_that_json_does_not_have_is_null(ledger, logs, number):
    ledger(SpanEnriched(report(attempt(tokens_per_sec=number, options={"num_ctx": number})), 1, 1))
    [line] = lines(logs / "run_ledger.log")
    assert (line["tok_s"], line["ctx"], line["attempts"]) == (None, None, 1)


def test_the_records_have_the_fields_that_are_listed(ledger, logs):
    ledger(SpanEnriched(report(), 10, 2))
    ledger(SpanFailed(report(refused())))
    enriched, failed = lines(logs / "metrics.jsonl")
    assert tuple(failed) == fields.METRICS_FIELDS
    assert tuple(enriched) == fields.METRICS_FIELDS + fields.TOTALS_FIELDS
    assert {tuple(line) for line in lines(logs / "run_ledger.log")} == {fields.LEDGER_FIELDS}


def test_a_group_has_a_line_for_each_span_in_its_order(ledger, logs):
    spans = [replace(SPAN, span_hash=name) for name in "abc"]
    ledger.record(
        [
            SpanEnriched(report(span=spans[0]), 10, 5),
            SpanFailed(report(refused("validation"), span=spans[1])),
            SpanEnriched(report(span=spans[2]), 10, 6),
        ]
    )
    metrics = [
        (line["span_hash"], line.get("enrichments_total")) for line in lines(logs / "metrics.jsonl")
    ]
    assert metrics == [("a", 5), ("b", None), ("c", 6)]
    results = [
        (line["task_id"], line["result"], line["reason"]) for line in lines(logs / "run_ledger.log")
    ]
    assert results == [
        ("a", "pass", "success"),
        ("b", "fail", "validation"),
        ("c", "pass", "success"),
    ]


def test_an_empty_group_writes_nothing(ledger, logs):
    ledger.record([])
    assert list(logs.iterdir()) == []


def test_other_events_write_nothing(ledger, logs):
    ledger(RunStarted(1, 0))
    assert list(logs.iterdir()) == []


def test_an_unfinished_span_is_accounted_for(ledger, logs):
    second = replace(refused("runtime"), attempt=Attempt(2, "14b", 0))
    ledger(SpanUnfinished(report(refused(), second)))
    [metrics] = lines(logs / "metrics.jsonl")
    [line] = lines(logs / "run_ledger.log")
    assert (line["result"], line["reason"], line["attempts"]) == ("unfinished", "runtime", 2)
    assert (line["promo"], line["schema_ok"]) == ("7b->14b", False)
    assert (metrics["schema_ok"], metrics["unfinished"]) == (False, True)
    assert len(metrics["attempt_details"]) == 2


def test_an_unfinished_span_saves_no_reply(ledger, logs):
    ledger(SpanUnfinished(report(refused("parse"))))
    assert not (logs / "failed_enrichments").exists()


HASHES = {"path": "../../up", "nul": "a\0b", "long": "\u00e9" * 300, "half": "a\ud800b"}


@pytest.mark.parametrize("span_hash", HASHES.values(), ids=HASHES.keys())
def test_any_hash_names_a_file_for_a_refused_reply(ledger, logs, span_hash):
    failed = refused("parse", payload="{\ud800")
    ledger(SpanFailed(report(failed, span=replace(SPAN, span_hash=span_hash))))
    [saved] = (logs / "failed_enrichments").iterdir()
    assert saved.read_text() == "{?"


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b'{"torn": "li',
        b"[1, 2]",
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b'{"a": "\xff"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
        b'{"a": "' + b"x" * jsonl.MAX_LINE_BYTES + b'"}',
    ],
    ids=["torn", "list", "utf16", "nul", "latin", "deep", "deeper", "digits", "long"],
)
def test_a_line_that_is_no_record_is_told_by_its_number(tmp_path, line):
    path = tmp_path / "log"
    path.write_bytes(b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    assert list(jsonl.read(path)) == [(1, {"n": 1}), (2, None), (3, {"n": 3})]


def test_a_line_of_megabytes_is_read(tmp_path):
    path = tmp_path / "log"
    jsonl.append(path, [{"x": "x" * 8_000_000}])
    [(_, record)] = jsonl.read(path)
    assert len(record["x"]) == 8_000_000


def test_blank_lines_and_a_missing_file_hold_nothing(tmp_path):
    (tmp_path / "log").write_bytes(b"\n \r\n\t\n")
    assert list(jsonl.read(tmp_path / "log")) == []
    assert list(jsonl.read(tmp_path / "none")) == []


def test_a_last_line_without_its_newline_is_read(tmp_path):
    (tmp_path / "log").write_bytes(b'{"n": 1}\n{"n": 2}')
    assert list(jsonl.read(tmp_path / "log")) == [(1, {"n": 1}), (2, {"n": 2})]


def test_a_compressed_log_is_read_as_far_as_it_goes(tmp_path):
    whole = gzip.compress(b"".join(b'{"n": %d}\n' % n for n in range(20_000)))
    path = tmp_path / "log.1.gz"
    path.write_bytes(whole)
    assert len(list(jsonl.read(path))) == 20_000
    path.write_bytes(whole[: len(whole) // 2])
    *good, last = jsonl.read(path)
    assert 0 < len(good) < 20_000
    assert last == (len(good) + 1, None)
