"""Downloads over real connections: what travels where, and every way in which an answer can end badly."""

import socket
import time

import pytest

from tasks_app.sources.addresses import resolve
from tasks_app.sources.download import MAX_REDIRECTS, Network, open_download
from tasks_app.sources.errors import SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.tls import Trust
from tests.integration.generation.asset_server import (
    asset_server,
    body,
    chunked,
    endless,
    one_after_another,
    redirect,
    status,
)

KEY = {"Authorization": "Bearer s3cret-key"}


@pytest.fixture
def own():
    with asset_server() as server:
        yield server


@pytest.fixture
def other(tmp_path):
    """Another origin, with a certificate that the test's network trusts, at an address it takes for public."""
    with asset_server(tmp_path / "other") as server:
        yield server


def fetch(own, path, *, other=None, **options):
    trusted = Network(trust=Trust(ca_pem=other.ca_pem), is_allowed=lambda text: True) if other else Network()
    options = {"network": trusted, "key_headers": KEY} | options
    url = path if path.startswith("http") else own.url + path
    with open_download(url, own_url=own.url, trust=Trust(), **options) as download:
        return download.size, download.media_type, b"".join(download.chunks)


def failure_of(kind, own, path, **options):
    with pytest.raises(kind) as caught:
        fetch(own, path, **options)
    assert "s3cret" not in str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)
    return caught.value


def has_key(request: str) -> bool:
    return "s3cret" in request


def test_size_and_type_are_known_before_the_first_byte(own):
    own.answers["/a"] = body(b"0123456789", "video/mp4; codecs=avc1")
    with open_download(own.url + "/a", own_url=own.url, trust=Trust(), key_headers=KEY) as download:
        assert (download.size, download.media_type) == (10, "video/mp4")
        assert b"".join(download.chunks) == b"0123456789"
    assert has_key(own.requests[0])
    assert "Accept-Encoding: identity" in own.requests[0]


def test_an_answer_in_chunks_has_no_size(own):
    own.answers["/a"] = chunked(b"abc", b"def")
    assert fetch(own, "/a") == (None, "", b"abcdef")


def test_a_redirect_within_the_origin_keeps_the_key(own):
    own.answers["/a"] = redirect("/b")
    own.answers["/b"] = body(b"x")
    assert fetch(own, "/a")[2] == b"x"
    assert [has_key(request) for request in own.requests] == [True, True]


