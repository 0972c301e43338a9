"""docs/reliability.md says what the code does: its bounds, its statuses, its proofs."""

import re
import signal
from pathlib import Path

import pytest

from llmc.backends import _base, openai
from llmc.backends.builder import CONNECT_TIMEOUT_SEC
from llmc.net import turns
from llmc.programs import git
from llmc.records import jsonl
from llmc.run import flights, gpu, health, lease, loop, writer
from llmc.settings import files, flags, groups, targets
from llmc.store import retries
from llmc.store.database import custody, look, opening
from llmc.store.database.writing import BUSY_TIMEOUT_SEC

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
]


def bound(start):
    """Return the numbers in the second cell of the row that begins so."""
    [row] = [row for row in ROWS if row[0].startswith(start)]
    return [float(number) for number in re.findall(r"\d+\.?\d*", row[1])]


@pytest.mark.parametrize(
    ("row", "constants"),
    [
        ("a connection to a host", [CONNECT_TIMEOUT_SEC]),
        ("a reply", [targets.CALL_TIMEOUT_SEC, flags.Flags().gateway_timeout]),
        ("the first sign of a reply", [turns.ABREAST_SEC]),
        ("the counts after the end of a reply", [openai.LINGER_SEC]),
        ("the next attempt of a span", [flags.Flags().retry_wait]),
        ("a host that rests", [health.FIRST_REST_SEC, health.LONGEST_REST_SEC]),
        ("any host, where work is left", [groups.HOST_PATIENCE_SEC]),
        ("a call that overruns", [flights.GRACE_SEC, lease.RENEWAL_SEC]),
        ("a log, while another program", [jsonl.LOCK_PATIENCE_SEC]),
        ("others that are opening the index", [opening.OPENING_PATIENCE_SEC]),
        ("git, when files are listed", [git.SECONDS]),
        ("git, when it is asked", [custody.GIT_SECONDS]),
        ("a look at an index", [look.LOOK_SEC]),
        ("a settings file", [files.READING_SEC]),
        ("`nvidia-smi`", [gpu.QUERY_TIMEOUT_SEC, gpu.FIRST_SAMPLE_SEC]),
        ("calls in flight, after the second", [loop.HALT_SEC]),
        ("the claims of a process", [lease.LEASE_SEC, lease.RENEWAL_SEC]),
        (
            "the index, while another program",
            [BUSY_TIMEOUT_SEC, writer.LOCK_PATIENCE_SEC, BUSY_TIMEOUT_SEC],
        ),
    ],
)
def test_a_wait_is_bounded_as_the_page_says(row, constants):
    assert bound(row) == constants


def test_the_pauses_of_failed_spans_are_those_of_the_page():
    refused = [seconds / 3600 for seconds in retries.REFUSED_PAUSES_SEC]
    runtime = [seconds / 60 for seconds in retries.RUNTIME_PAUSES_SEC]
    assert "| 1 hour | 7 days |" in PAGE
    assert refused == [1, 7 * 24]
    assert "| 1 minute | 1 day |" in PAGE
    assert runtime == [1, 24 * 60]


def test_the_space_set_aside_is_that_of_the_page():
    assert "(1 MiB and 64 KiB per slot)" in PAGE
    assert (writer.RESERVE_BYTES, writer.RESERVE_PER_SLOT) == (2**20, 64 * 1024)


def test_a_busy_server_is_waited_for_as_the_page_says():
    asked = []

    class Cancelled:
        is_set = False

        def wait(self, seconds):
            asked.append(seconds)
            return False

    waits = _base.Backpressure(float("inf"), Cancelled())
    for _ in range(7):
        waits.pause(_base.RateLimitedError("busy"))
    assert asked == [0.25, 0.5, 1, 2, 4, 8, 8]
    [row] = [row for row in ROWS if row[0].startswith("a busy server")]
    assert "0.25 s doubling to 8 s" in row[1]


def test_a_turn_is_waited_for_as_the_page_says():
    now = 0.0
    line = turns.Line(lambda: now)
    sent = [turns.Turn(line, targets.CALL_TIMEOUT_SEC) for _ in range(3)]
    assert sent[2].at == targets.CALL_TIMEOUT_SEC
    sent[0].hear()
    now = 1e6
    assert sent[2].at == 3 * targets.CALL_TIMEOUT_SEC
    [row] = [row for row in ROWS if row[0].startswith("the first sign of a reply")]
    assert "once for itself and once for each of those" in row[1]


def test_the_page_names_every_status_of_an_end():
    named = re.findall(r"\d+", " ".join(row[0] for row in ROWS if re.match(r"\d+\b", row[0])))
    ends = {0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert ends <= set(map(int, named))


def test_every_proof_that_the_page_names_is_there_and_none_is_left_out():
    named = set(re.findall(r"\btest_\w+\.py", PAGE))
    there = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert named == there
