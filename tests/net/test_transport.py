"""HTTP under a deadline, against real servers on loopback that misbehave in known ways."""

from __future__ import annotations

import base64
import gc
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmc.errors import CancelledError, ConnectError, DeadlineError, DroppedError, RequestError
from llmc.net.client import Client
from llmc.net.deadlines import Cancellation
from llmc.net.exchange import MAX_BODY_BYTES, MAX_COMPLAINT_BYTES, Exchange
from tests.peers import (
    OK,
    PATIENCE,
    SHORT,
    SOON,
    Peer,
    Serve,
    Talk,
    drips,
    echo,
    get,
    quick,
    says,
    silent,
    stalls,
    within,
)


def refused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


# A request and its response


def test_the_request_carries_method_target_headers_and_body(client: Client, serve: Serve) -> None:
    server = serve(echo)
    with client.request(
        "POST",
        f"{server.url}/api/chat?x=1&y=%20",
        body=b'{"a": 1}',
        headers={"X-Key": "abc", "Content-Type": "application/json"},
        timeout=PATIENCE,
    ):
        pass
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /api/chat?x=1&y=%20 HTTP/1.1"
    assert {b"X-Key: abc", b"Content-Type: application/json"} <= set(lines)
    assert body == b'{"a": 1}'


@pytest.mark.parametrize(("tail", "target"), [("", b"/"), ("/", b"/"), ("?a=b", b"/?a=b")])
def test_a_url_without_a_path_asks_for_the_root(
    client: Client, serve: Serve, tail: str, target: bytes
) -> None:
    assert get(client, serve(echo).url + tail) == target


@pytest.mark.parametrize("status", [200, 204, 301, 404, 429, 500, 503])
def test_any_status_is_a_response(client: Client, serve: Serve, status: int) -> None:
    server = serve(says(b"HTTP/1.1 %d Word\r\nContent-Length: 0\r\n\r\n" % status))
    with client.request("GET", server.url, timeout=PATIENCE) as exchange:
        assert exchange.status == status


@pytest.mark.parametrize(
    ("name", "value"), [("retry-after", "7"), ("Retry-After", "7"), ("absent", None)]
)
def test_a_header_is_found_by_its_name_in_any_case(
    client: Client, serve: Serve, name: str, value: str | None
) -> None:
    server = serve(says(OK + b"Retry-After: 7\r\nContent-Length: 0\r\n\r\n"))
    with client.request("GET", server.url, timeout=PATIENCE) as exchange:
        assert exchange.read_header(name) == value


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(OK + b"Content-Length: 5\r\n\r\nhello", id="with a length"),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", id="chunked"
        ),
        pytest.param(OK + b"Connection: close\r\n\r\nhello", id="until the connection closes"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nhello", id="HTTP/1.0"),
    ],
)
def test_a_whole_body_is_read(client: Client, serve: Serve, response: bytes) -> None:
    assert get(client, serve(says(response)).url) == b"hello"


def test_the_body_comes_in_as_it_is_sent(client: Client, serve: Serve) -> None:
    seen = threading.Event()

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        seen.wait(PATIENCE)
        peer.send(b"4\r\nrest\r\n0\r\n\r\n")

    def ask() -> list[bytes]:
        with client.request("GET", serve(talk).url, timeout=PATIENCE) as exchange:
            chunks = exchange.read_chunks()
            first = next(chunks)
            seen.set()
            return [first, *chunks]

    with quick():
        assert within(ask) == [b"first", b"rest"]


def test_an_ipv6_literal_is_reached(client: Client, serve: Serve) -> None:
    try:
        server = serve(echo, socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    assert get(client, f"{server.url}/v6") == b"/v6"


# Connections are kept


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"Content-Length: 2\r\n\r\nok", id="with a length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunked"),
        pytest.param(b"Content-Length: 0\r\n\r\n", id="empty"),
    ],
)
def test_a_connection_serves_many_requests(client: Client, serve: Serve, response: bytes) -> None:
    def talk(peer: Peer) -> None:
        while peer.request():
            peer.send(OK + response)

    server = serve(talk)
    for _ in range(4):
        get(client, server.url, body=b"question")
    assert (server.connections, len(server.requests)) == (1, 4)


