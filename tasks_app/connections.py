"""From a Source row to a client that speaks to it: opens sealed secrets, keeps one pooled client per source.

The only place where a secret of a source is readable; it never leaves by a log, an exception or a repr.
"""

import json
import threading
from collections.abc import Callable

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from tasks_app.models import Source
from tasks_app.sources.errors import SourceNeedsPerson
from tasks_app.sources.generation.base import GenerationConnection, GenerationSource
from tasks_app.sources.generation.registry import open_source
from tasks_app.sources.proxmox import Connection, ProxmoxSource
from tasks_app.sources.tls import Trust


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


def generation_connection_of(source: Source) -> GenerationConnection:
    """What the adapter of a generation source needs to know about it."""
    return GenerationConnection(
        name=source.name,
        url=source.urls[0],
        trust=Trust(tuple(source.fingerprints), source.ca_pem),
        key=unseal(source.token_secret_sealed) if source.token_secret_sealed else "",
        webhook_secret=unseal(source.webhook_secret_sealed) if source.webhook_secret_sealed else "",
        settings=source.settings,
    )


_clients: dict[int, tuple[str, ProxmoxSource | GenerationSource]] = {}
_lock = threading.Lock()


def client_of(source: Source) -> ProxmoxSource:
    """The pooled client of a cluster in this process; a changed address, pin or token makes a new one."""
    client = _pooled(source, lambda: ProxmoxSource(connection_of(source)))
    assert isinstance(client, ProxmoxSource)
    return client


def generation_client_of(source: Source) -> GenerationSource:
    """The same for a generation source."""
    client = _pooled(source, lambda: open_source(source.kind, generation_connection_of(source)))
    assert not isinstance(client, ProxmoxSource)
    return client


def _pooled(
    source: Source, make: Callable[[], ProxmoxSource | GenerationSource]
) -> ProxmoxSource | GenerationSource:
    version = json.dumps(
        [
            source.kind,
            source.urls,
            source.fingerprints,
            source.ca_pem,
            source.token_id,
            source.token_secret_sealed,
            source.webhook_secret_sealed,
            source.settings,
        ],
        sort_keys=True,
    )
    with _lock:
        known = _clients.get(source.pk)
        if known and known[0] == version:
            return known[1]
        client = make()
        _clients[source.pk] = (version, client)
    if known:
        known[1].close()
    return client
