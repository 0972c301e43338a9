"""The host chain: how it is written, and which of it answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmc.settings.hosts import Host, find_reachable, parse_hosts

PATIENCE = 20.0
"""Seconds after which something that should have ended long ago counts as hung."""


def chain(**environ: str) -> list[tuple[str, str]]:
    return [(host.label, host.url) for host in parse_hosts(environ)]


@pytest.mark.parametrize(
    ("text", "as_meant", "expected"),
    [
        ("attic", True, "http://attic:11434"),
        ("attic", False, "http://attic"),
        ("http://attic/v1/", True, "http://attic"),
        ("http://attic/v1/", False, "http://attic/v1"),
    ],
)
def test_the_batch_driver_takes_urls_to_the_letter(
    text: str, as_meant: bool, expected: str
) -> None:
    [host] = parse_hosts({"ENRICH_OLLAMA_HOSTS": text}, as_meant=as_meant)
    assert host.url == expected


# How a chain is written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a=http://x:1", [("a", "http://x:1")], id="label and url"),
        pytest.param("http://x:1", [("host1", "http://x:1")], id="url alone"),
        pytest.param("=http://x", [("host1", "http://x")], id="empty label"),
        pytest.param(" =http://x", [("host1", "http://x")], id="blank label"),
        pytest.param(
            "a=http://x,http://y,b=http://z,http://w",
            [("a", "http://x"), ("host2", "http://y"), ("b", "http://z"), ("host4", "http://w")],
            id="host<N> counts the labelled ones too",
        ),
        pytest.param(
            ",a=, ,http://y,,b= ,http://z",
            [("host1", "http://y"), ("host2", "http://z")],
            id="host<N> counts only those kept",
        ),
        pytest.param(
            "  a = http://x  ,\t http://y\n",
            [("a", "http://x"), ("host2", "http://y")],
            id="blanks trimmed",
        ),
        pytest.param("a=x:11434", [("a", "http://x:11434")], id="scheme added after a label"),
        pytest.param("x:11434", [("host1", "http://x:11434")], id="scheme added without a label"),
        pytest.param("a=https://x", [("a", "https://x")], id="https kept"),
        pytest.param("a=http://x/", [("a", "http://x")], id="one trailing slash cut"),
        pytest.param("a=x:1///", [("a", "http://x:1")], id="all trailing slashes cut"),
        pytest.param("a=http://x/ollama/", [("a", "http://x/ollama")], id="a path is kept"),
        pytest.param("a=http://x/?k=v", [("a", "http://x/?k=v")], id="split at the first ="),
        pytest.param(
            "a=http://x,a=http://x,http://x",
            [("a", "http://x"), ("a", "http://x"), ("host3", "http://x")],
            id="duplicates stay",
        ),
        pytest.param(
            "b=http://2,a=http://1", [("b", "http://2"), ("a", "http://1")], id="order stays"
        ),
    ],
)
def test_the_list_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert chain(ENRICH_OLLAMA_HOSTS=text) == expected


@pytest.mark.parametrize("text", ["", " ", ",", " , ,", "a=", "a= ,b="])
def test_a_list_without_a_url_gives_way_to_the_single_urls(text: str) -> None:
    assert chain(ENRICH_OLLAMA_HOSTS=text, OLLAMA_URL="http://y") == [("localhost", "http://y")]


def test_a_list_with_a_url_hides_the_single_urls() -> None:
    found = chain(ENRICH_OLLAMA_HOSTS="x", ATHENA_OLLAMA_URL="http://a", OLLAMA_URL="http://y")
    assert found == [("host1", "http://x:11434")]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, [("localhost", "http://localhost:11434")], id="nothing set"),
        pytest.param(
            {"ATHENA_OLLAMA_URL": "http://a:1"},
            [("athena", "http://a:1"), ("localhost", "http://localhost:11434")],
            id="athena comes before the default",
        ),
        pytest.param(
            {"ATHENA_OLLAMA_URL": "http://a:1", "OLLAMA_URL": "http://y:2"},
            [("athena", "http://a:1"), ("localhost", "http://y:2")],
            id="athena, then OLLAMA_URL",
        ),
        pytest.param(
            {"ATHENA_OLLAMA_URL": ""},
            [("localhost", "http://localhost:11434")],
            id="empty athena dropped",
        ),
        pytest.param({"OLLAMA_URL": ""}, [], id="empty OLLAMA_URL leaves no host at all"),
        pytest.param(
            {"ATHENA_OLLAMA_URL": "http://a:1", "OLLAMA_URL": ""},
            [("athena", "http://a:1")],
            id="empty OLLAMA_URL leaves athena alone",
        ),
        pytest.param(
            {"OLLAMA_HOST_LABEL": "desk"},
            [("desk", "http://localhost:11434")],
            id="label of the default url",
        ),
        pytest.param(
            {
                "OLLAMA_HOST_LABEL": "desk",
                "OLLAMA_URL": "http://y",
                "ATHENA_OLLAMA_URL": "http://a",
            },
            [("athena", "http://a"), ("desk", "http://y")],
            id="the label is not athena's",
        ),
    ],
)
def test_without_a_list_the_single_urls_count(
    environ: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    assert chain(**environ) == expected


# Which hosts answer


class _Answer(BaseHTTPRequestHandler):
    status = 200
    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(resources: ExitStack) -> Callable[[int], Host]:
    """Start real HTTP servers that answer everything with one status."""

    def start(status: int, paths: list[str] | None = None) -> Host:
        handler = type(
            "Handler", (_Answer,), {"status": status, "paths": [] if paths is None else paths}
        )
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        resources.callback(server.server_close)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        resources.callback(server.shutdown)
        return Host(str(status), f"http://127.0.0.1:{server.server_port}")

    return start


@pytest.fixture
def raw(resources: ExitStack) -> Callable[[bytes, bytes], Host]:
    """Start servers that send some bytes, then others for ever (or nothing, if there are none)."""

    def start(first: bytes, rest: bytes) -> Host:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.1)
        stop = threading.Event()

        def talk(peer: socket.socket) -> None:
            with peer, suppress(OSError):
                peer.sendall(first)
                while not stop.wait(0.05):
                    peer.sendall(rest)

        def accept() -> None:
            with listener:
                while not stop.is_set():
                    with suppress(TimeoutError):
                        peer, _ = listener.accept()
                        threading.Thread(target=talk, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        resources.callback(stop.set)
        return Host("raw", f"http://127.0.0.1:{listener.getsockname()[1]}")

    return start


def refused() -> Host:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return Host("refused", f"http://127.0.0.1:{closed.getsockname()[1]}")


def asked(hosts: list[Host], timeout: float = 5.0) -> list[Host]:
    """Ask the hosts, and fail rather than wait for ever."""
    found: list[list[Host]] = []
    thread = threading.Thread(
        target=lambda: found.append(find_reachable(hosts, timeout)), daemon=True
    )
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the health check hangs"
    assert found, "the health check raised"
    return found[0]


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_2xx_is_reachable(serve: Callable[[int], Host], status: int) -> None:
    host = serve(status)
    assert asked([host]) == [host]


@pytest.mark.parametrize("status", [302, 400, 401, 404, 500, 503])
def test_any_other_status_is_not_reachable(serve: Callable[[int], Host], status: int) -> None:
    assert asked([serve(status)]) == []


def test_a_refused_connection_is_not_reachable() -> None:
    assert asked([refused()]) == []


@pytest.mark.parametrize("url", ["http://[::1", "http://x:notaport", "gopher://x", "http:"])
def test_a_url_that_cannot_be_asked_is_not_reachable(url: str) -> None:
    assert asked([Host("odd", url)]) == []


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        pytest.param(b"", b"", id="accepts and never answers"),
        pytest.param(b"HTTP/1.1 ", b"2", id="drips the status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x", id="drips one header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-D: y\r\n", id="drips many headers"),
    ],
)
def test_a_host_that_never_completes_its_headers_is_not_reachable_after_the_timeout(
    raw: Callable[[bytes, bytes], Host], first: bytes, rest: bytes
) -> None:
    host = raw(first, rest)
    began = time.monotonic()
    assert asked([host], timeout=0.5) == []
    assert 0.4 <= time.monotonic() - began < 5


def test_a_body_that_never_ends_does_not_matter(raw: Callable[[bytes, bytes], Host]) -> None:
    host = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x")
    began = time.monotonic()
    assert asked([host], timeout=10) == [host]
    assert time.monotonic() - began < 8


def test_each_host_is_asked_once(serve: Callable[..., Host]) -> None:
    paths: list[str] = []
    asked([serve(200, paths)])
    assert len(paths) == 1


def test_a_path_in_the_url_is_part_of_what_is_asked(serve: Callable[..., Host]) -> None:
    paths: list[str] = []
    asked([Host("proxied", serve(200, paths).url + "/ollama")])
    assert [path.startswith("/ollama/") for path in paths] == [True]


def test_those_that_answer_are_returned_in_chain_order(serve: Callable[[int], Host]) -> None:
    first, broken, second = serve(200), serve(500), serve(204)
    assert asked([second, refused(), broken, first]) == [second, first]


def test_a_duplicate_is_asked_and_returned_twice(serve: Callable[..., Host]) -> None:
    paths: list[str] = []
    host = serve(200, paths)
    assert asked([host, host]) == [host, host]
    assert len(paths) == 2


def test_hosts_are_asked_side_by_side(raw: Callable[[bytes, bytes], Host]) -> None:
    silent = [raw(b"", b"") for _ in range(6)]
    began = time.monotonic()
    assert asked(silent, timeout=1.0) == []
    assert time.monotonic() - began < 4, "one after the other, six hosts take 6 s"


def test_a_silent_host_does_not_hide_the_others(
    serve: Callable[[int], Host], raw: Callable[[bytes, bytes], Host]
) -> None:
    good = serve(200)
    assert asked([raw(b"", b""), good], timeout=2.0) == [good]


def test_no_hosts_means_none_reachable() -> None:
    assert asked([]) == []
