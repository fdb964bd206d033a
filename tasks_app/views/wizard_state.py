"""What the wizard has learnt so far, kept in the session. The token's secret is in it only sealed."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from tasks_app import connections
from tasks_app.sources.proxmox import AddressProbe, Certificate, Connection, Permissions, probe_address
from tasks_app.sources.proxmox.inventory import Version
from tasks_app.sources.proxmox.permissions import parse_permissions

_KEY = "source_draft"
STEPS = ("address", "certificate", "token", "check", "finish")


@dataclass(slots=True)
class Address:
    """One probed address. `problem` is a sentence, "" when Proxmox answers there; times are ISO texts."""

    url: str
    problem: str = ""
    warning: str = ""
    latency_ms: int | None = None
    fingerprint: str = ""
    subject: str = ""
    issuer: str = ""
    alternative_names: list[str] = field(default_factory=list)
    not_before: str = ""
    not_after: str = ""
    is_self_signed: bool = False
    is_trusted: bool = False

    @property
    def not_before_at(self) -> datetime | None:
        return datetime.fromisoformat(self.not_before) if self.not_before else None

    @property
    def not_after_at(self) -> datetime | None:
        return datetime.fromisoformat(self.not_after) if self.not_after else None


@dataclass(slots=True)
class Draft:
    """A source in the making. `trust` is "" until decided, then system, pins or ca."""

    typed: list[str] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    is_confirmed: bool = False  # the person goes on with these addresses
    trust: str = ""
    ca_pem: str = ""
    choices: dict[str, Any] = field(default_factory=dict)  # what the commands were made for
    token_id: str = ""
    secret_sealed: str = ""
    version: str = ""
    permissions: dict[str, dict[str, int]] = field(default_factory=dict)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    name: str = ""

    @classmethod
    def load(cls, session: SessionBase) -> "Draft":
        """The draft of this session; a new one where there is none."""
        stored = dict(session.get(_KEY, {}))
        addresses = [Address(**address) for address in stored.pop("addresses", [])]
        return cls(addresses=addresses, **stored)

    def save(self, session: SessionBase) -> None:
        session[_KEY] = asdict(self)

    @staticmethod
    def forget(session: SessionBase) -> None:
        session.pop(_KEY, None)

    def allows(self, step: str) -> bool:
        """Whether everything that `step` builds on is known."""
        known = (
            True,
            self.is_confirmed,
            bool(self.trust),
            bool(self.secret_sealed),
            bool(self.secret_sealed),
        )
        return all(known[: STEPS.index(step) + 1])

    def last_step(self) -> str:
        """The furthest step that can be opened."""
        return [step for step in STEPS if self.allows(step)][-1]

    @property
    def answering(self) -> list[Address]:
        return [address for address in self.addresses if not address.problem]

    @property
    def urls(self) -> list[str]:
        return [address.url for address in self.answering]

    @property
    def fingerprints(self) -> list[str]:
        """One per address, also of those the system trusts: pins replace every other judgement."""
        return [address.fingerprint for address in self.answering] if self.trust == "pins" else []

    @property
    def remote_permissions(self) -> Permissions:
        return parse_permissions(self.permissions)

    @property
    def remote_version(self) -> Version:
        major = self.version.partition(".")[0]
        return Version(self.version, self.version, int(major) if major.isdecimal() else 9)

    def take_addresses(self, typed: list[str]) -> None:
        """Probe what was typed. What was trusted before and the token belong to the old addresses."""
        self.typed = typed
        self.addresses = probe_all(typed)
        self.is_confirmed = bool(self.addresses) and all(not address.problem for address in self.addresses)
        self.distrust()

    def decide_trust(self, trust: str, ca_pem: str = "") -> None:
        self.distrust()
        self.trust, self.ca_pem = trust, ca_pem

    def distrust(self) -> None:
        """Nothing may be sent to these addresses until somebody has judged their certificates."""
        self.trust = self.ca_pem = self.secret_sealed = self.version = ""
        self.permissions, self.nodes = {}, []

    def connection(self, token_id: str, token_secret: str) -> Connection:
        """Raises ValueError, without the secret, for a token that cannot be one."""
        return Connection(
            name=self.name or "new source",
            urls=tuple(self.urls),
            fingerprints=tuple(self.fingerprints),
            ca_pem=self.ca_pem,
            token_id=token_id,
            token_secret=token_secret,
        )

    def stored_connection(self) -> Connection:
        return self.connection(self.token_id, connections.unseal(self.secret_sealed))


def probe_all(urls: list[str]) -> list[Address]:
    """Probe all at once, in the given order; takes as long as the slowest, at most about 10 s."""
    with ThreadPoolExecutor(max_workers=max(1, len(urls))) as pool:
        return [_address(probe) for probe in pool.map(probe_address, urls)]


def by_fingerprint(addresses: Iterable[Address]) -> dict[str, list[Address]]:
    """Several addresses may show one certificate; it is compared once."""
    found: dict[str, list[Address]] = {}
    for address in addresses:
        found.setdefault(address.fingerprint, []).append(address)
    return found


def _address(probe: AddressProbe) -> Address:
    latency = probe.latency_seconds
    address = Address(
        url=probe.url,
        problem=probe.message if probe.problem else "",
        warning=probe.warning,
        latency_ms=None if latency is None else round(latency * 1000),
    )
    if probe.certificate is not None:
        _add_certificate(address, probe.certificate)
    return address


def _add_certificate(address: Address, certificate: Certificate) -> None:
    address.fingerprint = certificate.fingerprint
    address.subject = certificate.subject
    address.issuer = certificate.issuer
    address.alternative_names = list(certificate.alternative_names)
    address.not_before = certificate.not_before_at.isoformat()
    address.not_after = certificate.not_after_at.isoformat()
    address.is_self_signed = certificate.self_signed
    address.is_trusted = certificate.trusted
