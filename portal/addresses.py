"""Where a request came from."""

import ipaddress

from django.conf import settings


def address_of(forwarded: str, peer: str) -> str | None:
    """The peer, or what our own proxy says about it (last entry: earlier ones can be made up by the client).

    Some proxies add the port; a link-local address brings its zone, which PostgreSQL does not take.
    """
    said = _address(forwarded.rsplit(",", 1)[-1]) if settings.BEHIND_PROXY else None
    return said or _address(peer)


def _address(text: str) -> str | None:
    """The IP address in `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; None in anything else."""
    text = text.strip()
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if "." in bare and bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ipaddress.ip_address(bare.partition("%")[0]))
    except ValueError:
        return None
