"""Sampling the GPU: one `nvidia-smi` a second for everybody, and samples of one's own time.

Each test runs a program of its own, with a fake `nvidia-smi` on its PATH that counts: the load it
tells is how often it has been asked.
"""

import itertools
import json
import os
import subprocess
import sys

import pytest

from tests.running import PATIENCE_SEC

NVIDIA_SMI = """#!/bin/sh
echo "$(date +%s.%N)" >> "{log}"
sleep {seconds}
echo "$(wc -l < "{log}"), 7000"
"""

PRELUDE = """
import functools, json, os, sys, threading, time
from contextlib import ExitStack
from llmc.run import gpu
from llmc.programs.launching import SearchPath

GpuSampler = functools.partial(gpu.GpuSampler, SearchPath.of(os.environ))

def until_asked(times, *samplers):
    deadline = time.monotonic() + 30
    while min(sampler.stats.util_max or 0 for sampler in samplers) < times:
        assert time.monotonic() < deadline
        time.sleep(0.01)

def tell(*samplers, **more):
    asked = [[s.stats.util_avg, s.stats.util_max] for s in samplers]
    print(json.dumps({"samplers": asked, **more}))
"""


@pytest.fixture
def sampled(tmp_path):
    """Run a program with the fake on its PATH; return what it told, and when the fake was asked."""

    def run(program, *, seconds=0.0, text=NVIDIA_SMI):
        log, fake = tmp_path / "asked", tmp_path / "nvidia-smi"
        fake.write_text(text.format(log=log, seconds=seconds))
        fake.chmod(0o755)
        result = subprocess.run(
            [sys.executable, "-c", PRELUDE + program],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SEC,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        asked = list(map(float, log.read_text().split())) if log.exists() else []
        return json.loads(result.stdout), asked

    return run


def test_many_samplers_side_by_side_ask_once_a_second(sampled):
    told, asked = sampled("""
started = time.monotonic()
with ExitStack() as stack:
    samplers = [stack.enter_context(GpuSampler()) for _ in range(20)]
    until_asked(3, *samplers)
tell(*samplers, seconds=time.monotonic() - started)
""")
    assert 3 <= len(asked) <= told["seconds"] + 1
    assert all(later - earlier >= 0.9 for earlier, later in itertools.pairwise(asked))
    assert all(highest >= 3 for _, highest in told["samplers"])


def test_a_sampler_has_the_samples_of_its_own_time(sampled):
    told, _ = sampled("""
with GpuSampler() as first:
    until_asked(2, first)
    with GpuSampler() as second:
        until_asked(3, second)
tell(first, second)
""")
    [first, second] = told["samplers"]
    assert (first[0], first[1] >= 3) == (sum(range(int(first[1]) + 1)) / first[1], True)
    assert second[1] == first[1]
    assert second[0] > first[0], "it has the first sample, too"


def test_one_who_comes_alone_begins_with_a_sample_of_its_own(sampled):
    told, asked = sampled("""
samplers = [GpuSampler() for _ in range(3)]
for sampler in samplers:
    with sampler:
        until_asked(1, sampler)
tell(*samplers)
""")
    assert told["samplers"] == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert len(asked) == 3


def test_those_who_come_together_get_no_sample_from_before(sampled):
    told, _ = sampled(
        """
with GpuSampler() as earlier:
    until_asked(1, earlier)
with GpuSampler() as one, GpuSampler() as other:
    until_asked(2, one, other)
tell(one, other)
""",
        seconds=0.2,
    )
    assert [average >= 2 for average, _ in told["samplers"]] == [True, True]


def test_a_short_attempt_waits_for_the_sample_that_is_under_way(sampled):
    told, _ = sampled(
        """
with GpuSampler() as sampler:
    pass
tell(sampler)
""",
        seconds=0.1,
    )
    assert told["samplers"] == [[1.0, 1.0]]


def test_an_attempt_does_not_wait_long_for_a_program_that_hangs(sampled):
    told, asked = sampled(
        """
started = time.monotonic()
with GpuSampler() as sampler:
    pass
tell(sampler, seconds=time.monotonic() - started)
""",
        seconds=20,
    )
    assert told["seconds"] < 10
    assert told["samplers"] == [[None, None]]
    assert len(asked) == 1


def test_nobody_is_asked_once_the_last_has_left(sampled):
    told, asked = sampled("""
with GpuSampler() as sampler:
    until_asked(1, sampler)
time.sleep(1.5)
tell(sampler, threads=[thread.name for thread in threading.enumerate()])
""")
    assert len(asked) == 1
    assert "llmc-gpu" not in told["threads"]


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho nonsense\n", "#!/bin/sh\necho nan, inf\n"]
)
def test_a_program_that_tells_nothing_useful_is_no_load(sampled, text):
    told, _ = sampled(
        """
with GpuSampler() as sampler:
    pass
tell(sampler)
""",
        text=text,
    )
    assert told["samplers"] == [[None, None]]


def test_without_the_program_nothing_is_started():
    code = (
        PRELUDE
        + """
with GpuSampler() as sampler:
    names = [thread.name for thread in threading.enumerate()]
tell(sampler, threads=names)
"""
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=True,
    )
    assert json.loads(result.stdout) == {"samplers": [[None, None]], "threads": ["MainThread"]}


def test_samplers_that_come_and_go_on_many_threads_all_get_their_load(sampled):
    told, _ = sampled("""
found = []

def attempt():
    for _ in range(5):
        with GpuSampler() as sampler:
            time.sleep(0.02)
        found.append(sampler)

threads = [threading.Thread(target=attempt) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
tell(*found)
""")
    assert len(told["samplers"]) == 60
    assert [None, None] not in told["samplers"]
