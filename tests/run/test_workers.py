"""Worker threads: as many as there are calls at once, and none that can't be left behind."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial

import pytest

from llmc.run.workers import Workers
from tests.running import PATIENCE_SEC, pause_at, until


@pytest.fixture
def workers():
    some = Workers()
    yield some
    some.close()
    assert some.join(PATIENCE_SEC)


def test_calls_are_made_side_by_side_on_other_threads(workers):
    together, where = threading.Barrier(9), []

    def call():
        where.append(threading.current_thread())
        together.wait(PATIENCE_SEC)

    for _ in range(8):
        workers.submit(call)
    together.wait(PATIENCE_SEC)
    assert len(set(where)) == 8
    assert threading.current_thread() not in where


def test_a_thread_that_has_nothing_to_do_takes_the_next_call(workers):
    where = []
    for number in range(30):
        workers.submit(lambda: where.append(threading.current_thread()))
        until(lambda: len(where) > number, "the call")  # noqa: B023 - called at once
        time.sleep(0.005)  # for the thread to say that it is free
    assert len(where) == 30
    assert len(set(where)) < 5


def test_a_call_is_not_held_up_by_another(workers):
    go, made = threading.Event(), []
    workers.submit(lambda: pause_at(go))
    workers.submit(lambda: made.append("at once"))
    until(lambda: made == ["at once"], "the other call")
    go.set()


@contextmanager
def undisturbed():
    """Let no other thread run until this one waits: what it submits piles up."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(PATIENCE_SEC)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def free_threads(workers, number):
    """Have so many threads started, and wait until they have nothing to do."""
    together = threading.Barrier(number + 1)
    for _ in range(number):
        workers.submit(lambda: together.wait(PATIENCE_SEC))
    together.wait(PATIENCE_SEC)
    time.sleep(0.05)  # for the threads to say that they are free


def test_calls_are_made_in_the_order_in_which_they_came(workers):
    free_threads(workers, 6)
    made = []
    with undisturbed():
        for number in range(6):
            workers.submit(partial(made.append, number))
        until(lambda: len(made) == 6, "all calls")
    assert made == list(range(6))


def test_what_was_submitted_before_the_end_is_made():
    workers, made = Workers(), []
    free_threads(workers, 6)
    with undisturbed():
        for number in range(6):
            workers.submit(partial(made.append, number))
        workers.close()
    assert workers.join(PATIENCE_SEC)
    assert sorted(made) == list(range(6))


def test_a_closed_pool_ends_after_the_calls_under_way():
    workers, go, made = Workers(), threading.Event(), []
    for number in range(3):
        workers.submit(lambda number=number: (pause_at(go), made.append(number)))
    workers.close()
    assert not workers.join(0.05)
    go.set()
    assert workers.join(PATIENCE_SEC)
    assert sorted(made) == [0, 1, 2]


def test_waiting_for_a_call_that_hangs_has_an_end():
    workers, go = Workers(), threading.Event()
    for _ in range(3):
        workers.submit(lambda: pause_at(go))
    workers.close()
    started = time.monotonic()
    assert not workers.join(0.1)
    assert time.monotonic() - started < PATIENCE_SEC / 3
    go.set()


def test_a_call_that_hangs_does_not_keep_the_program_from_ending():
    code = (
        "import time; from llmc.run.workers import Workers\n"
        "Workers().submit(lambda: time.sleep(600))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SEC)


def test_without_a_call_there_is_no_thread():
    before = threading.active_count()
    workers = Workers()
    assert threading.active_count() == before
    workers.close()
    assert workers.join(0.0)
