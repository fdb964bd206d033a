"""Where results and uploads are kept: PORTAL_MEDIA_URL as Django's storage settings. Empty: on this machine's disk."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core.exceptions import ImproperlyConfigured

SCHEMES = {"s3"}
_OPTIONS = {"endpoint_url", "region"}
CONNECT_SECONDS, READ_SECONDS = 5, 60


def media_storage(url: str, *, access_key: str = "", secret_key: str = "") -> dict[str, Any]:
    """`s3://bucket/prefix?endpoint_url=https://host:9000&region=eu-central-1`; endpoint and region may be left out.

    Without keys the provider's own chain is asked (environment, instance role). Nothing is readable without a
    signature, and the portal never gives a signed address away: it reads the bytes itself.
    """
    if not url:
        if access_key or secret_key:
            raise ImproperlyConfigured("PORTAL_MEDIA_ACCESS_KEY is set, but PORTAL_MEDIA_URL is not.")
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700},
        }
    if bool(access_key) != bool(secret_key):
        raise ImproperlyConfigured("PORTAL_MEDIA_ACCESS_KEY and PORTAL_MEDIA_SECRET_KEY go together.")
    parts = urlsplit(url)
    if not parts.hostname or "@" in parts.netloc or ":" in parts.netloc:
        raise ImproperlyConfigured(
            "PORTAL_MEDIA_URL has the form s3://bucket/prefix?endpoint_url=…&region=…."
        )
    wanted = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := set(wanted) - _OPTIONS:
        raise ImproperlyConfigured(f"PORTAL_MEDIA_URL: unknown option {', '.join(sorted(unknown))}.")
    endpoint = wanted.get("endpoint_url", "")
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise ImproperlyConfigured("PORTAL_MEDIA_URL: endpoint_url must start with http:// or https://.")
    return {
        "BACKEND": "portal.bucket.PrivateBucket",
        "OPTIONS": {
            "bucket_name": parts.netloc,
            "location": parts.path.strip("/"),
            "endpoint_url": endpoint or None,
            "region_name": wanted.get("region") or None,
            # servers of one's own rarely have a host name for every bucket
            "addressing_style": "path" if endpoint else "auto",
            "signature_version": "s3v4",
            "access_key": access_key or None,
            "secret_key": secret_key or None,
            "default_acl": None,
            "querystring_auth": True,
            "file_overwrite": False,
        },
    }
