"""A look at the certificate that an address shows, before anybody trusts it. Nothing is sent."""

import socket
import ssl
from urllib.parse import urlsplit

from tasks_app.sources.tls import format_fingerprint

LOOK_SECONDS = 5.0


def fetch_fingerprint(url: str) -> str:
    """SHA-256 in colon form of what `url` shows now, whoever vouches for it; "" for http and when nobody answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # looking is the point; a person judges it afterwards
    try:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            return ""
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=LOOK_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=parts.hostname) as shown,
        ):
            return format_fingerprint(shown.getpeercert(True) or b"")
    except (OSError, ValueError):
        return ""
