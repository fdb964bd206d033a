"""What may be given for a source: each check returns the value in its one form or raises InvalidInput for its field."""

from collections.abc import Sequence

from tasks_app.errors import InvalidInput
from tasks_app.sources.proxmox import Connection
from tasks_app.sources.proxmox.address import parse_address
from tasks_app.sources.tls import Trust, build_context, parse_fingerprint

MAX_NAME_CHARACTERS = 60


def check_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise InvalidInput(name=f"A source needs a name of at most {MAX_NAME_CHARACTERS} characters.")
    return name


def check_addresses(urls: Sequence[str]) -> list[str]:
    """Base URLs in the order given, each once."""
    found: dict[str, None] = {}
    for url in urls:
        try:
            found[parse_address(url)] = None
        except ValueError as error:
            raise InvalidInput(urls=f"{url}: {error}") from None
    if not found:
        raise InvalidInput(urls="Enter at least one address.")
    return list(found)


def check_pins(fingerprints: Sequence[str], ca_pem: str) -> tuple[list[str], str]:
    """Fingerprints in colon form, each once, and the CA. Both empty means: the system's CAs."""
    try:
        pins = list(dict.fromkeys(parse_fingerprint(text) for text in fingerprints))
    except ValueError as error:
        raise InvalidInput(fingerprints=str(error)) from None
    ca_pem = ca_pem.strip()
    if "PRIVATE KEY" in ca_pem:
        raise InvalidInput(ca_pem="This holds a private key. Give the certificate only.")
    if ca_pem:
        try:
            build_context(Trust((), ca_pem))
        except ValueError as error:
            raise InvalidInput(ca_pem=str(error)) from None
    return pins, ca_pem + "\n" if ca_pem else ""


def check_token(token_id: str, token_secret: str) -> None:
    try:
        Connection(name="", urls=(), fingerprints=(), ca_pem="", token_id=token_id, token_secret=token_secret)
    except ValueError as error:
        field = "token_id" if "token id" in str(error) else "token_secret"
        raise InvalidInput(**{field: str(error)}) from None
