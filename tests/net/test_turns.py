"""The time of a request that waits at its host for those before it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmc.errors import CancelledError, DeadlineError
from llmc.net.client import Client
from llmc.net.turns import ABREAST_SEC, Line, Turn
from tests.peers import OK, PATIENCE, SHORT, SOON, Peer, Serve, quick, silent

SECONDS = 100.0


class Place:
    """A line of which the test sets the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.line = Line(lambda: self.now)

    def send(self, at: float) -> Turn:
        self.now = at
        return Turn(self.line, SECONDS)

    def answer(self, turn: Turn, at: float) -> None:
        self.now = at
        turn.hear()

    def end(self, turn: Turn, at: float, *, answered: bool = True) -> None:
        self.now = at
        turn.finish(answered=answered)


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_lone_request_waits_its_time_for_a_sign_and_has_it_anew_from_there(place: Place) -> None:
    turn = place.send(at=0)
    assert turn.at == 100
    place.answer(turn, at=90)
    assert turn.at == 190


def test_a_request_waits_on_while_one_before_it_is_answered(place: Place) -> None:
    first, second = place.send(at=0), place.send(at=10)
    assert second.at == 110
    place.answer(first, at=60)
    place.now = 70
    assert second.at == 170


def test_the_end_of_an_answer_gives_the_next_request_its_time_anew(place: Place) -> None:
    first, second = place.send(at=0), place.send(at=10)
    place.answer(first, at=20)
    place.end(first, at=80)
    place.now = 90
    assert second.at == 180


def test_a_hung_host_gives_nobody_more_time(place: Place) -> None:
    first, second = place.send(at=0), place.send(at=10)
    place.end(first, at=100, answered=False)
    assert second.at == 110


def test_who_is_overtaken_by_later_requests_is_not_waiting_for_a_turn(place: Place) -> None:
    lost, later = place.send(at=0), place.send(at=2 * ABREAST_SEC)
    place.answer(later, at=50)
    assert lost.at == 100
    place.end(later, at=60)
    assert lost.at == 100


def test_of_requests_sent_together_any_may_come_first(place: Place) -> None:
    first, second = place.send(at=0), place.send(at=ABREAST_SEC / 2)
    place.answer(second, at=50)
    place.end(second, at=60)
    assert first.at == 160


def test_a_request_waits_at_most_its_time_for_itself_and_each_before_it(place: Place) -> None:
    first, _, third = place.send(at=0), place.send(at=0), place.send(at=0)
    place.answer(first, at=10)
    place.now = 250
    assert third.at == 300
    assert third.latest == 400


def test_an_answer_has_its_own_time_whatever_others_do(place: Place) -> None:
    first, second = place.send(at=0), place.send(at=0)
    place.answer(first, at=10)
    place.answer(second, at=60)
    assert (first.at, second.at) == (110, 160)


def test_bringing_an_answer_forward_holds(place: Place) -> None:
    turn = place.send(at=0)
    place.answer(turn, at=10)
    turn.hasten(2)
    assert turn.at == 12


# On the wire


def ask(client: Client, url: str, seconds: float) -> bytes:
    with client.request("GET", url, timeout=seconds, queues=True) as exchange:
        body = b""
        for chunk in exchange.chunks():
            exchange.hear()
            body += chunk
        return body


def test_a_queue_longer_than_the_timeout_costs_no_request(client: Client, serve: Serve) -> None:
    one_at_a_time = threading.Lock()

    def talk(peer: Peer) -> None:
        peer.request()
        with one_at_a_time:
            time.sleep(0.4)
            peer.send(OK + b"Content-Length: 4\r\n\r\nab")
            time.sleep(0.4)
            peer.send(b"cd")

    server = serve(talk)
    with ThreadPoolExecutor(4, thread_name_prefix="test-caller") as pool:
        asked = [pool.submit(ask, client, server.url, 1.6) for _ in range(4)]
        assert [future.result(PATIENCE) for future in asked] == [b"abcd"] * 4


def test_a_host_that_takes_requests_and_answers_none_is_found_out(
    client: Client, serve: Serve
) -> None:
    server = serve(silent)
    with ThreadPoolExecutor(3, thread_name_prefix="test-caller") as pool, quick(SHORT + SOON):
        asked = [pool.submit(ask, client, server.url, SHORT) for _ in range(3)]
        errors = [future.exception(PATIENCE) for future in asked]
    assert all(isinstance(error, DeadlineError) and error.silent for error in errors)


def test_an_answer_that_stops_ends_by_its_own_time(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(OK + b"Content-Length: 4\r\n\r\nab")
        peer.wait()

    with quick(2 * SHORT + SOON), pytest.raises(DeadlineError) as caught:
        ask(client, serve(talk).url, SHORT)
    assert not caught.value.silent


def test_cancelling_ends_a_request_that_queues(client: Client, serve: Serve) -> None:
    server = serve(silent)
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        waiting = pool.submit(ask, client, server.url, 600.0)
        until = time.monotonic() + PATIENCE
        while not server.requests and time.monotonic() < until:
            time.sleep(0.01)
        client.cancellation.cancel()
        assert isinstance(waiting.exception(PATIENCE), CancelledError)
