"""How an answer may come: announced by others, packed, too large; and to whom a URL leads."""

from __future__ import annotations

import gzip
import socket
import zlib

import pytest

from llmc.errors import DroppedError, RequestError
from llmc.net.client import Client
from llmc.net.exchange import MAX_WHOLE_BYTES
from tests.peers import OK, Peer, Serve, get, says, within

TEXT = b"".join(b"line %d of the answer\n" % n for n in range(5000))


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return OK + b"Content-Length: %d\r\n%b\r\n" % (len(body), lines) + body


def chunked(body: bytes, size: int, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in (b"Transfer-Encoding: chunked", *headers))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return OK + lines + b"\r\n" + framed


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


# Announcements


@pytest.mark.parametrize(
    "hints",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 199 Whatever\r\n\r\n" * 5,
    ],
)
def test_what_only_announces_an_answer_is_passed_over(
    client: Client, serve: Serve, hints: bytes
) -> None:
    assert get(client, serve(says(hints + answer(b"hello"))).url) == b"hello"


def test_a_connection_is_kept_after_an_announced_answer(client: Client, serve: Serve) -> None:
    def talk(peer: Peer) -> None:
        while peer.request():
            peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"hello"))

    server = serve(talk)
    assert [get(client, server.url), get(client, server.url)] == [b"hello", b"hello"]
    assert server.connections == 1


def test_announcements_without_end_are_an_error(client: Client, serve: Serve) -> None:
    server = serve(says(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100 + answer(b"hello")))
    with pytest.raises(RequestError, match="no answer but HTTP status 103"):
        get(client, server.url)


def test_a_change_of_protocol_that_nobody_asked_for_is_an_error(
    client: Client, serve: Serve
) -> None:
    server = serve(says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"))
    with pytest.raises(RequestError, match="101"):
        get(client, server.url)


# Packing


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", gzip.compress(TEXT)),
        (b"GZIP", gzip.compress(TEXT)),
        (b"x-gzip", gzip.compress(TEXT)),
        (b"gzip", gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:])),
        (b"gzip", gzip.compress(TEXT) + bytes(8)),
        (b"deflate", zlib.compress(TEXT)),
        (b"deflate", bare(TEXT)),
        (b"deflate, gzip", gzip.compress(zlib.compress(TEXT))),
        (b"identity", TEXT),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_packed_body_is_unpacked(
    client: Client, serve: Serve, coding: bytes, packed: bytes, size: int
) -> None:
    server = serve(says(chunked(packed, size, b"Content-Encoding: " + coding)))
    assert get(client, server.url) == TEXT


def test_a_packed_stream_comes_in_as_it_is_sent(client: Client, serve: Serve) -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"one") + packer.flush(zlib.Z_SYNC_FLUSH)
    head = OK + b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"

    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(head + b"%x\r\n%b\r\n" % (len(first), first))
        peer.wait()

    def ask() -> bytes:
        with client.request("GET", serve(talk).url, timeout=60) as exchange:
            return next(exchange.read_chunks())

    assert within(ask) == b"one"


@pytest.mark.parametrize(
    ("coding", "packed", "says_so"),
    [
        (b"gzip", gzip.compress(TEXT)[:-20], "breaks off"),
        (b"gzip", b"not packed at all", "does not unpack"),
        (b"deflate", b"\xff\xff\xff\xff", "does not unpack"),
        (b"br", b"whatever", "'br'"),
    ],
)
def test_a_body_that_does_not_unpack_is_an_error(
    client: Client, serve: Serve, coding: bytes, packed: bytes, says_so: str
) -> None:
    server = serve(says(answer(packed, b"Content-Encoding: " + coding)))
    with pytest.raises(RequestError, match=says_so):
        get(client, server.url)


def test_no_body_at_all_needs_no_unpacking(client: Client, serve: Serve) -> None:
    assert get(client, serve(says(answer(b"", b"Content-Encoding: gzip"))).url) == b""


# Size


@pytest.mark.parametrize("head", [b"", b"Content-Encoding: gzip"])
def test_an_answer_is_held_up_to_a_bound_only(client: Client, serve: Serve, head: bytes) -> None:
    def body(size: int) -> bytes:
        return gzip.compress(bytes(size)) if head else bytes(size)

    headers = [head] if head else []
    fits = serve(says(answer(body(MAX_WHOLE_BYTES), *headers)))
    assert len(get(client, fits.url)) == MAX_WHOLE_BYTES
    exceeds = serve(says(answer(body(MAX_WHOLE_BYTES + 1), *headers)))
    with pytest.raises(RequestError, match="exceeds"):
        get(client, exceeds.url)


def test_a_complaint_without_end_is_read_in_part_only(client: Client, serve: Serve) -> None:
    server = serve(says(b"HTTP/1.1 500 No\r\nContent-Length: 99999999\r\n\r\n" + b"x" * (3 << 20)))

    def ask() -> str:
        with client.request("GET", server.url, timeout=60) as exchange:
            return exchange.read_complaint()

    assert within(ask).startswith("xxx")


# Addresses


def test_a_mapped_ipv6_address_is_reached(client: Client, serve: Serve) -> None:
    port = serve(says(answer(b"hello"))).port
    assert get(client, f"http://[::ffff:127.0.0.1]:{port}/") == b"hello"


@pytest.mark.parametrize("zone", ["%1", "%251"])
def test_an_ipv6_address_with_its_zone_is_reached(client: Client, serve: Serve, zone: str) -> None:
    server = serve(says(answer(b"hello")), socket.AF_INET6)
    assert get(client, f"http://[::1{zone}]:{server.port}/") == b"hello"
    assert f"Host: [::1]:{server.port}".encode() in server.requests[0]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 9\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
    ],
)
def test_a_connection_that_ends_before_any_body_was_dropped(
    serve: Serve, client: Client, head: bytes
) -> None:
    with pytest.raises(DroppedError):
        get(client, serve(says(OK + head)).url)


def test_a_body_that_breaks_off_was_not_dropped(serve: Serve, client: Client) -> None:
    with pytest.raises(RequestError) as caught:
        get(client, serve(says(OK + b"Content-Length: 9\r\n\r\nabc")).url)
    assert not isinstance(caught.value, DroppedError)
