"""Where a download may lead, decided before the first byte leaves."""

import socket

import pytest

from tasks_app.sources.addresses import is_public
from tasks_app.sources.download import Network, open_download
from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.tls import Trust

OWN = "http://studio.lan:8188/base"


def refusal_of(url: str, network: Network | None = None) -> SourceRefused:
    with (
        pytest.raises(SourceRefused) as caught,
        open_download(url, own_url=OWN, trust=Trust(), network=network or nowhere()),
    ):
        raise AssertionError("it was opened")
    return caught.value


def nowhere() -> Network:
    def resolve(host: str, port: int):
        raise AssertionError(f"{host} was looked up")

    return Network(resolve=resolve)


def names(*found: str) -> Network:
    """Every name has these addresses. A connection to one of them would fail the test, by the sentence it ends with."""
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return Network(resolve=lambda host, port: [(families[":" in text], (text, port)) for text in found])


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_addresses_of_the_open_internet(text):
    assert is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "100.127.255.254", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *(
            "192.0.2.1",
            "198.18.0.1",
            "::",
            "::1",
            "::7f00:1",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fd12::1",
        ),
        *(
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
        ),
        *("64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b:1::1", ""),
        *("localhost", "1.2.3", "0x7f000001", "2130706433"),
    ],
)
def test_every_other_address_is_private(text):
    assert not is_public(text)


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "/files/1", "file:///etc/passwd", "ftp://files.example/1", "gopher://files.example/1"),
        *(
            "data:video/mp4;base64,AAAA",
            "https://",
            "https://user@files.example/1",
            "https://u:p@files.example/",
        ),
        *(
            "http://files.example/1",
            "http://studio.lan:8189/1",
            "http://studio.lan/1",
            "https://files.example:x/1",
        ),
        *("http://studio.lan:8188@files.example/1", "http://studio.lan.:8188/1", "https://[::1/1"),
    ],
)
def test_no_name_is_looked_up_for_an_address_that_is_out_of_the_question(url):
    assert refusal_of(url).kind == "address"


@pytest.mark.parametrize(
    "found",
    [("127.0.0.1",), ("10.0.0.7",), ("::1",), ("::ffff:192.168.0.1",), ("8.8.8.8", "127.0.0.1")],
    ids=["loopback", "private", "loopback-6", "mapped", "one-of-two"],
)
def test_a_name_that_leads_into_a_private_network_is_refused(found):
    error = refusal_of("https://files.example/1", names(*found))
    assert error.kind == "address"
    assert "private network" in str(error)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]", "2130706433", "0x7f.1"]
)
def test_a_number_in_place_of_a_name_is_looked_at_too(host):
    error = refusal_of(f"https://{host}/1", Network())
    assert error.kind == "address"
