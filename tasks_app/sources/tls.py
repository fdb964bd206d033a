"""Decides which certificate a remote may show: a pinned one, a CA's, or the system CAs'. Never just any.

The pin is compared after the handshake and before the first byte of a request, so no credential reaches a
stranger.
"""

import hashlib
import re
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection


class NotSent(Exception):
    """The connection could not be made, so certainly no byte of the request left. `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


class FingerprintMismatch(Exception):
    """The remote showed another certificate than the pinned ones; SHA-256 in colon form."""

    def __init__(self, seen: str, pinned: tuple[str, ...]) -> None:
        super().__init__(seen)
        self.seen = seen
        self.pinned = pinned


def parse_fingerprint(text: str) -> str:
    """SHA-256 in colon form and upper case, from what people paste (with or without colons, blanks, a label).

    Raises ValueError for anything that is not 32 bytes in hex.
    """
    digits = re.sub(r"[\s:]", "", text.rsplit("=", 1)[-1])
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
        raise ValueError("A SHA-256 fingerprint has 64 hexadecimal digits (32 pairs).")
    return ":".join(digits[i : i + 2] for i in range(0, 64, 2)).upper()


def format_fingerprint(certificate: bytes) -> str:
    """SHA-256 of a DER certificate in colon form, as `openssl x509 -fingerprint -sha256` prints it."""
    return parse_fingerprint(hashlib.sha256(certificate).hexdigest())


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe. Fingerprints win; without them the CA in `ca_pem`; without both the system's CAs.

    Any of several fingerprints will do, because each node of a cluster has a certificate of its own.
    """

    fingerprints: tuple[str, ...] = ()
    ca_pem: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprints", tuple(parse_fingerprint(pin) for pin in self.fingerprints))


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket on which a whole answer has an end: a server that drips bytes cannot hold a thread."""

    deadline: float | None = None

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if self.deadline is not None:
            left_seconds = self.deadline - time.monotonic()
            if left_seconds <= 0:
                raise TimeoutError("the whole answer took too long")
            timeout = self.gettimeout()
            self.settimeout(left_seconds if timeout is None else min(timeout, left_seconds))
        return super().recv_into(buffer, nbytes, flags)


def build_context(trust: Trust) -> ssl.SSLContext:
    """A client context for `trust`. Raises ValueError when `ca_pem` is not a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = DeadlineSocket
    if trust.fingerprints:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the pin, checked in PinnedConnection, is stricter than any CA
    elif trust.ca_pem:
        try:
            context.load_verify_locations(cadata=trust.ca_pem)
        except (ssl.SSLError, ValueError, TypeError):
            raise ValueError("The CA is not a certificate in PEM form.") from None
    else:
        load_system_authorities(context)
    return context


def load_system_authorities(context: ssl.SSLContext) -> None:
    """Trust the CAs of the operating system, whatever SSL_CERT_FILE and SSL_CERT_DIR say."""
    paths = ssl.get_default_verify_paths()
    cafile = paths.openssl_cafile if Path(paths.openssl_cafile).is_file() else None
    capath = paths.openssl_capath if Path(paths.openssl_capath).is_dir() else None
    if cafile or capath:
        context.load_verify_locations(cafile=cafile, capath=capath)


def build_pool_class(trust: Trust, total_seconds: float) -> type[HTTPSConnectionPool]:
    """A pool whose connections check the pins of `trust` and end every answer after `total_seconds`."""

    class PinnedConnection(HTTPSConnection):
        def connect(self) -> None:
            try:
                super().connect()
                if trust.fingerprints:
                    self._check_pin()
            except Exception as error:
                self.close()
                raise NotSent(error) from None

        def _check_pin(self) -> None:
            certificate = self.sock.getpeercert(True) if isinstance(self.sock, ssl.SSLSocket) else None
            seen = format_fingerprint(certificate or b"")
            if seen not in trust.fingerprints:
                raise FingerprintMismatch(seen, trust.fingerprints)
            self.is_verified = True  # by us; urllib3 would warn otherwise

        def request(self, *args: Any, **kwargs: Any) -> None:
            if isinstance(self.sock, DeadlineSocket):
                self.sock.deadline = time.monotonic() + total_seconds
            super().request(*args, **kwargs)

    class PinnedPool(HTTPSConnectionPool):
        ConnectionCls = PinnedConnection

    return PinnedPool
