"""A cascade on its way over several hosts: tickets for slots, and what calls show of hosts."""

import queue
import threading
import time

import pytest

from llmc.errors import BackendError, HostUnreachableError, RateLimitedError, Usage
from llmc.events import CallFinished, CallStarted, HostRests
from llmc.models import Attempt
from llmc.run.flights import CallGate, Flight, Ticket
from llmc.run.health import Verdict
from llmc.run.lanes import Choice, Lane, Lanes, Step
from llmc.run.slots import Slots
from llmc.run.spread import make_scheduler
from llmc.testing import refused, unusable
from tests.running import PATIENCE_SEC


def flight(*steps):
    choice = Choice(tuple(Step(lane, "model", 1) for lane in steps))
    return Flight(job=None, attempt=Attempt(1, "7b", 0), choice=choice, overdue=0.0)


def ticket(timeout=PATIENCE_SEC, lane=0):
    return Ticket(flight(lane), Step(lane, "model", 1, timeout))


def waiting(some):
    """Wait for a ticket on another thread; return that thread, and a list of what came of it."""
    found = []

    def wait():
        try:
            some.wait()
        except BackendError as error:
            found.append(str(error))
        else:
            found.append("granted")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, found


# -- tickets ---------------------------------------------------------------------------------------


def test_a_ticket_that_is_granted_lets_the_call_go_ahead():
    some = ticket()
    thread, found = waiting(some)
    assert some.grant()
    thread.join(PATIENCE_SEC)
    assert found == ["granted"]


def test_a_ticket_that_is_refused_is_a_runtime_failure_with_the_reason():
    some = ticket()
    some.refuse("attic rests: connection refused")
    with pytest.raises(BackendError, match=r"^attic rests: connection refused$") as caught:
        some.wait()
    assert (caught.value.failure_type, caught.value.failure) == ("runtime", None)


def test_nobody_waits_for_a_slot_longer_than_the_call_may_take():
    with pytest.raises(BackendError, match=r"no slot was free in 0\.05 s"):
        ticket(timeout=0.05).wait()


def test_a_ticket_cannot_be_granted_to_someone_who_has_left():
    some = ticket(timeout=0.01)
    with pytest.raises(BackendError):
        some.wait()
    assert not some.grant()


def test_a_ticket_is_either_granted_or_given_up_but_never_both():
    """Grant just as the patience ends; a slot is taken if, and only if, the call goes ahead."""
    seen = set()
    for number in range(120):
        some = ticket(timeout=0.002)
        thread, found = waiting(some)
        time.sleep(0.001 + number % 12 * 0.0002)
        granted = some.grant()
        thread.join(PATIENCE_SEC)
        assert granted == (found == ["granted"])
        seen.add(granted)
    assert seen == {True, False}, "the two never met"


def test_a_grant_in_the_moment_in_which_the_patience_ends_counts():
    """The lock is held for the waiting worker's last moment, as it is while somebody grants."""
    some = ticket(timeout=0.02)
    with some._lock:
        thread, found = waiting(some)
        time.sleep(0.3)
        some._decided.set()
    thread.join(PATIENCE_SEC)
    assert found == ["granted"]


# -- the gate --------------------------------------------------------------------------------------


def gate_of(*steps):
    some, posted = flight(*steps), queue.SimpleQueue()
    return CallGate(some, posted.put), some, posted


def test_the_first_host_has_its_slot_already():
    gate, _, posted = gate_of(0, 1)
    gate.enter(0)
    assert posted.empty()


def test_a_later_host_is_asked_for_with_a_ticket():
    gate, some, posted = gate_of(0, 1)
    thread = threading.Thread(target=gate.enter, args=(1,))
    thread.start()
    message = posted.get(timeout=PATIENCE_SEC)
    assert isinstance(message, Ticket)
    assert (message.flight, message.step.lane) == (some, 1)
    assert message.grant()
    thread.join(PATIENCE_SEC)
    assert not thread.is_alive()


def test_a_backend_that_no_host_is_known_for_needs_no_slot():
    gate, _, posted = gate_of(0)
    gate.enter(1)
    assert posted.empty()


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, Verdict.ANSWERED),
        (refused("validation"), Verdict.ANSWERED),
        (refused("truncation"), Verdict.ANSWERED),
        (HostUnreachableError("gone", failure_type="runtime"), Verdict.UNREACHABLE),
        (RateLimitedError("later", failure_type="runtime"), Verdict.FAILED),
        (unusable("HTTP 500"), Verdict.FAILED),
    ],
    ids=["reply", "validation", "truncation", "unreachable", "busy", "error"],
)
def test_the_end_of_a_call_shows_how_its_host_is(error, verdict):
    gate, some, _ = gate_of(0)
    gate.leave(error)
    assert some.verdict is verdict


# -- slots and tickets, on the main thread's side --------------------------------------------------


class Hosts:
    """Two hosts with one slot each, and what is told of them."""

    def __init__(self):
        lanes = tuple(Lane(name, 1, one_model=True, probe="http://x/") for name in ("a", "b"))
        choices = tuple(Choice((Step(n, "m", 1), Step(1 - n, "m", 1)), n) for n in (0, 1))
        self.plan = make_scheduler(Lanes(lanes, {"7b": choices}), "spread", 0.0)
        self.told = []
        self.slots = Slots(
            self.plan, rests=True, timeout=1.0, post=self.told.append, tell=self.told.append
        )

    @property
    def busy(self):
        return [state.busy for state in self.plan.states]


