"""How many calls a host does at once is told from the times of its calls, and from nothing else."""

import heapq
import random

import pytest

from llmc.models import CallTimes
from llmc.run.concurrency import LEAST_CALLS, LEAST_WAIT_SEC, Observer, Stretch, look_at


def serve(at_once, slots, seconds, *, load=0.0, hidden=0.0):
    """Return the calls of a host that does so many at once and always has `slots` of ours.

    `seconds` are what it works on each; `load` is how long the first ones wait for a model. Of its
    work, the share that is `hidden` goes by before a sign of it.
    """
    free, under_way, calls, now = [load] * at_once, [], [], 0.0
    for index, work in enumerate(seconds):
        if index >= slots:
            now = heapq.heappop(under_way)
        begun = max(now, heapq.heappop(free))
        heapq.heappush(free, begun + work)
        heapq.heappush(under_way, begun + work)
        calls.append(CallTimes(now, begun + hidden * work, begun + work))
    return sorted(calls, key=lambda call: call.ended)


def varied(count, seed=1):
    """Return how long replies take: a few as long as many together."""
    chance = random.Random(seed)
    return [chance.lognormvariate(1.0, 0.6) for _ in range(count)]


def observed(calls, slots):
    """Return what an observer says first, None if it never says anything."""
    observer = Observer(slots)
    return next((limit for call in calls if (limit := observer.note(call))), None)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("at_once", "slots"), [(1, 2), (1, 4), (2, 4), (3, 4), (1, 16), (4, 16), (1, 64)]
)
def test_a_host_that_does_less_than_it_is_asked_is_found_out(at_once, slots, seed):
    calls = serve(at_once, slots, varied(10 * slots + 20, seed))
    assert observed(calls, slots) == at_once


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("at_once", "slots"), [(2, 2), (4, 4), (16, 16), (8, 4)])
def test_a_host_that_does_all_it_is_asked_has_no_limit(at_once, slots, seed):
    assert observed(serve(at_once, slots, varied(20 * slots, seed)), slots) is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("hidden", [0.05, 0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("slots", [2, 4, 8])
def test_a_host_that_is_slow_to_begin_is_not_taken_for_one_that_queues(slots, hidden, seed):
    calls = serve(slots, slots, varied(20 * slots, seed), hidden=hidden)
    assert observed(calls, slots) is None


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_queue_shows_where_only_the_first_sign_tells_of_work(at_once):
    calls = serve(at_once, 4, varied(60), hidden=0.05)
    assert observed(calls, 4) == at_once


def test_a_model_being_loaded_is_no_queue():
    calls = serve(4, 4, [2.0] * 40, load=60.0)
    assert observed(calls, 4) is None


def test_a_queue_shows_once_the_model_is_there():
    calls = serve(1, 4, [2.0] * 40, load=60.0)
    assert look_at(calls[:LEAST_CALLS], 4) == Stretch(1, queued=False)
    assert observed(calls, 4) == 1


def test_what_a_host_has_done_once_it_can_do():
    """Somebody else keeps three of its four slots busy later on."""
    calls = serve(4, 4, [2.0] * 40)
    end = calls[-1].ended
    later = [
        CallTimes(end + call.sent, end + call.started, end + call.ended)
        for call in serve(1, 4, [2.0] * 40)
    ]
    assert observed(later, 4) == 1
    assert observed(calls + later, 4) is None


def test_few_calls_show_nothing():
    calls = serve(1, 4, [2.0] * 40)
    assert look_at(calls[: LEAST_CALLS - 1], 4) is None
    assert look_at(calls[:LEAST_CALLS], 4) == Stretch(1, queued=True)


def test_waits_as_short_as_the_networks_are_none():
    calls = serve(1, 4, [LEAST_WAIT_SEC / 4] * 40)
    assert observed(calls, 4) is None


def test_a_run_that_hardly_ever_has_two_calls_under_way_shows_nothing():
    calls = [CallTimes(5.0 * n, 5.0 * n, 5.0 * n + 4.0) for n in range(40)]
    assert observed(calls, 4) is None
