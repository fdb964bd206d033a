"""How to reach one Proxmox VE cluster: addresses, whom to trust, and the API token."""

import re
from dataclasses import dataclass, field

from tasks_app.sources.tls import Trust

_TOKEN_ID = re.compile(r"[^\s:/=!@]+@[A-Za-z][\w.\-]+![A-Za-z][\w.\-]+")
_SECRET = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Connection:
    """`urls` are base URLs (`https://host:8006`) of one or several nodes of the same cluster.

    `fingerprints` are SHA-256 pins, any of which will do; without them `ca_pem` is the CA to trust; without
    both the CAs of the system. `token_id` is `user@realm!name`. Raises ValueError, without the secret, on
    nonsense.
    """

    name: str
    urls: tuple[str, ...]
    fingerprints: tuple[str, ...]
    ca_pem: str
    token_id: str
    token_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _TOKEN_ID.fullmatch(self.token_id):
            raise ValueError("A token id has the form user@realm!name.")
        if not _SECRET.fullmatch(self.token_secret):
            raise ValueError("The token secret is empty or has characters that no secret has.")

    @property
    def trust(self) -> Trust:
        return Trust(self.fingerprints, self.ca_pem)