def test_an_unread_response_is_not_mistaken_for_the_next(client: Client, serve: Serve) -> None:
    server = serve(echo)
    with client.request("GET", f"{server.url}/one", timeout=PATIENCE):
        pass
    assert get(client, f"{server.url}/two") == b"/two"


def test_a_half_read_response_is_not_mistaken_for_the_next(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        while request := peer.request():
            path = request.split(b" ")[1]
            peer.send(OK + b"Content-Length: 9\r\n\r\n" + path)
            peer.send(b"x" * (9 - len(path)))

    server = serve(talk)
    with client.request("GET", f"{server.url}/one", timeout=PATIENCE) as exchange:
        next(exchange.read_chunks())
    assert get(client, f"{server.url}/two") == b"/twoxxxxx"


def test_a_server_that_says_close_gets_a_new_connection(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        while peer.request():
            peer.answer(b"ok", b"Connection: close\r\n")

    server = serve(talk)
    assert [get(client, server.url) for _ in range(2)] == [b"ok", b"ok"]
    assert server.connections == 2


def test_requests_at_the_same_time_have_their_own_connections(client: Client, serve: Serve) -> None:
    server = serve(echo)
    with (
        client.request("GET", f"{server.url}/a", timeout=PATIENCE) as one,
        client.request("GET", f"{server.url}/b", timeout=PATIENCE) as other,
    ):
        assert (other.read(), one.read()) == (b"/b", b"/a")


def test_a_client_is_shared_between_threads(client: Client, serve: Serve) -> None:
    server = serve(echo)
    paths = [f"/{number}" for number in range(60)]
    with ThreadPoolExecutor(6, thread_name_prefix="test-caller") as pool:
        found = list(pool.map(lambda path: get(client, server.url + path), paths))
    assert found == [path.encode() for path in paths]
    assert server.connections <= 6


def test_servers_do_not_get_each_others_requests(client: Client, serve: Serve) -> None:
    one, other = serve(echo), serve(echo)
    for server in (one, other, one, other):
        get(client, server.url)
    assert (len(one.requests), len(other.requests)) == (2, 2)


def test_a_connection_closed_while_idle_is_not_used_again(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.answer(b"%d" % peer.number)

    server = serve(talk)
    assert get(client, server.url, body=b"question") == b"1"
    assert server.closed.acquire(timeout=PATIENCE)
    assert get(client, server.url, body=b"question") == b"2"
    assert len(server.requests) == 2, "each request is sent once"


def test_a_connection_with_unasked_bytes_is_not_used_again(client: Client, serve: Serve) -> None:
    received, sent = threading.Event(), threading.Event()

    def talk(peer: Peer) -> None:
        while peer.request():
            peer.answer(b"%d" % peer.number)
            received.wait(PATIENCE)
            peer.answer(b"unasked")
            sent.set()

    server = serve(talk)
    assert get(client, server.url) == b"1"
    received.set()
    assert sent.wait(PATIENCE)
    time.sleep(0.1)  # until it has crossed the loopback
    assert get(client, server.url) == b"2"


@pytest.mark.parametrize("served", [0, 1], ids=["new connection", "kept connection"])
def test_a_dropped_request_is_not_sent_again(client: Client, serve: Serve, served: int) -> None:
    def talk(peer: Peer) -> None:
        for _ in range(served):
            peer.request()
            peer.answer(b"ok")
        peer.request()

    server = serve(talk)
    for _ in range(served):
        get(client, server.url, body=b"question")
    with pytest.raises(RequestError):
        get(client, server.url, body=b"question")
    assert (server.connections, len(server.requests)) == (1, served + 1)


def test_closing_the_client_closes_the_idle_connections(client: Client, serve: Serve) -> None:
    server = serve(echo)
    get(client, server.url)
    assert not server.closed.acquire(timeout=0.2)
    client.close()
    assert server.closed.acquire(timeout=SOON)


def test_a_closed_client_can_still_ask(client: Client, serve: Serve) -> None:
    server = serve(echo)
    get(client, server.url)
    client.close()
    assert get(client, f"{server.url}/again") == b"/again"


# The deadline

LATE = [
    pytest.param(silent, id="no answer"),
    pytest.param(drips(b"HTTP/1.1 ", b"2"), id="slow status line"),
    pytest.param(drips(OK + b"X-Drip: ", b"x"), id="slow header"),
    pytest.param(drips(OK, b"X-D: y\r\n"), id="slow headers"),
    pytest.param(drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="continue for ever"),
    pytest.param(stalls(OK + b"Content-Length: 9\r\n\r\nabc"), id="stalled body"),
    pytest.param(drips(OK + b"Content-Length: 99999\r\n\r\n", b"x"), id="slow body"),
    pytest.param(
        drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="slow chunks"
    ),
    pytest.param(
        drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1"), id="slow size of a chunk"
    ),
    pytest.param(
        drips(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"), id="slow trailers"
    ),
    pytest.param(drips(OK + b"Connection: close\r\n\r\n", b"x"), id="slow body until close"),
    pytest.param(stalls(OK + b"Connection: close\r\n\r\nabc"), id="stalled body until close"),
    pytest.param(drips(b"HTTP/1.0 200 OK\r\n\r\n", b"x"), id="slow HTTP/1.0 body"),
]


@pytest.mark.parametrize("talk", LATE)
def test_a_late_answer_ends_at_the_deadline(client: Client, serve: Serve, talk: Talk) -> None:
    with quick(SHORT + SOON, least=SHORT * 0.9), pytest.raises(DeadlineError):
        get(client, serve(talk).url, timeout=SHORT)


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(drips(OK + b"X-Drip: ", b"x"), id="slow header"),
        pytest.param(drips(OK, b"X-D: y\r\n"), id="slow headers"),
    ],
)
def test_headers_that_are_not_complete_by_the_deadline_are_no_response(
    client: Client, serve: Serve, talk: Talk
) -> None:
    server = serve(talk)
    with pytest.raises(DeadlineError):
        within(lambda: client.request("GET", server.url, timeout=SHORT))


def test_a_server_that_does_not_read_the_request_ends_at_the_deadline(
    client: Client, serve: Serve
) -> None:
    server = serve(lambda peer: peer.server.stopped.wait() and None)
    with quick(SHORT + SOON), pytest.raises(DeadlineError):
        get(client, server.url, timeout=SHORT, body=b"x" * 32 * 1024 * 1024)


def test_a_slow_answer_before_the_deadline_is_complete(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        for byte in OK + b"Content-Length: 3\r\n\r\nabc":
            time.sleep(0.01)
            peer.send(bytes([byte]))

    assert get(client, serve(talk).url) == b"abc"


def test_a_short_deadline_is_kept_beside_a_long_one(client: Client, serve: Serve) -> None:
    long = serve(silent)
    cancellation = Cancellation()
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        waiting = pool.submit(get, client, long.url, 300.0, cancellation)
        until(lambda: len(long.requests) == 1)
        try:
            with quick(SHORT + SOON), pytest.raises(DeadlineError):
                get(client, serve(drips(OK + b"X: ", b"x")).url, timeout=SHORT)
        finally:
            cancellation.cancel()
    assert isinstance(waiting.exception(), CancelledError)


def test_an_earlier_deadline_does_not_end_a_later_request(client: Client, serve: Serve) -> None:
    pause = threading.Event()

    def talk(peer: Peer) -> None:
        while request := peer.request():
            if request.startswith(b"GET /slow"):
                pause.wait(3 * SHORT)
            peer.answer(b"ok")

    server = serve(talk)
    assert get(client, server.url, timeout=SHORT) == b"ok"
    assert get(client, f"{server.url}/slow") == b"ok"


def test_a_timeout_of_nothing_is_a_failed_request(client: Client, serve: Serve) -> None:
    with quick(), pytest.raises(RequestError):
        get(client, serve(silent).url, timeout=0)


@pytest.mark.parametrize("timeout", [1e10, float("inf")])
def test_a_timeout_beyond_the_clock_is_no_crash(
    client: Client, serve: Serve, timeout: float
) -> None:
    assert get(client, f"{serve(echo).url}/x", timeout=timeout) == b"/x"


def test_a_late_connection_is_closed(client: Client, serve: Serve) -> None:
    server = serve(silent)
    with pytest.raises(DeadlineError):
        get(client, server.url, timeout=SHORT)
    assert server.closed.acquire(timeout=SOON)


@pytest.fixture
def full_queue() -> Iterator[str]:
    """Yield the URL of a server whose queue of connections is full, so that connecting hangs."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        time.sleep(0.05)
        probe = stack.enter_context(socket.socket())
        probe.settimeout(0.3)
        try:
            probe.connect(address)
        except TimeoutError:
            yield f"http://127.0.0.1:{address[1]}"
        except OSError:
            pytest.skip("this kernel refuses when the queue is full")
        else:
            pytest.skip("this kernel connects when the queue is full")


def test_a_slow_connect_ends_at_the_deadline(client: Client, full_queue: str) -> None:
    with quick(SHORT + SOON), pytest.raises(RequestError):
        get(client, full_queue, timeout=SHORT)


def test_a_handshake_that_never_comes_ends_at_the_deadline(client: Client, serve: Serve) -> None:
    server = serve(lambda peer: peer.wait())
    with quick(SHORT + SOON), pytest.raises(RequestError):
        get(client, server.url.replace("http:", "https:"), timeout=SHORT)


def test_a_dripping_handshake_ends_at_the_deadline(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        peer.send(b"\x16\x03\x03\x3f\xff")
        peer.drip(b"\x02")

    with quick(SHORT + SOON), pytest.raises(RequestError):
        get(client, serve(talk).url.replace("http:", "https:"), timeout=SHORT)


# Cancelling


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(silent, id="before the headers"),
        pytest.param(drips(OK + b"X: ", b"x"), id="in the headers"),
        pytest.param(stalls(OK + b"Content-Length: 9\r\n\r\nabc"), id="in the body"),
        pytest.param(drips(OK + b"Content-Length: 99999\r\n\r\n", b"x"), id="in a slow body"),
        pytest.param(
            stalls(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), id="between chunks"
        ),
        pytest.param(stalls(OK + b"Connection: close\r\n\r\nabc"), id="in a body until close"),
        pytest.param(drips(b"HTTP/1.0 200 OK\r\n\r\n", b"x"), id="in a slow HTTP/1.0 body"),
    ],
)
def test_cancelling_wakes_a_blocked_reader(client: Client, serve: Serve, talk: Talk) -> None:
    server, cancellation = serve(talk), Cancellation()
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        waiting = pool.submit(get, client, server.url, 60.0, cancellation)
        until(lambda: len(server.requests) == 1)
        time.sleep(0.2)  # until the reader blocks
        with quick():
            cancellation.cancel()
            assert isinstance(waiting.exception(PATIENCE), CancelledError)


def test_cancelling_wakes_a_blocked_sender(client: Client, serve: Serve) -> None:
    cancellation = Cancellation()
    server = serve(lambda peer: peer.server.stopped.wait() and None)
    big = b"x" * 32 * 1024 * 1024
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        waiting = pool.submit(get, client, server.url, 60.0, cancellation, big)
        until(lambda: server.connections == 1)
        time.sleep(0.2)  # until the buffers are full
        with quick():
            cancellation.cancel()
            assert isinstance(waiting.exception(PATIENCE), CancelledError)


def test_cancelling_wakes_a_blocked_connect(client: Client, full_queue: str) -> None:
    cancellation = Cancellation()
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        waiting = pool.submit(get, client, full_queue, 10.0, cancellation)
        time.sleep(0.2)  # until it connects
        with quick():
            cancellation.cancel()
            assert isinstance(waiting.exception(PATIENCE), CancelledError)


def test_cancelling_ends_every_request_under_it(client: Client, serve: Serve) -> None:
    server, cancellation = serve(silent), Cancellation()
    with ThreadPoolExecutor(5, thread_name_prefix="test-caller") as pool:
        waiting = [pool.submit(get, client, server.url, 60.0, cancellation) for _ in range(5)]
        until(lambda: len(server.requests) == 5)
        with quick():
            cancellation.cancel()
            errors = [type(one.exception(PATIENCE)) for one in waiting]
    assert errors == [CancelledError] * 5


def test_cancelling_leaves_other_requests_alone(client: Client, serve: Serve) -> None:
    go, cancellation = threading.Event(), Cancellation()

    def talk(peer: Peer) -> None:
        peer.request()
        go.wait(PATIENCE)
        peer.answer(b"ok")

    server = serve(talk)
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        other = pool.submit(get, client, server.url, PATIENCE, Cancellation())
        until(lambda: len(server.requests) == 1)
        cancellation.cancel()
        go.set()
        assert other.result(PATIENCE) == b"ok"


def test_a_cancelled_switch_refuses_later_requests_unsent(client: Client, serve: Serve) -> None:
    server, cancellation = serve(echo), Cancellation()
    cancellation.cancel()
    with pytest.raises(CancelledError):
        get(client, server.url, cancellation=cancellation)
    get(client, f"{server.url}/other")
    assert (server.connections, len(server.requests)) == (1, 1), "connections come in order"


def test_a_clients_own_switch_ends_requests_that_have_none(client: Client, serve: Serve) -> None:
    server = serve(silent)
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        waiting = pool.submit(get, client, server.url, 60.0)
        until(lambda: len(server.requests) == 1)
        with quick():
            client.cancellation.cancel()
            assert isinstance(waiting.exception(PATIENCE), CancelledError)


def test_cancelling_twice_is_harmless(client: Client) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    cancellation.cancel()
    assert cancellation.is_set


def test_cancelling_after_the_end_leaves_the_kept_connection_alone(
    client: Client, serve: Serve
) -> None:
    server, cancellation = serve(echo), Cancellation()
    get(client, server.url, cancellation=cancellation)
    cancellation.cancel()
    assert get(client, f"{server.url}/next") == b"/next"
    assert server.connections == 1


def test_a_cancelled_connection_is_closed(client: Client, serve: Serve) -> None:
    server, cancellation = serve(silent), Cancellation()
    with ThreadPoolExecutor(1, thread_name_prefix="test-caller") as pool:
        waiting = pool.submit(get, client, server.url, 60.0, cancellation)
        until(lambda: len(server.requests) == 1)
        cancellation.cancel()
        waiting.exception(PATIENCE)
    assert server.closed.acquire(timeout=SOON)


# Answers that are none


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200", id="in the status line"),
        pytest.param(OK + b"Content-Le", id="in a header"),
        pytest.param(OK + b"Content-Type: text/plain\r\n", id="between headers"),
        pytest.param(OK + b"Content-Length: 9\r\n\r\n", id="before a body with a length"),
        pytest.param(OK + b"Content-Length: 9\r\n\r\nabc", id="in a body with a length"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n", id="before the first chunk"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", id="in a chunk"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", id="between chunks"),
    ],
)
def test_a_response_that_breaks_off_is_an_error(
    client: Client, serve: Serve, response: bytes
) -> None:
    with quick(), pytest.raises(RequestError) as caught:
        get(client, serve(says(response)).url)
    begun = b"ab" in response.partition(b"\r\n\r\n")[2]
    assert type(caught.value) is (RequestError if begun else DroppedError)


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x46" * 9, id="TLS"),
        pytest.param(b"HTTP/1.1 two hundred\r\n\r\n", id="a status in words"),
        pytest.param(b"HTTP/9.9 200 OK\r\n\r\n", id="an unknown version"),
        pytest.param(b"x" * 200_000 + b"\r\n", id="a line without end"),
        pytest.param(OK + b"X: y\r\n" * 500 + b"\r\n", id="hundreds of headers"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", id="a chunk size"),
    ],
)
def test_an_answer_that_is_not_http_is_an_error(
    client: Client, serve: Serve, response: bytes
) -> None:
    with quick(), pytest.raises(RequestError):
        get(client, serve(says(response)).url)


def test_after_an_error_the_next_request_has_a_new_connection(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(b"nonsense\r\n\r\n") if peer.number == 1 else peer.answer(b"ok")

    server = serve(talk)
    with pytest.raises(RequestError):
        get(client, server.url)
    assert get(client, server.url) == b"ok"


def test_an_error_names_the_server(client: Client, serve: Serve) -> None:
    server = serve(says(b"nonsense\r\n\r\n"))
    with pytest.raises(RequestError) as caught:
        get(client, f"{server.url}/path")
    assert server.url in str(caught.value)


@pytest.mark.parametrize(("excess", "accepted"), [(0, True), (1, False)])
def test_a_body_beyond_the_limit_is_an_error(
    client: Client, serve: Serve, excess: int, accepted: bool
) -> None:
    block = bytes(1024 * 1024)

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(OK + b"Connection: close\r\n\r\n")
        for _ in range(MAX_BODY_BYTES // len(block)):
            peer.send(block)
        peer.send(b"x" * excess)

    def ask() -> bool:
        with client.request("GET", serve(talk).url, timeout=60) as exchange:
            try:
                return sum(map(len, exchange.read_chunks())) == MAX_BODY_BYTES + excess
            except RequestError:
                return False

    assert within(ask, 60) is accepted


# No connection


def test_a_refused_connection_is_a_connect_error(client: Client) -> None:
    with quick(), pytest.raises(ConnectError):
        get(client, refused_url())


def test_a_connect_error_names_the_server(client: Client) -> None:
    url = refused_url()
    with pytest.raises(ConnectError) as caught:
        get(client, f"{url}/path")
    assert url in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "attic",
        "attic:11434",
        "http://",
        "http:///path",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://" + "a" * 70 + ".example",
    ],
)
def test_a_bad_url_is_a_connect_error(client: Client, url: str) -> None:
    with quick(), pytest.raises(ConnectError):
        get(client, url)


@pytest.mark.parametrize("scheme", ["ftp", "ws", "httpx", ""])
def test_a_server_behind_another_scheme_is_not_asked(
    client: Client, serve: Serve, scheme: str
) -> None:
    server = serve(echo)
    with pytest.raises(ConnectError):
        get(client, server.url.replace("http:", f"{scheme}:" if scheme else ""))
    assert server.requests == []


@pytest.mark.parametrize("path", ["/a b", "/é", "/a\x00b", "/a\x7fb"])
def test_a_path_that_cannot_be_sent_is_an_error(client: Client, serve: Serve, path: str) -> None:
    server = serve(echo)
    with pytest.raises(RequestError):
        get(client, server.url + path)
    assert server.requests == []


def test_https_to_a_plain_server_is_a_connect_error(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with quick(), pytest.raises(ConnectError):
        get(client, serve(talk).url.replace("http:", "https:"))


def test_every_error_is_a_request_error() -> None:
    for kind in (ConnectError, DeadlineError, CancelledError):
        assert issubclass(kind, RequestError)


# Secrets

KEY = "sk-planted0key0wxyz"
MASKED = KEY.replace("planted0key0", "***")


def told(client: Client, url: str, **headers: str) -> str:
    """Return what the failure of a request says."""
    with pytest.raises(RequestError) as caught:
        client.request("GET", url, headers=headers, timeout=PATIENCE)
    return str(caught.value)


@pytest.mark.parametrize("quoted", [KEY, MASKED])
@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"api-key": KEY}], ids=["bearer", "api-key"]
)
def test_a_key_that_a_broken_status_line_quotes_is_in_no_error(
    client: Client, serve: Serve, headers: dict[str, str], quoted: str
) -> None:
    server = serve(says(f"bad key {quoted} given\r\n\r\n".encode()))
    assert "bad key *** given" in told(client, server.url, **headers)


def test_a_password_that_a_server_quotes_is_in_no_error(client: Client, serve: Serve) -> None:
    basic = base64.b64encode(b"me:p@ssw0rd").decode()
    server = serve(says(f"no p@ssw0rd or {basic}\r\n\r\n".encode()))
    said = told(client, server.url.replace("://", "://me:p%40ssw0rd@"))
    assert "no *** or ***" in said


def test_what_a_client_was_told_to_keep_to_itself_is_in_no_error(serve: Serve) -> None:
    server = serve(says(f"{KEY}\r\n\r\n".encode()))
    assert KEY not in told(Client(secrets=[KEY]), server.url)


def test_the_words_of_a_refusal_come_without_the_key(client: Client, serve: Serve) -> None:
    body = f"Incorrect API key provided: {MASKED}. ".encode() * 400
    server = serve(says(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)))
    headers = {"Authorization": f"Bearer {KEY}"}
    with client.request("GET", server.url, headers=headers, timeout=PATIENCE) as exchange:
        said = exchange.read_complaint()
    assert said.startswith("Incorrect API key provided: ***. Incorrect")
    assert len(said) <= MAX_COMPLAINT_BYTES
    assert "wxyz" not in said


def test_an_answer_is_what_the_server_sent(client: Client, serve: Serve) -> None:
    server = serve(echo)
    assert get(Client(secrets=[KEY]), f"{server.url}/{KEY}").decode() == f"/{KEY}"


# Threads


def ours() -> Counter[str]:
    """Count, by name, the threads that no test started."""
    return Counter(t.name for t in threading.enumerate() if not t.name.startswith("test-"))


def test_no_thread_is_left_behind_but_one_watchdog(client: Client, serve: Serve) -> None:
    good, late = serve(echo), serve(silent)
    get(client, good.url)
    before = ours()
    assert before["llmc-watchdog"] == 1
    for other in (client, Client(), Client()):
        for _ in range(5):
            get(other, good.url)
        with pytest.raises(DeadlineError):
            get(other, late.url, timeout=0.05)
        with pytest.raises(ConnectError):
            get(other, refused_url())
        other.close()
    assert ours() <= before


def test_finished_requests_are_forgotten_before_their_deadline(
    client: Client, serve: Serve
) -> None:
    server = serve(echo)

    def ask() -> None:
        for _ in range(400):
            with client.request("GET", server.url, timeout=3600) as exchange:
                exchange.read()

    within(ask)
    gc.collect()
    assert sum(isinstance(thing, Exchange) for thing in gc.get_objects()) < 200


def test_an_open_exchange_does_not_keep_the_program_alive(serve: Serve) -> None:
    server = serve(stalls(OK + b"Content-Length: 9\r\n\r\nabc"))
    program = (
        "from llmc.net.client import Client\n"
        f"exchange = Client().request('GET', {server.url!r}, timeout=600)\n"
        "print(exchange.status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("200\n", "", 0)


def test_a_kept_connection_that_the_server_drops_unread_is_replaced_if_allowed() -> None:
    served: list[int] = []

    class OnceEach(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.append(self.client_address[1])
            if served.count(self.client_address[1]) > 1:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), OnceEach)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    client = Client()
    try:
        for resend in (False, True):
            with client.request("GET", url, timeout=10, resend=resend) as exchange:
                assert exchange.read() == b"ok"
        with pytest.raises(RequestError, match="without an answer"):
            client.request("GET", url, timeout=10)
    finally:
        server.shutdown()
        server.server_close()
    assert len(served) == 4
