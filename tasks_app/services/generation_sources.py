"""Adding, changing and checking generation sources. Keys are sealed here and never come out again."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, SourcePaused
from tasks_app.ingest.text import storable, storable_json
from tasks_app.models import AuditEntry, Source, TaskEvent, Team
from tasks_app.services.generation_queue import release
from tasks_app.services.source_input import check_name, check_pins
from tasks_app.sources.certificates import fetch_fingerprint
from tasks_app.sources.errors import SourceError
from tasks_app.sources.generation.base import Capabilities, GenerationConnection, GenerationSource, Offer
from tasks_app.sources.generation.registry import DIALECTS, open_source
from tasks_app.sources.tls import Trust

MAX_URL_CHARACTERS = 500
MAX_KEY_CHARACTERS = 4000
MAX_SETTINGS_CHARACTERS = 500_000
"""A workflow of a hundred nodes has about 50,000."""
MAX_LIMIT = 10_000
LIMITS = ("total", "image", "video")
_AUDITED_CHARACTERS = 2000
_SECRET_NAME = re.compile(r"secret|password|authori[sz]ation|api[_-]?key|token|credential", re.IGNORECASE)
_SEALED = {"key": "token_secret_sealed", "webhook_secret": "webhook_secret_sealed"}
_KEY = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class GenerationCheck:
    """What a source answered. `problem` is a plain sentence, "" when all is well; `kind` the error's word.

    `fingerprint` is that of a certificate nobody trusts yet, for a person to compare.
    """

    text: str = ""
    version: str = ""
    problem: str = ""
    kind: str = ""
    fingerprint: str = ""
    offers: tuple[Offer, ...] = ()
    latency_seconds: float | None = None


@transaction.atomic
def add_generation_source(
    *,
    actor: User | None,
    kind: str,
    name: str,
    url: str,
    key: str = "",
    webhook_secret: str = "",
    settings: Mapping[str, Any] | None = None,
    teams: Sequence[Team] = (),
    fingerprints: Sequence[str] = (),
    ca_pem: str = "",
    is_demo: bool = False,
) -> Source:
    """A new source that speaks the dialect `kind`; the poller visits it at once. Nothing is asked of the remote here.

    Raises NotPermitted, InvalidInput (kind, name, url, key, webhook_secret, settings, fingerprints, ca_pem).
    """
    if actor is not None:
        require(actor, Verb.ADD_SOURCE)
    connection = checked_connection(
        kind,
        name=name,
        url=url,
        key=key,
        webhook_secret=webhook_secret,
        settings=settings or {},
        fingerprints=fingerprints,
        ca_pem=ca_pem,
    )
    source = Source(
        kind=kind,
        name=connection.name,
        urls=[connection.url],
        fingerprints=list(connection.trust.fingerprints),
        ca_pem=connection.trust.ca_pem,
        token_secret_sealed=connections.seal(connection.key) if connection.key else "",
        webhook_secret_sealed=connections.seal(connection.webhook_secret)
        if connection.webhook_secret
        else "",
        settings=dict(connection.settings),
        is_demo=is_demo,
    )
    _save(source, None)
    source.teams.set(teams)
    record(Action.SOURCE_ADD, actor=actor, target=source, after=_facts(source))
    _announce(source)
    return source


@transaction.atomic
def change_generation_source(
    source: Source,
    *,
    actor: User | None,
    name: str | None = None,
    url: str | None = None,
    settings: Mapping[str, Any] | None = None,
    teams: Sequence[Team] | None = None,
    fingerprints: Sequence[str] | None = None,
    ca_pem: str | None = None,
) -> None:
    """Change what is given; the poller visits the source at once. Raises NotPermitted, InvalidInput as when adding."""
    _require(actor, source)
    before, stored = _facts(source), _stored(source)
    connection = checked_connection(
        source.kind,
        name=source.name if name is None else name,
        url=source.urls[0] if url is None else url,
        key="",
        settings=source.settings if settings is None else settings,
        fingerprints=source.fingerprints if fingerprints is None else fingerprints,
        ca_pem=source.ca_pem if ca_pem is None else ca_pem,
    )
    source.name, source.urls = connection.name, [connection.url]
    source.settings = dict(connection.settings)
    source.fingerprints, source.ca_pem = list(connection.trust.fingerprints), connection.trust.ca_pem
    source.next_pass_at = now()
    if teams is not None:
        source.teams.set(teams)
    after = _facts(source)
    if _stored(source) == stored and after["teams"] == before["teams"]:
        return
    _save(source, ["name", "urls", "settings", "fingerprints", "ca_pem", "next_pass_at"])
    record(Action.SOURCE_CHANGE, actor=actor, target=source, **_difference(before, after))
    transaction.on_commit(partial(release, source))
    _announce(source)


@transaction.atomic
def replace_generation_key(
    source: Source, *, actor: User | None, key: str | None = None, webhook_secret: str | None = None
) -> None:
    """Use another key or secret from now on: "" for none, None leaves it as it is.

    Raises NotPermitted, InvalidInput (key, webhook_secret).
    """
    _require(actor, source)
    given = {"key": key, "webhook_secret": webhook_secret}
    for name, secret in given.items():
        if secret is not None:
            secret = _check_key(name, secret)
            setattr(source, _SEALED[name], connections.seal(secret) if secret else "")
    source.next_pass_at = now()
    _save(source, [*_SEALED.values(), "next_pass_at"])
    deeds = {name: "set" if secret else "removed" for name, secret in given.items() if secret is not None}
    record(Action.SOURCE_SECRET, actor=actor, target=source, after=deeds)
    transaction.on_commit(partial(release, source))
    _announce(source)


def check_generation_source(source: Source, *, actor: User | None) -> GenerationCheck:
    """Ask `source` now, note its version, and let the poller visit it at once.

    The request runs outside any transaction. Raises NotPermitted, SourcePaused; what the remote says is in the result.
    """
    _require(actor, source)
    source.refresh_from_db()
    if source.paused_at is not None:
        raise SourcePaused(f"{source.name} is paused: nothing is asked of it. Resume it first.")
    try:
        connection = connections.generation_connection_of(source)
    except SourceError as error:  # the stored key cannot be read
        found = GenerationCheck(problem=str(error), kind=error.kind)
    else:
        found = check_generation_connection(source.kind, connection)
    with transaction.atomic():
        source.next_pass_at = now()
        if found.version:
            source.version = storable(found.version)[:40]
        source.save(update_fields=["next_pass_at", "version"])
        result = AuditEntry.Result.FAILED if found.problem else AuditEntry.Result.DONE
        record(Action.SOURCE_CHECK, actor=actor, target=source, result=result, problem=found.problem)
        _announce(source)
    return found


def check_generation_connection(kind: str, connection: GenerationConnection) -> GenerationCheck:
    """Ask a remote, stored or not, with one harmless request. Never raises a SourceError."""
    client = open_source(kind, connection)
    try:
        probe = client.check()
    except SourceError as error:
        fingerprint = getattr(error, "seen_fingerprint", "")
        if error.kind == "certificate" and not fingerprint:
            fingerprint = fetch_fingerprint(connection.url)
        return GenerationCheck(
            problem=str(error), kind=error.kind, fingerprint=fingerprint, offers=client.offers
        )
    finally:
        client.close()
    return GenerationCheck(
        text=storable(probe.text)[:200],
        version=storable(probe.version)[:40],
        offers=client.offers,
        latency_seconds=client.latency_seconds,
    )


def checked_connection(
    kind: str,
    *,
    name: str,
    url: str,
    key: str,
    settings: Mapping[str, Any],
    webhook_secret: str = "",
    fingerprints: Sequence[str] = (),
    ca_pem: str = "",
) -> GenerationConnection:
    """What was given, in its one form, after the adapter has accepted it. Raises InvalidInput; asks nobody."""
    if kind not in DIALECTS:
        raise InvalidInput(kind="Nobody here speaks this dialect.")
    pins, ca_pem = check_pins(fingerprints, ca_pem)
    connection = GenerationConnection(
        name=check_name(name),
        url=check_url(url),
        trust=Trust(tuple(pins), ca_pem),
        key=_check_key("key", key),
        webhook_secret=_check_key("webhook_secret", webhook_secret),
        settings=check_settings(settings),
    )
    try:
        open_source(kind, connection).close()
    except ValueError as error:
        raise InvalidInput(settings=str(error) or "The adapter cannot use these settings.") from None
    return connection


def check_url(url: str) -> str:
    """A base address with its path and without a slash at the end. Raises InvalidInput (url)."""
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_plain = False
    if not is_plain or len(url) > MAX_URL_CHARACTERS or not url.isprintable() or re.search(r"\s", url):
        raise InvalidInput(url="Give an address like https://api.example.com or http://10.0.0.5:8188.")
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidInput(url="Give the address without user, query or fragment; the key has its own field.")
    return url


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are stored. `limits` is what the portal itself reads. Raises InvalidInput (settings)."""
    if not isinstance(settings, Mapping):
        raise InvalidInput(settings="The settings are a JSON object: {…}.")
    try:
        text = json.dumps(dict(settings), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput(settings="The settings are no plain JSON.") from None
    if len(text) > MAX_SETTINGS_CHARACTERS:
        raise InvalidInput(settings="The settings are too long.")
    limits = settings.get("limits") or {}
    if not isinstance(limits, dict) or not set(limits) <= set(LIMITS):
        raise InvalidInput(settings=f'"limits" holds {", ".join(LIMITS)} and nothing else.')
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise InvalidInput(settings=f'"limits": "{name}" is a number from 1 to {MAX_LIMIT}.')
    stored: dict[str, Any] = storable_json(dict(settings))
    return stored


def offers_of(source: Source) -> tuple[Offer, ...]:
    """What `source` can make, as its settings declare it; nothing when its client cannot be made."""
    client = _client(source)
    return client.offers if client else ()


def offer_of(source: Source, key: str) -> Offer | None:
    return next((offer for offer in offers_of(source) if offer.key == key), None)


def capabilities_of(source: Source) -> Capabilities:
    client = _client(source)
    return client.capabilities if client else Capabilities()


def _client(source: Source) -> GenerationSource | None:
    try:
        return connections.generation_client_of(source)
    except (SourceError, ValueError):  # the key file has changed, or an update no longer takes these settings
        return None


def _check_key(field: str, key: str) -> str:
    key = key.strip()
    if len(key) > MAX_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise InvalidInput(**{field: "A key has no blanks and only plain characters."})
    return key


def _require(actor: User | None, source: Source) -> None:
    if actor is not None:
        require(actor, Verb.MANAGE_SOURCE, source)


def _stored(source: Source) -> str:
    """Everything that can be changed, secrets in settings included: two of these tell whether anything has."""
    parts = [source.name, source.urls, source.settings, source.fingerprints, source.ca_pem]
    return json.dumps(parts, sort_keys=True)  # PostgreSQL gives the keys back in an order of its own


def _facts(source: Source) -> dict[str, Any]:
    """What the audit trail keeps: everything a person can set, except secrets."""
    return {
        "name": source.name,
        "kind": source.kind,
        "url": source.urls[0],
        "fingerprints": list(source.fingerprints),
        "ca": bool(source.ca_pem),
        "has_key": bool(source.token_secret_sealed),
        "teams": sorted(str(team) for team in source.teams.select_related("group")),
        "is_demo": source.is_demo,
        **{f"settings.{name}": _audited(name, value) for name, value in source.settings.items()},
    }


def _audited(name: str, value: Any) -> Any:
    """A setting without secrets; a long one, such as a workflow, by its fingerprint."""
    value = _masked(name, value)
    text = json.dumps(value, sort_keys=True)
    if len(text) <= _AUDITED_CHARACTERS:
        return value
    return f"{len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"


def _masked(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {each: _masked(str(each), inner) for each, inner in value.items()}
    if isinstance(value, list):
        return [_masked(name, inner) for inner in value]
    return "•••" if isinstance(value, str) and value and _SECRET_NAME.search(name) else value


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    return {
        "before": {name: before.get(name) for name in changed},
        "after": {name: after.get(name) for name in changed},
    }


def _save(source: Source, fields: list[str] | None) -> None:
    try:
        with transaction.atomic():
            source.save(update_fields=fields)
    except IntegrityError:
        raise InvalidInput(name="There is a source of this name already.") from None


def _announce(source: Source) -> None:
    TaskEvent.objects.create(source_id=source.pk, kind=TaskEvent.Kind.SOURCE)
