"""From a Source row to a client that speaks to it: opens sealed secrets, keeps one pooled client per source.

The only place where a secret of a source is readable; it never leaves by a log, an exception or a repr.
"""

import threading

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from tasks_app.models import Source
from tasks_app.sources.errors import SourceNeedsPerson
from tasks_app.sources.proxmox import Connection, ProxmoxSource


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.SECRETS_KEYS])


def seal(secret: str) -> str:
    """Encrypt for the database with the newest key."""
    return _fernet().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """The secret. Raises SourceNeedsPerson when no key of ours opens it (key file lost or changed)."""
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise SourceNeedsPerson(
            "The stored token secret cannot be decrypted: the key file has changed. Enter the secret again.",
            kind="key_changed",
        ) from None


def connection_of(source: Source) -> Connection:
    """What the adapter needs to know about `source`."""
    return Connection(
        name=source.name,
        urls=tuple(source.urls),
        fingerprints=tuple(source.fingerprints),
        ca_pem=source.ca_pem,
        token_id=source.token_id,
        token_secret=unseal(source.token_secret_sealed),
    )


_clients: dict[int, tuple[tuple[object, ...], ProxmoxSource]] = {}
_lock = threading.Lock()


def client_of(source: Source) -> ProxmoxSource:
    """The pooled client of `source` in this process; a changed address, pin or token makes a new one."""
    version = (
        tuple(source.urls),
        tuple(source.fingerprints),
        source.ca_pem,
        source.token_id,
        source.token_secret_sealed,
    )
    with _lock:
        known = _clients.get(source.pk)
        if known and known[0] == version:
            return known[1]
        client = ProxmoxSource(connection_of(source))
        _clients[source.pk] = (version, client)
    if known:
        known[1].close()
    return client