@pytest.mark.parametrize(
    "line", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_the_key_does_not_travel_to_another_origin_and_stays_away_afterwards(own, other, line):
    own.answers["/a"] = redirect(other.url + "/b", line)
    other.answers["/b"] = redirect(own.url + "/c", line)
    own.answers["/c"] = body(b"x")
    assert fetch(own, "/a", other=other)[2] == b"x"
    assert [has_key(request) for request in own.requests] == [True, False]
    assert [has_key(request) for request in other.requests] == [False]


def test_an_address_elsewhere_gets_no_key_at_all(own, other):
    other.answers["/cdn"] = body(b"x")
    assert fetch(own, other.url + "/cdn", other=other)[2] == b"x"
    assert not has_key(other.requests[0])


def test_a_redirect_to_a_private_address_is_not_followed(own, tmp_path):
    with asset_server(tmp_path / "inside") as inside:
        own.answers["/a"] = redirect(inside.url + "/metadata")
        assert failure_of(SourceRefused, own, "/a").kind == "address"
        assert inside.requests == []


def test_plain_http_elsewhere_is_not_followed(own):
    with asset_server() as inside:
        own.answers["/a"] = redirect(inside.url + "/x")
        assert failure_of(SourceRefused, own, "/a").kind == "address"
        assert inside.requests == []


def test_a_certificate_that_nobody_vouches_for_is_a_matter_for_a_person(own, other):
    network = Network(is_allowed=lambda text: True)
    assert failure_of(SourceNeedsPerson, own, other.url + "/x", network=network).kind == "certificate"
    assert other.requests == []


def test_what_was_looked_at_is_what_is_connected_to(own, other):
    """A name that changes its mind after the first look cannot change where the connection goes."""
    port = int(other.url.rsplit(":", 1)[1])
    asked = []

    def resolve_once(host, wanted_port):
        asked.append(host)
        return [(socket.AF_INET, ("127.0.0.1", wanted_port))] if len(asked) == 1 else resolve("0.0.0.0", 1)

    other.answers["/x"] = body(b"x")
    network = Network(Trust(ca_pem=other.ca_pem), resolve_once, lambda text: text == "127.0.0.1")
    assert fetch(own, f"https://127.0.0.1:{port}/x", network=network)[2] == b"x"
    assert asked == ["127.0.0.1"]


def test_redirects_end(own):
    own.answers["/a"] = redirect("/a")
    assert "circles" in str(failure_of(SourceRefused, own, "/a"))
    assert len(own.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("line", "error", "kind"),
    [
        ("401 Unauthorized", SourceRefused, "forbidden"),
        ("403 Forbidden", SourceRefused, "forbidden"),
        ("404 Not Found", SourceRefused, "not_found"),
        ("410 Gone", SourceRefused, "expired"),
        ("400 Bad Request", SourceRefused, "invalid"),
        ("304 Not Modified", SourceUnavailable, "server_error"),
        ("202 Accepted", SourceUnavailable, "server_error"),
        ("206 Partial Content", SourceUnavailable, "server_error"),
        ("409 Conflict", SourceUnavailable, "server_error"),
        ("500 Oops", SourceUnavailable, "server_error"),
        ("503 Busy", SourceUnavailable, "server_error"),
    ],
)
def test_a_status_says_whether_asking_again_makes_sense(own, line, error, kind):
    own.answers["/a"] = status(line)
    assert failure_of(error, own, "/a").kind == kind


def test_the_wait_that_is_asked_for_is_told(own):
    own.answers["/a"] = status("429 Too Many", Retry_After="17")
    error = failure_of(SourceUnavailable, own, "/a")
    assert (error.kind, error.retry_after) == ("rate_limited", 17)


def test_a_packed_answer_was_not_asked_for(own):
    own.answers["/a"] = body(b"\x1f\x8b", Content_Encoding="gzip")
    assert failure_of(SourceRefused, own, "/a").kind == "invalid"


@pytest.mark.parametrize(
    "handler",
    [body(b"half", Content_Length="8"), chunked(b"half", ends=False)],
    ids=["length", "chunked"],
)
def test_an_answer_that_stops_in_the_middle_raises(own, handler):
    own.answers["/a"] = handler
    assert failure_of(SourceUnavailable, own, "/a").kind == "connection"


def test_more_bytes_than_declared_are_not_read(own):
    own.answers["/a"] = body(b"0123456789", Content_Length="4")
    assert fetch(own, "/a")[2] == b"0123"


def test_silence_ends_a_download(own):
    own.answers["/a"] = endless(b"", pause_seconds=1, head="Content-Length: 5\r\n")
    began = time.monotonic()
    assert failure_of(SourceUnavailable, own, "/a", silence_seconds=0.5).kind == "timeout"
    assert time.monotonic() - began < 5


def test_a_download_that_drips_ends_at_its_deadline(own):
    own.answers["/a"] = endless(b"x", pause_seconds=0.05)
    began = time.monotonic()
    assert failure_of(SourceUnavailable, own, "/a", max_seconds=1.0).kind == "timeout"
    assert time.monotonic() - began < 4


def test_a_head_that_drips_ends_at_the_deadline(own):
    def answer(connection, _):
        for _ in range(200):
            connection.sendall(b"H")
            time.sleep(0.05)

    own.answers["/a"] = answer
    began = time.monotonic()
    assert failure_of(SourceUnavailable, own, "/a", max_seconds=1.0).kind == "timeout"
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b""],
    ids=["head", "chunk", "nothing"],
)
def test_garbage_is_no_answer(own, answer):
    own.answers["/a"] = lambda connection, _: connection.sendall(answer)
    assert failure_of(SourceUnavailable, own, "/a").kind == "connection"


def test_nobody_listens(own):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(SourceUnavailable) as caught, open_download(url + "/a", own_url=url, trust=Trust()):
        pass
    assert caught.value.kind == "refused"


def test_the_caller_s_own_error_passes_untouched(own):
    own.answers["/a"] = one_after_another(body(b"x"))
    with pytest.raises(ZeroDivisionError), open_download(own.url + "/a", own_url=own.url, trust=Trust()):
        raise ZeroDivisionError