@pytest.fixture
def hosts():
    return Hosts()


def test_a_cascade_that_moves_on_gives_its_slot_back_before_it_waits(hosts):
    first, other = flight(0, 1), flight(1, 0)
    for some in (first, other):
        hosts.slots.enter(some, some.choice.steps[0])
    assert hosts.busy == [1, 1]
    some = Ticket(first, first.choice.steps[1])
    hosts.slots.move_on(some)
    hosts.slots.admit()
    assert hosts.busy == [0, 1]
    hosts.slots.leave(other)
    hosts.slots.admit()
    some.wait()
    assert hosts.busy == [0, 1]
    assert hosts.told == [
        CallStarted("a", "model"),
        CallStarted("b", "model"),
        CallFinished("a"),
        CallFinished("b"),
        CallStarted("b", "model"),
    ]


def test_tickets_are_served_in_the_order_in_which_they_came(hosts):
    occupant = flight(1, 0)
    hosts.slots.enter(occupant, occupant.choice.steps[0])
    tickets = [Ticket(flight(0, 1), Step(1, "m", 1, 0.05)) for _ in range(2)]
    for some in tickets:
        hosts.slots.move_on(some)
    hosts.slots.leave(occupant)
    hosts.slots.admit()
    tickets[0].wait()
    with pytest.raises(BackendError, match="no slot was free"):
        tickets[1].wait()


def test_a_ticket_for_a_host_that_rests_is_refused_with_the_reason(hosts):
    hosts.plan.states[1].health.rest(0.0, "connection refused")
    some = Ticket(flight(0, 1), Step(1, "m", 1))
    hosts.slots.move_on(some)
    hosts.slots.admit()
    with pytest.raises(BackendError, match=r"^b rests: connection refused$"):
        some.wait()
    assert hosts.busy == [0, 0]


def test_who_has_left_takes_no_slot(hosts):
    occupant = flight(1, 0)
    hosts.slots.enter(occupant, occupant.choice.steps[0])
    some = Ticket(flight(0, 1), Step(1, "m", 1, 0.01))
    hosts.slots.move_on(some)
    with pytest.raises(BackendError):
        some.wait()
    hosts.slots.leave(occupant)
    hosts.slots.admit()
    assert hosts.busy == [0, 0]


def test_the_end_of_a_run_sends_everybody_away_who_waits(hosts):
    occupant = flight(1, 0)
    hosts.slots.enter(occupant, occupant.choice.steps[0])
    some = Ticket(flight(0, 1), Step(1, "m", 1))
    hosts.slots.move_on(some)
    thread, found = waiting(some)
    hosts.slots.cut_off()
    thread.join(PATIENCE_SEC)
    assert found == ["the run was stopped"]


def test_a_host_that_nobody_answers_at_rests_with_the_reason(hosts):
    some = flight(0, 1)
    hosts.slots.enter(some, some.choice.steps[0])
    some.verdict, some.reason = Verdict.UNREACHABLE, "connection refused"
    hosts.slots.leave(some)
    assert hosts.told[-1] == HostRests("a", 1.0, "connection refused")
    assert hosts.slots.who_rests() == "a: connection refused"


def test_a_slot_is_freed_once_however_often_a_flight_leaves(hosts):
    some = flight(0, 1)
    hosts.slots.enter(some, some.choice.steps[0])
    hosts.slots.leave(some)
    hosts.slots.leave(some)
    assert hosts.busy == [0, 0]


# -- which failure counts --------------------------------------------------------------------------


@pytest.fixture
def gate():
    return CallGate(flight(0, 1, 2), post=lambda message: None)


def test_a_refused_reply_counts_though_the_hosts_behind_it_were_passed_over(gate):
    said_no = refused("validation", payload="{}")
    gate.leave(said_no)
    counted = gate.judge(BackendError("desk rests", failure_type="runtime", attempts=["a", "b"]))
    assert (counted.failure_type, counted.failure) == ("validation", said_no.failure)
    assert counted.attempts == ["a", "b"]


def test_a_refused_reply_that_counts_keeps_all_that_is_known_of_its_call(gate):
    usage = Usage("gpt-x", prompt_tokens=900, completion_tokens=70, cut_lines=3)
    failure = ("parse", "no JSON", "raw")
    gate.leave(BackendError("refused", failure_type="parse", failure=failure, usage=usage))
    counted = gate.judge(BackendError("desk rests", failure_type="runtime"))
    assert (counted.usage, str(counted)) == (usage, "refused")


def test_an_error_of_a_later_call_counts_more_than_a_refused_reply(gate):
    gate.leave(refused("validation"))
    gate.leave(unusable("desk broke off"))
    last = unusable("desk broke off")
    assert gate.judge(last) is last


def test_where_no_call_was_made_the_cascades_own_error_counts(gate):
    last = unusable("attic rests")
    assert gate.judge(last) is last
