"""How servers are reached: by a proxy where one is named, and on whose certificate's word."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmc.errors import CertificateError, ConnectError, DeadlineError, RequestError
from llmc.net.client import Client
from llmc.net.exchange import Exchange
from llmc.net.places import read_place
from llmc.net.probe import find_trouble
from llmc.net.routes import Network, Proxy
from tests.peers import (
    OK,
    PATIENCE,
    Peer,
    Serve,
    Server,
    get,
    make_certificate,
    says,
    secured,
    within,
)

HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
NAMES = "subjectAltName=DNS:attic.example,DNS:localhost"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    return make_certificate(folder, "attic.example", "-days", "2", "-addext", NAMES)


def through(url: str, **more: object) -> Client:
    return Client(network=Network({"http": url, "https": url}, **more))  # type: ignore[arg-type]


# Proxies


def test_a_proxy_is_told_the_whole_address(serve: Serve) -> None:
    proxy = serve(says(HELLO))
    assert get(through(proxy.url), "http://attic.example:8080/v1?x=1") == b"hello"
    [request] = proxy.requests
    assert request.startswith(b"GET http://attic.example:8080/v1?x=1 HTTP/1.1\r\n")
    assert b"Host: attic.example:8080\r\n" in request
    assert b"Proxy-Authorization" not in request


def test_a_proxy_is_signed_in_to_and_its_password_is_in_no_error(serve: Serve) -> None:
    proxy = serve(says(b"nonsense pass-w0rd-99\r\n\r\n"))
    url = proxy.url.replace("http://", "http://me:pass-w0rd-99@")
    with pytest.raises(RequestError) as caught:
        get(through(url), "http://attic.example/")
    assert b"Proxy-Authorization: Basic bWU6cGFzcy13MHJkLTk5\r\n" in proxy.requests[0]
    assert "w0rd" not in str(caught.value)
    assert "w0rd" not in repr(Network({"http": url}))


def test_a_proxy_passes_on_what_is_secured(serve: Serve, certificate: tuple[Path, Path]) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
        secured(certificate, says(HELLO))(peer)

    proxy = serve(talk)
    client = through(proxy.url, ca_file=certificate[0])
    assert get(client, "https://attic.example/v1") == b"hello"
    tunnel, request = proxy.requests
    assert tunnel.startswith(b"CONNECT attic.example:443 HTTP/1.1\r\n")
    assert request.startswith(b"GET /v1 HTTP/1.1\r\n")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Sign in\r\n\r\n", b"", b"what?\r\n\r\n"])
def test_a_proxy_that_does_not_pass_on_is_a_connect_error(serve: Serve, answer: bytes) -> None:
    proxy = serve(says(answer))
    with pytest.raises(ConnectError):
        get(through(proxy.url), "https://attic.example/")


def test_a_proxy_that_never_answers_ends_at_the_deadline(serve: Serve) -> None:
    proxy = serve(lambda peer: peer.wait())
    with pytest.raises(DeadlineError):
        get(through(proxy.url), "https://attic.example/", timeout=0.5)


def test_this_machine_is_asked_itself(serve: Serve) -> None:
    server, proxy = serve(says(HELLO)), serve(says(HELLO))
    assert get(through(proxy.url), server.url) == b"hello"
    assert get(through(proxy.url), server.url.replace("127.0.0.1", "localhost")) == b"hello"
    assert proxy.requests == []


def test_nothing_but_the_settings_names_a_proxy(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(says(HELLO))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy.url)
    with pytest.raises(ConnectError):
        get(Client(), "http://attic.invalid/")
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("words", "url", "straight"),
    [
        (("attic.example",), "http://attic.example", True),
        (("ATTIC.example",), "http://attic.example", True),
        ((".example",), "http://attic.example", True),
        (("*.example",), "http://attic.example", True),
        (("example",), "http://attic.example", True),
        (("ample",), "http://attic.example", False),
        (("*",), "http://attic.example", True),
        (("attic.example:8080",), "http://attic.example:8080", True),
        (("attic.example:8080",), "http://attic.example", False),
        (("attic.example:443",), "https://attic.example", True),
        (("10.0.0.0/8",), "http://10.1.2.3:11434", True),
        (("10.1.2.3",), "http://10.1.2.3:11434", True),
        (("10.1.2.4",), "http://10.1.2.3:11434", False),
        (("fd00::/8",), "http://[fd00::7]:11434", True),
        (("",), "http://attic.example", False),
    ],
)
def test_what_is_to_be_asked_straight_is(words: tuple[str, ...], url: str, straight: bool) -> None:
    network = Network({"http": "http://proxy:1", "https": "http://proxy:1"}, words)
    assert (network.find_proxy(read_place(url)) is None) is straight


def test_a_proxy_needs_no_scheme() -> None:
    assert Proxy.of("proxy.example:3128") == Proxy(("http", "proxy.example", 3128))


@pytest.mark.parametrize("url", ["socks5://proxy:1", "http://", "http://proxy:port"])
def test_what_is_no_proxy_is_a_connect_error(url: str) -> None:
    with pytest.raises(ConnectError):
        get(through(url), "http://attic.example/")


# Certificates


def ask(client: Client, url: str) -> Exchange:
    return within(lambda: client.request("GET", url, timeout=PATIENCE))


def url_of(server: Server, name: str = "localhost") -> str:
    return f"https://{name}:{server.port}"


def test_a_certificate_that_nobody_vouches_for_says_what_to_do(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    server = serve(secured(certificate, says(HELLO)))
    with pytest.raises(CertificateError) as caught:
        ask(Client(), url_of(server))
    for word in ("self-signed", "SSL_CERT_FILE", "ca_file", url_of(server)):
        assert word in str(caught.value)
    assert "SSL_CERT_FILE" in str(find_trouble(Client(), url_of(server), PATIENCE))
    assert server.connections == 2


def test_a_certificate_of_ones_own_ca_is_believed(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    server = serve(secured(certificate, says(HELLO)))
    client = Client(network=Network(ca_file=certificate[0]))
    assert get(client, url_of(server)) == b"hello"


def test_a_ca_file_in_the_environment_is_believed(
    serve: Serve, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert get(Client(), url_of(serve(secured(certificate, says(HELLO))))) == b"hello"


def test_a_certificate_for_another_name_says_so(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    server = serve(secured(certificate, says(HELLO)))
    client = Client(network=Network(ca_file=certificate[0]))
    with pytest.raises(CertificateError, match="by the name that it is made out to"):
        ask(client, url_of(server, "127.0.0.1"))


def test_a_ca_file_that_is_none_is_a_connect_error(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    client = Client(network=Network(ca_file=tmp_path / "empty.pem"))
    with pytest.raises(ConnectError):
        ask(client, url_of(serve(says(HELLO))))
