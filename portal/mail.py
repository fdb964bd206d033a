"""Where mails go: PORTAL_EMAIL_URL as Django's e-mail settings. Empty: nowhere, people have their inbox."""

from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

SCHEMES = {"smtp", "smtp+tls", "smtps", "console"}
_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
TIMEOUT_SECONDS = 10


def mail_settings(url: str) -> dict[str, Any]:
    """`smtp://host`, `smtp+tls://user:password@host:587` (STARTTLS), `smtps://…` (TLS at once), `console://`.

    The value is never printed: it may hold a password.
    """
    parts = urlsplit(url)
    if not url or parts.scheme == "console":
        kind = "console" if url else "dummy"
        return {"EMAIL_BACKEND": f"django.core.mail.backends.{kind}.EmailBackend"}
    try:
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured("PORTAL_EMAIL_URL has a port that is none.") from None
    if not parts.hostname:
        raise ImproperlyConfigured("PORTAL_EMAIL_URL names no host.")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or _PORTS[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": TIMEOUT_SECONDS,
    }
