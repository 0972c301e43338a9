"""The scheduler, in a world of its own: hosts that take simulated time, and no thread.

`World` plays the main thread: it plans, starts what the scheduler offers, and lets time pass to the
next reply. So every property can be asked of thousands of attempts in a moment.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.run.health import FAILURES_BEFORE_REST, LONGEST_REST_SEC, Verdict
from llmc.run.lanes import Choice, Lane, Lanes, Step
from llmc.run.scheduler import BLOCK, WANTS_SPAN, Start
from llmc.run.spread import Note, make_scheduler

MODELS = {"7b": "small", "14b": "large", "nano": "cloud"}


@dataclass
class Task:
    """A span: it starts at a tier and is promoted as often as `fails` says, on the same host."""

    number: int
    tier: str = "7b"
    fails: int = 0
    host_index: int = 0
    tried: list[tuple[str, int]] = field(default_factory=list)


def hosts(*slots, one_model=True):
    """Lanes of Ollama hosts with so many slots each; every host serves both local tiers."""
    lanes = tuple(Lane(f"host{i}", n, one_model) for i, n in enumerate(slots))
    choices = {
        tier: tuple(Choice((Step(i, MODELS[tier], n),), i) for i, n in enumerate(slots))
        for tier in ("7b", "14b")
    }
    return Lanes(lanes, {**choices, "nano": ()})


@dataclass
class World:
    """Runs tasks through a scheduler; replies take `seconds` (per lane), loads `swap` more."""

    lanes: Lanes
    order: str = "spread"
    seconds: tuple[float, ...] = (1.0,)
    swap: float = 0.0
    limit_open: int = 10**9

    def __post_init__(self):
        self.now = 0.0
        self.scheduler = make_scheduler(self.lanes, self.order, 0.0)
        self.loaded = [None] * len(self.lanes.lanes)
        self.swaps = Counter()
        self.done = Counter()
        self.busy_time = Counter()
        self.calls = []
        self.open = 0
        self.peak_open = 0

    def run(self, tasks):
        fresh, flights, order = iter(tasks), [], itertools.count()
        exhausted = False
        while True:
            self.scheduler.wake(self.now)
            while True:
                room = self.scheduler.has_room(self.open) and self.open < self.limit_open
                self.may_plan = not exhausted and room
                found = self.scheduler.next(may_plan=self.may_plan)
                if isinstance(found, Start):
                    ready = self.start(*found)
                    heapq.heappush(flights, (ready, next(order), *found))
                elif found is not WANTS_SPAN:
                    break
                else:
                    task = next(fresh, None)
                    if task is None:
                        exhausted = True
                        continue
                    self.open += 1
                    self.peak_open = max(self.peak_open, self.open)
                    self.scheduler.add(task)
            self.check_nothing_is_left_lying()
            if not flights:
                assert self.open == 0, "open spans, and nothing runs"
                return self
            self.now, _, task, choice = heapq.heappop(flights)
            self.land(task, choice)

    def start(self, task, choice):
        lane, step = choice.lane, choice.steps[0]
        state = self.scheduler.occupy(lane)
        assert state.busy <= step.slots
        begin = self.now
        if self.loaded[lane] != step.model:
            self.swaps[lane] += self.loaded[lane] is not None
            self.loaded[lane] = step.model
            begin += self.swap
        task.tried.append((task.tier, lane))
        self.calls.append((task.number, task.tier, lane))
        seconds = self.seconds[lane % len(self.seconds)]
        self.busy_time[lane] += begin + seconds - self.now
        return begin + seconds

    def land(self, task, choice):
        self.scheduler.leave(choice.lane, Verdict.ANSWERED, "", self.now)
        if task.fails:
            task.fails -= 1
            if task.tier == "7b":
                task.tier = "14b"
            elif task.host_index + 1 < len(self.lanes.lanes):
                task.tier, task.host_index = "7b", task.host_index + 1
            self.scheduler.add(task)
        else:
            self.open -= 1
            self.scheduler.forget(task)
            self.done[choice.lane] += 1

    def check_nothing_is_left_lying(self):
        """No host has a free slot while an attempt waits that it could take."""
        if self.order != "spread" or self.may_plan:
            return
        waiting = [
            task
            for queue in (*self.scheduler._own.values(), *self.scheduler._fresh.values())
            for task in itertools.islice(queue, 16)
        ]
        for lane, state in enumerate(self.scheduler.states):
            if state.has_room(self.slots(lane, state.block)):
                takeable = [
                    task
                    for task in waiting
                    if lane not in self.scheduler._notes[id(task)].been
                    and state.has_room(self.slots(lane, MODELS[task.tier]))
                ]
                assert not takeable, f"host {lane} is idle"

    def slots(self, lane, model):
        """Return how many requests a host takes at a model; any model will do at the start."""
        steps = [choice.steps[0] for found in self.lanes.choices.values() for choice in found]
        fitting = [s.slots for s in steps if s.lane == lane and s.model == (model or s.model)]
        return max(fitting, default=self.lanes.lanes[lane].slots)

    @property
    def busy_share(self):
        slots = sum(lane.slots for lane in self.lanes.lanes)
        return sum(self.busy_time.values()) / (slots * self.now)


def spans(count, promoted=0.0, large=0.0):
    """Spans of which these shares, scattered evenly, are promoted once or start at the large."""
    tasks = []
    for number in range(count):
        task = Task(number, fails=int(number * 7919 % 1000 < promoted * 1000))
        if number * 6607 % 1000 < large * 1000:
            task.tier = "14b"
        tasks.append(task)
    return tasks


# -- spread ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [(4, 4, 4), (64,), (1,), (2, 8, 1)])
def test_every_slot_is_busy_until_the_work_runs_out(slots):
    world = World(hosts(*slots)).run(spans(2000))
    assert world.busy_share > 0.97


def test_a_host_twice_as_fast_gets_twice_the_spans():
    world = World(hosts(2, 2), seconds=(1.0, 0.5)).run(spans(3000))
    assert world.done[1] / world.done[0] == pytest.approx(2, rel=0.02)


def test_promotions_are_run_in_one_block_at_the_end():
    world = World(hosts(1), swap=5.0).run(spans(500, promoted=0.3))
    assert world.swaps.total() == 1
    tiers = [tier for _, tier, _ in world.calls]
    assert tiers == sorted(tiers, key=["7b", "14b"].index)


@pytest.mark.parametrize("slots", [(1,), (4,), (2, 2, 2)])
@pytest.mark.parametrize("large", [0.0, 0.2])
def test_there_is_one_swap_per_fifty_attempts_at_the_other_model(slots, large):
    world = World(hosts(*slots), swap=5.0).run(spans(6000, promoted=0.3, large=large))
    at_large = sum(tier == "14b" for _, tier, _ in world.calls)
    assert at_large >= 1800
    assert world.swaps.total() <= at_large / 50


def test_with_several_hosts_one_of_them_stays_on_the_large_model():
    world = World(hosts(1, 1, 1), swap=5.0).run(spans(5000, large=0.33))
    assert world.swaps.total() <= 6


def test_blocks_beat_the_depth_first_order_where_a_swap_costs():
    depth_first = World(hosts(1), order="failover", swap=5.0).run(spans(500, promoted=0.3))
    blocks = World(hosts(1), swap=5.0).run(spans(500, promoted=0.3))
    assert blocks.now < depth_first.now / 2


def test_a_promoted_span_stays_on_its_host_while_that_has_a_slot_for_it():
    tasks = spans(60, promoted=1 / 3)
    World(hosts(1, 1)).run(tasks)
    moved = [task for task in tasks if len({lane for _, lane in task.tried}) > 1]
    assert len(moved) <= 3  # only what was left over at the end


def test_a_span_that_goes_to_the_next_host_never_comes_back():
    tasks = [Task(number, fails=3) for number in range(40)]
    World(hosts(1, 1, 1)).run(tasks)
    for task in tasks:
        assert [tier for tier, _ in task.tried] == ["7b", "14b", "7b", "14b"]
        first, second = {lane for _, lane in task.tried[:2]}, {lane for _, lane in task.tried[2:]}
        assert not first & second


def test_only_so_many_spans_are_open_at_once():
    world = World(hosts(2, 2)).run(spans(5000, promoted=1.0))
    assert world.peak_open <= 4 + 4 * BLOCK


def test_where_a_change_of_model_costs_nothing_nothing_is_put_by():
    world = World(hosts(1, one_model=False)).run(spans(40, promoted=0.5))
    assert world.peak_open == 1


def test_the_first_call_of_a_run_is_for_the_first_span():
    world = World(hosts(1)).run(spans(300, large=0.5))
    assert world.calls[0][0] == 0


LAYOUTS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    LAYOUTS,
    st.lists(st.tuples(st.sampled_from(["7b", "14b"]), st.integers(0, 2)), max_size=120),
    st.sampled_from(["spread", "failover"]),
    st.booleans(),
)
def test_every_span_is_settled_whatever_happens_to_it(slots, kinds, order, one_model):
    fails = 2 if len(slots) > 1 else 1  # as often as there are hosts to go to
    tasks = [Task(n, tier, min(failing, fails)) for n, (tier, failing) in enumerate(kinds)]
    world = World(hosts(*slots, one_model=one_model), order, seconds=(1.0, 0.3))
    world.run(tasks)
    assert sum(world.done.values()) == len(tasks)
    assert not any(state.busy for state in world.scheduler.states)
    assert order != "spread" or world.scheduler._notes == {}, "what is settled is forgotten"


def mixed(**slots):
    """One host with so many slots per model: a small one takes more requests than a large one."""
    lane = Lane("host0", max(slots.values()), one_model=True)
    names = {"small": "7b", "large": "14b"}
    choices = {
        names[model]: (Choice((Step(0, model, count),), 0),) for model, count in slots.items()
    }
    return Lanes((lane,), {**choices, "nano": ()})


def test_a_model_with_fewer_slots_keeps_its_host_until_its_work_is_done():
    world = World(mixed(small=4, large=1), swap=5.0).run(spans(600, promoted=0.3))
    assert world.swaps.total() <= 3


def split():
    """Two hosts, each for one tier alone."""
    lanes = (Lane("small", 1, one_model=True), Lane("large", 1, one_model=True))
    choices = {
        tier: (Choice((Step(lane, MODELS[tier], 1),)),) for lane, tier in enumerate(["7b", "14b"])
    }
    return Lanes(lanes, {**choices, "nano": ()})


@pytest.mark.parametrize("order", ["spread", "failover"])
def test_a_tier_whose_host_is_away_does_not_hold_up_the_others(order):
    plan = make_scheduler(split(), order, 0.0)
    plan.states[1].health.rest(0.0, "away")
    done, left, open_tasks = 0, [], 0
    for task in spans(3000, large=0.4):
        while not plan.has_room(open_tasks):
            left.append(plan.shed())
            plan.forget(left[-1])
            assert left[-1].tier == "14b"
            open_tasks -= 1
        plan.add(task)
        open_tasks += 1
        while found := plan.next(may_plan=False):
            plan.occupy(found[1].lane)
            plan.leave(found[1].lane, Verdict.ANSWERED, "", 0.0)
            done += 1
            open_tasks -= 1
    assert done == 1800
    assert open_tasks == 1200 - len(left) <= 2 * BLOCK


def test_what_waits_for_an_absent_host_runs_when_it_is_back():
    plan = make_scheduler(split(), "spread", 0.0)
    plan.states[1].health.rest(0.0, "away")
    task = Task(0, tier="14b")
    plan.add(task)
    assert plan.next(may_plan=False) is None
    plan.states[1].health.wake()
    assert plan.next(may_plan=False)[0] is task


def local_then_cloud():
    lanes = (Lane("a", 1, one_model=True), Lane("b", 1, one_model=True), Lane("cloud", 8))
    steps = [Step(0, "m", 1), Step(1, "m", 1), Step(2, "c", 8)]
    orders = ([0, 1, 2], [1, 0, 2], [2, 0, 1])
    choices = tuple(
        Choice(tuple(steps[i] for i in order), None, first, fallback=first == 2)
        for first, order in enumerate(orders)
    )
    return Lanes(lanes, {"7b": choices, "14b": (), "nano": ()})


@pytest.mark.parametrize("order", ["spread", "failover"])
def test_a_fallback_is_not_begun_with_while_those_before_it_are_awake(order):
    plan = make_scheduler(local_then_cloud(), order, 0.0)
    for number in range(4):
        plan.add(Task(number))
    began = []
    while found := plan.next(may_plan=False):
        plan.occupy(found[1].lane)
        began.append(found[1].lane)
    assert began == ([0, 1] if order == "spread" else [0])


@pytest.mark.parametrize("order", ["spread", "failover"])
def test_a_fallback_is_begun_with_when_all_before_it_rest(order):
    plan = make_scheduler(local_then_cloud(), order, 0.0)
    for lane in (0, 1):
        plan.states[lane].health.rest(0.0, "away")
    assert plan.next(may_plan=True) is WANTS_SPAN
    plan.add(Task(0))
    assert plan.next(may_plan=False)[1].lane == 2


# -- failover --------------------------------------------------------------------------------------


def test_failover_with_one_slot_finishes_a_span_before_the_next():
    world = World(hosts(1, 1), order="failover").run([Task(n, fails=n % 2) for n in range(6)])
    assert [number for number, _, _ in world.calls] == [0, 1, 1, 2, 3, 3, 4, 5, 5]
    assert {lane for _, _, lane in world.calls} == {0}


def test_failover_with_several_slots_has_that_many_spans_open():
    world = World(hosts(3, 3), order="failover").run(spans(30, promoted=0.5))
    assert world.peak_open == 3


def test_failover_never_goes_back_to_a_host_that_a_span_has_left():
    plan = make_scheduler(hosts(1, 1), "failover", 0.0)
    plan.states[1].health.rest(0.0, "away")
    plan.add(Task(0, host_index=1))
    assert plan.next(may_plan=False) is None


def test_failover_lets_no_host_rest_for_its_errors():
    plan = make_scheduler(hosts(1, 1), "failover", 0.0)
    assert [leave(plan, 0, Verdict.FAILED) for _ in range(20)] == [None] * 20


def test_failover_passes_over_a_host_that_rests():
    world = World(hosts(1, 1), order="failover")
    world.scheduler.states[0].health.rest(0.0, "away")
    world.run(spans(4))
    assert {lane for _, _, lane in world.calls} == {1}


# -- hosts that come and go ------------------------------------------------------------------------


@pytest.fixture
def pair():
    return make_scheduler(hosts(2, 2), "spread", 0.0)


def add_at(plan, task, **noted):
    """Add a span that has come so far: what is noted of it says where it was, and belongs."""
    plan._notes[id(task)] = Note(task.host_index, **noted)
    plan.add(task)


def leave(plan, lane, verdict, now=0.0):
    plan.occupy(lane)
    return plan.leave(lane, verdict, "why", now)


def test_a_host_that_does_not_answer_rests_and_gets_nothing(pair):
    assert leave(pair, 0, Verdict.UNREACHABLE) == 1.0
    pair.add(Task(0))
    add_at(pair, Task(1), lane=0)
    assert {pair.next(may_plan=False)[1].lane, pair.next(may_plan=False)[1].lane} == {1}


def test_rests_grow_up_to_a_bound(pair):
    rests = []
    for _ in range(9):
        rests.append(leave(pair, 0, Verdict.UNREACHABLE))
        pair.states[0].health.wake()
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert rests[-1] == LONGEST_REST_SEC


def test_a_reply_makes_the_next_rest_short_again(pair):
    leave(pair, 0, Verdict.UNREACHABLE)
    pair.states[0].health.wake()
    leave(pair, 0, Verdict.ANSWERED)
    assert leave(pair, 0, Verdict.UNREACHABLE) == 1.0


def test_calls_that_fail_while_their_host_rests_do_not_make_it_longer(pair):
    pair.occupy(0)
    pair.occupy(0)
    assert pair.leave(0, Verdict.UNREACHABLE, "gone", 0.0) == 1.0
    assert pair.leave(0, Verdict.UNREACHABLE, "gone", 0.1) is None
    assert pair.states[0].health.until == 1.0


def test_a_host_is_due_for_a_question_when_its_rest_is_over(pair):
    leave(pair, 0, Verdict.UNREACHABLE, now=10.0)
    assert list(pair.rested(10.9)) == []
    assert pair.next_time() == 11.0
    assert list(pair.rested(11.0)) == [0]
    pair.states[0].probing = True
    assert list(pair.rested(12.0)) == []
    assert pair.next_time() is None


def test_a_host_that_is_back_gets_one_request_until_it_brings_a_reply(pair):
    leave(pair, 0, Verdict.UNREACHABLE)
    pair.states[0].health.wake()
    assert pair.states[0].has_room(2)
    pair.occupy(0)
    assert not pair.states[0].has_room(2)
    pair.leave(0, Verdict.ANSWERED, "", 5.0)
    pair.occupy(0)
    assert pair.states[0].has_room(2)


def test_a_host_with_only_errors_rests_while_another_can_work(pair):
    rests = [leave(pair, 0, Verdict.FAILED) for _ in range(FAILURES_BEFORE_REST)]
    assert rests == [None] * (FAILURES_BEFORE_REST - 1) + [1.0]


def test_the_last_host_that_answers_never_rests_for_its_errors(pair):
    leave(pair, 1, Verdict.UNREACHABLE)
    assert [leave(pair, 0, Verdict.FAILED) for _ in range(20)] == [None] * 20
    assert pair.states[0].has_room(2)


def test_hosts_that_all_give_errors_do_not_all_rest(pair):
    for _ in range(20):
        for lane in (0, 1):
            if not pair.states[lane].health.rests_now:
                leave(pair, lane, Verdict.FAILED)
    assert not all(state.health.rests_now for state in pair.states)


def test_a_host_known_to_be_down_rests_from_the_start():
    lanes = hosts(1, 1)
    down = Lane("host0", 1, one_model=True, down=True)
    plan = make_scheduler(Lanes((down, lanes.lanes[1]), lanes.choices), "spread", 5.0)
    assert plan.states[0].health.rests_now
    assert plan.next_time() == 6.0


def test_what_waits_for_its_time_is_offered_then(pair):
    task = Task(0)
    pair.add_later(task, 3.0)
    pair.wake(2.9)
    assert pair.next(may_plan=False) is None
    assert pair.next_time() == 3.0
    pair.wake(3.0)
    assert pair.next(may_plan=False)[0] is task


def test_what_belongs_to_a_resting_host_is_taken_by_any_other_even_one_it_has_left(pair):
    task = Task(0)
    add_at(pair, task, lane=1, been=frozenset({0}))
    leave(pair, 1, Verdict.UNREACHABLE)
    assert pair.next(may_plan=False)[1].lane == 0
