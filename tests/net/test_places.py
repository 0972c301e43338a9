"""What an address says of where it leads, in all the forms in which people write one."""

import pytest

from llmc.net.places import OwnNetwork, address, bracket, host_of, is_this_machine


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("::1", "[::1]"),
        ("::1:11434", "[::1]:11434"),
        ("::1:8080", "[::1]:8080"),
        ("[::1]", "[::1]"),
        ("[::1]:11434", "[::1]:11434"),
        ("http://::1/v1", "http://[::1]/v1"),
        ("http://::1:11434/v1", "http://[::1]:11434/v1"),
        ("http://[::1]:11434/a:b::c", "http://[::1]:11434/a:b::c"),
        ("https://me:word@fd00::7/v1", "https://me:word@[fd00::7]/v1"),
        ("fd00::7:8080", "[fd00::7:8080]"),
        ("fd00::7:11434", "[fd00::7]:11434"),
        ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]"),
        ("::ffff:127.0.0.1:11434", "[::ffff:127.0.0.1]:11434"),
        ("fe80::1%eth0", "[fe80::1%eth0]"),
        ("fe80::1%eth0:11434", "[fe80::1%eth0]:11434"),
        ("attic", "attic"),
        ("attic:11434", "attic:11434"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434/"),
        ("not::an::address", "not::an::address"),
        ("", ""),
    ],
)
def test_an_ipv6_address_gets_its_brackets(given: str, meant: str) -> None:
    assert bracket(given) == meant


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://[::1]:11434/x", "http://[::1]:11434"),
        ("http://[::1]", "http://[::1]"),
        ("http://[fe80::1%25eth0]:80/", "http://[fe80::1%eth0]:80"),
        ("http://[::ffff:10.0.0.1]/", "http://[::ffff:10.0.0.1]"),
    ],
)
def test_an_ipv6_address_is_shown_with_its_brackets(url: str, shown: str) -> None:
    assert address(url) == shown
    assert address(shown) == shown


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://[::1]:1", True),
        ("http://[::ffff:127.0.0.1]:1", True),
        ("http://[::ffff:7f00:1]", True),
        ("http://[::1%25lo]:1", True),
        ("http://[::ffff:10.0.0.1]:1", False),
        ("http://[fe80::1%25eth0]", False),
    ],
)
def test_an_ipv6_address_of_this_machine_is_known(url: str, here: bool) -> None:
    assert is_this_machine(url) is here


def test_an_ipv4_address_written_as_ipv6_is_in_its_network() -> None:
    own = OwnNetwork.of(["10.0.0.0/8", "fe80::/10"])
    assert own.covers("http://[::ffff:10.1.2.3]:11434")
    assert own.covers("http://[fe80::7%25eth0]")
    assert not own.covers("http://[::ffff:11.1.2.3]")
    assert host_of("http://[fe80::7%25eth0]:1") == "fe80::7%eth0"
