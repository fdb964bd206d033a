"""Asks whether a given CA vouches for what an address shows. No login."""

from tasks_app.sources.errors import SourceError
from tasks_app.sources.http import HttpClient
from tasks_app.sources.proxmox.probe import DOMAINS_PATH
from tasks_app.sources.tls import Trust


def check_authority(url: str, ca_pem: str) -> str:
    """Why the CA in `ca_pem` does not vouch for `url`: a plain sentence, "" when it does. Takes up to about 10 s."""
    try:
        client = HttpClient((url,), trust=Trust((), ca_pem))
    except ValueError as error:
        return str(error)
    try:
        client.request("GET", DOMAINS_PATH)
    except SourceError as error:
        return str(error)
    finally:
        client.close()
    return ""
