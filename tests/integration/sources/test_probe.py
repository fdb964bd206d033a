import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tasks_app.sources.proxmox import compare_command, probe_address
from tasks_app.sources.proxmox.authority import check_authority
from tests.integration.sources.test_http import closed_url, serve  # noqa: F401
from tests.integration.sources.tls_server import always, json_answer

REALMS = b'{"data":[{"realm":"pam","type":"pam"},{"realm":"pve","type":"pve"}]}'


def test_a_proxmox_is_recognised_without_login_and_its_certificate_read(serve):  # noqa: F811
    server = serve(always(json_answer(REALMS)))
    probe = probe_address(server.url.removeprefix("https://") + " ")
    assert (probe.ok, probe.problem, probe.url) == (True, "", server.url)
    assert probe.server == "pve-api-daemon/3.0"
    assert 0 < probe.latency_seconds < 5
    certificate = probe.certificate
    assert certificate.fingerprint == server.fingerprint
    assert (certificate.subject, certificate.issuer, certificate.self_signed) == (
        "CN=fakepve",
        "CN=fakepve",
        True,
    )
    assert certificate.alternative_names == ("localhost", "127.0.0.1")
    assert certificate.not_before_at < datetime.now(UTC) < certificate.not_after_at
    assert certificate.trusted is False
    assert certificate.pem == server.ca_pem
    assert not any("Authorization" in request for request in server.requests)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, ""), (20, ""), (120, "ahead of ours"), (-120, "behind ours")]
)
def test_clocks_that_differ_are_told(serve, seconds, words):  # noqa: F811
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    server = serve(always(json_answer(REALMS, f"200 OK\r\nDate: {date}")))
    probe = probe_address(server.url)
    assert probe.ok
    assert abs(probe.clock_skew_seconds - seconds) < 5
    assert words in probe.warning
    assert bool(probe.warning) == bool(words)


def test_a_closed_port_is_refused():
    assert probe_address(closed_url()).problem == "refused"


def test_a_name_that_does_not_exist_is_dns():
    assert probe_address("no-such-host.invalid").problem == "dns"


def test_nonsense_is_invalid():
    probe = probe_address("ftp://x")
    assert (probe.problem, probe.url) == ("invalid", "")
    assert probe.message


def test_a_port_without_tls_is_not_a_proxmox(serve):  # noqa: F811
    server = serve(always(b""), tls=False)
    assert probe_address(server.url).problem == "not_proxmox"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        json_answer(b'{"data":[{"realm":"pam","type":"pam"},{"realm":"pbs","type":"pbs"}]}'),
        json_answer(b"[" * 5000),
    ],
    ids=["web page", "not found", "login", "backup server", "garbage"],
)
def test_something_else_is_not_a_proxmox_but_shows_its_certificate(serve, answer):  # noqa: F811
    server = serve(always(answer))
    probe = probe_address(server.url)
    assert probe.problem == "not_proxmox"
    assert probe.certificate.fingerprint == server.fingerprint


def test_a_proxmox_that_hides_its_realms_is_known_by_its_refusal(serve):  # noqa: F811
    assert probe_address(serve(always(json_answer(b"", "401 No ticket"))).url).ok


def test_a_server_that_hangs_up_is_a_connection_problem(serve):  # noqa: F811
    def drop(connection: ssl.SSLSocket, _request: str) -> None:
        connection.close()

    probe = probe_address(serve(drop).url)
    assert probe.problem == "connection"
    assert probe.certificate is not None


def test_the_command_shows_the_certificate_that_is_served():
    assert "pveproxy-ssl.pem" in compare_command()
    assert "openssl x509 -in" in compare_command()


def test_a_ca_that_vouches_has_no_problem(serve):  # noqa: F811
    server = serve(always(json_answer(REALMS)))
    assert check_authority(server.url, server.ca_pem) == ""


def test_a_ca_that_does_not_vouch_is_told(serve):  # noqa: F811
    server, other = serve(always(json_answer(REALMS))), serve(always(json_answer(REALMS)))
    assert "not trusted" in check_authority(server.url, other.ca_pem)
    assert server.requests == []


def test_a_text_that_is_no_ca_is_told():
    assert "PEM" in check_authority(closed_url(), "not a certificate")
