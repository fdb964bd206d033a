"""Looks at an address before anything is trusted: reachable, certificate, a Proxmox?, clocks. No login."""

import json
import logging
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from tasks_app.sources.errors import SourceError
from tasks_app.sources.failures import not_connected
from tasks_app.sources.http import CONNECT_SECONDS, Answer, HttpClient
from tasks_app.sources.proxmox.address import parse_address
from tasks_app.sources.proxmox.answers import is_from_proxmox
from tasks_app.sources.tls import Trust, format_fingerprint, load_system_authorities

logger = logging.getLogger(__name__)

CLOCK_SKEW_WARN_SECONDS = 30.0
"""Beyond this, times of tasks look wrong beside ours."""
DOMAINS_PATH = "/api2/json/access/domains"
"""The login realms, which Proxmox tells everybody at once; `/version` would take 3 s to refuse."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a node shows. Names are RFC 4514 texts; `alternative_names` as in the certificate, without kinds.

    `trusted` tells whether the CAs of this system vouch for it under the name that was asked for.
    """

    fingerprint: str
    subject: str
    issuer: str
    alternative_names: tuple[str, ...]
    not_before_at: datetime
    not_after_at: datetime
    self_signed: bool
    trusted: bool
    pem: str


@dataclass(frozen=True, slots=True)
class AddressProbe:
    """What one address turned out to be. `problem` is "" when all is well, else a word of SourceError kinds
    (dns, refused, timeout, connection, not_proxmox, …) or `invalid`; `message` says it plainly.

    What was learnt before the problem is there; `latency_seconds` is one request on an open connection.
    """

    url: str
    problem: str = ""
    message: str = ""
    certificate: Certificate | None = None
    server: str = ""
    latency_seconds: float | None = None
    clock_skew_seconds: float | None = None

    @property
    def ok(self) -> bool:
        return not self.problem

    @property
    def warning(self) -> str:
        """A sentence about clocks that differ, else ""."""
        skew = self.clock_skew_seconds
        if skew is None or abs(skew) <= CLOCK_SKEW_WARN_SECONDS:
            return ""
        return f"Its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours; set both by NTP."


def probe_address(typed: str) -> AddressProbe:
    """Never raises. Takes a few milliseconds, or up to about 10 s when nothing answers."""
    try:
        url = parse_address(typed)
    except ValueError as error:
        return AddressProbe(url="", problem="invalid", message=str(error))
    host = urlsplit(url).netloc
    try:
        der = _fetch_certificate(url)
    except OSError as error:
        failure = not_connected(error, host)
        return AddressProbe(url, failure.kind, str(failure))
    certificate = parse_certificate(der, trusted=_is_trusted(url))
    return _probe_api(url, certificate)


def compare_command() -> str:
    """What to run on the node to see the fingerprint of the certificate that pveproxy really serves."""
    return (
        "# the certificate pveproxy really serves: custom one first, else the node's own\n"
        'f=/etc/pve/local/pveproxy-ssl.pem; [ -e "$f" ] || f=/etc/pve/local/pve-ssl.pem\n'
        'openssl x509 -in "$f" -noout -fingerprint -sha256\n'
    )


def parse_certificate(der: bytes, *, trusted: bool) -> Certificate:
    """Fields stay empty where the certificate is malformed; its fingerprint is always right."""
    pem = ssl.DER_cert_to_PEM_cert(der)
    fingerprint = format_fingerprint(der)
    try:
        parsed = x509.load_der_x509_certificate(der)
        return Certificate(
            fingerprint=fingerprint,
            subject=parsed.subject.rfc4514_string(),
            issuer=parsed.issuer.rfc4514_string(),
            alternative_names=_alternative_names(parsed),
            not_before_at=parsed.not_valid_before_utc,
            not_after_at=parsed.not_valid_after_utc,
            self_signed=parsed.issuer == parsed.subject,
            trusted=trusted,
            pem=pem,
        )
    except ValueError:
        epoch = datetime.fromtimestamp(0, UTC)
        return Certificate(fingerprint, "", "", (), epoch, epoch, False, trusted, pem)


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    assert isinstance(names, x509.SubjectAlternativeName)
    return tuple(str(name.value) for name in names)


def _fetch_certificate(url: str) -> bytes:
    """DER of whatever is shown; no request is sent. Raises OSError for DNS, TCP and TLS errors alike."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # looking is the point; the certificate is judged afterwards
    with _handshake(url, context) as tls:
        return tls.getpeercert(True) or b""


def _is_trusted(url: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_system_authorities(context)
    try:
        with _handshake(url, context):
            return True
    except OSError:
        return False


def _handshake(url: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    parts = urlsplit(url)
    host = parts.hostname or ""
    raw = socket.create_connection((host, parts.port or 443), timeout=CONNECT_SECONDS)
    try:
        return context.wrap_socket(raw, server_hostname=host)
    except BaseException:
        raw.close()
        raise


def _probe_api(url: str, certificate: Certificate) -> AddressProbe:
    client = HttpClient((url,), trust=Trust((certificate.fingerprint,)))
    try:
        answer = client.request("GET", DOMAINS_PATH)
        if answer.status == 200:  # once more, without the handshake
            answer = client.request("GET", DOMAINS_PATH)
    except SourceError as error:
        return AddressProbe(url, error.kind, str(error), certificate)
    finally:
        client.close()
    problem = "" if is_proxmox_ve(answer) else "not_proxmox"
    host = urlsplit(url).netloc
    return AddressProbe(
        url=url,
        problem=problem,
        message=f"{host} answers, but it is not a Proxmox VE API." if problem else "",
        certificate=certificate,
        server=answer.headers.get("server", ""),
        latency_seconds=answer.elapsed_seconds,
        clock_skew_seconds=answer.clock_skew_seconds,
    )


def is_proxmox_ve(answer: Answer) -> bool:
    """By the answer to the login realms: `pve` is always among them. Other Proxmox products have other realms."""
    try:
        content = json.loads(answer.body or b"{}")
    except (ValueError, RecursionError):
        content = {}
    realms = content.get("data") if isinstance(content, dict) else None
    if isinstance(realms, list):
        return any(isinstance(row, dict) and row.get("realm") == "pve" for row in realms)
    # somebody closed that call to strangers: the envelope or the Server header of a refusal must do
    return answer.status in (401, 403) and is_from_proxmox(
        answer, content if isinstance(content, dict) else None
    )
