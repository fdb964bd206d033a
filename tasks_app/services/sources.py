"""Adding, changing, checking, pausing and removing sources. Secrets are sealed here and never come out again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, SourcePaused
from tasks_app.ingest.health import record_permissions
from tasks_app.ingest.text import storable
from tasks_app.models import AuditEntry, Source, Task, TaskEvent
from tasks_app.services.generation_queue import release
from tasks_app.services.source_input import check_addresses, check_name, check_pins, check_token
from tasks_app.sources.errors import SourceError
from tasks_app.sources.proxmox import Connection, Permissions, ProxmoxSource, Version

REMOVE_BATCH = 500
"""Tasks with their logs in one transaction: 50 to 100 ms, which other writers do not notice."""
_NAME_TAKEN = "There is a source of this name already."


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """What the source answered. `error` is None when all went well; what was learnt before it stays."""

    version: Version | None = None
    permissions: Permissions | None = None
    latency_seconds: float | None = None
    error: SourceError | None = None

    @property
    def problem(self) -> str:
        """A plain sentence, "" when all is well."""
        return str(self.error) if self.error else ""


@transaction.atomic
def add_source(
    *,
    actor: User | None,
    name: str,
    urls: Sequence[str],
    fingerprints: Sequence[str] = (),
    ca_pem: str = "",
    token_id: str,
    token_secret: str,
    is_demo: bool = False,
) -> Source:
    """A new source; the poller visits it at once. Nothing is asked of the remote here.

    Without fingerprints and CA the system's CAs must vouch for it. Raises NotPermitted, InvalidInput (name, urls,
    fingerprints, ca_pem, token_id, token_secret).
    """
    if actor is not None:
        require(actor, Verb.ADD_SOURCE)
    pins, ca_pem = check_pins(fingerprints, ca_pem)
    check_token(token_id, token_secret)
    source = Source(
        name=check_name(name),
        urls=check_addresses(urls),
        fingerprints=pins,
        ca_pem=ca_pem,
        token_id=token_id,
        token_secret_sealed=connections.seal(token_secret),
        is_demo=is_demo,
    )
    _save(source, None)
    record(Action.SOURCE_ADD, actor=actor, target=source, after=_facts(source))
    _announce(source)
    return source


@transaction.atomic
def change_source(
    source: Source, *, actor: User | None, name: str | None = None, urls: Sequence[str] | None = None
) -> None:
    """Change what is given; the poller visits the source at once. Raises NotPermitted, InvalidInput (name, urls)."""
    _require(actor, source)
    before = _facts(source)
    if name is not None:
        source.name = check_name(name)
    if urls is not None:
        source.urls = check_addresses(urls)
    if _facts(source) == before:
        return
    _visit_soon(source, "name", "urls")
    record(Action.SOURCE_CHANGE, actor=actor, target=source, **_difference(before, _facts(source)))


@transaction.atomic
def accept_certificate(
    source: Source, *, actor: User | None, fingerprints: Sequence[str] = (), ca_pem: str = ""
) -> None:
    """Trust these certificates (one per node), or this CA, instead of what was trusted before.

    Raises NotPermitted, InvalidInput (fingerprints, ca_pem).
    """
    _require(actor, source)
    before = _facts(source)
    source.fingerprints, source.ca_pem = check_pins(fingerprints, ca_pem)
    _visit_soon(source, "fingerprints", "ca_pem")
    record(Action.SOURCE_CERTIFICATE, actor=actor, target=source, **_difference(before, _facts(source)))


@transaction.atomic
def replace_token(source: Source, *, actor: User | None, token_id: str, token_secret: str) -> None:
    """Use another token from now on. Raises NotPermitted, InvalidInput (token_id, token_secret)."""
    _require(actor, source)
    check_token(token_id, token_secret)
    before = _facts(source)
    source.token_id = token_id
    source.token_secret_sealed = connections.seal(token_secret)
    _visit_soon(source, "token_id", "token_secret_sealed")
    record(Action.SOURCE_SECRET, actor=actor, target=source, **_difference(before, _facts(source)))


@transaction.atomic
def pause_source(source: Source, *, actor: User | None) -> None:
    """Ask nothing of the source and send nothing to it until it is resumed. Pausing twice is harmless."""
    _require(actor, source)
    source.paused_at = now()
    if Source.objects.watchable().filter(pk=source.pk).update(paused_at=source.paused_at):
        record(Action.SOURCE_PAUSE, actor=actor, target=source)
        _announce(source)
    source.refresh_from_db(fields=["paused_at"])


@transaction.atomic
def resume_source(source: Source, *, actor: User | None) -> None:
    """End the pause; the poller visits the source at once. Resuming twice is harmless."""
    _require(actor, source)
    paused = Source.objects.filter(pk=source.pk, paused_at__isnull=False)
    if paused.update(paused_at=None, next_pass_at=now()):
        record(Action.SOURCE_RESUME, actor=actor, target=source)
        _announce(source)
        if source.is_generation:
            transaction.on_commit(partial(release, source))
    source.refresh_from_db(fields=["paused_at", "next_pass_at"])


def remove_source(source: Source, *, actor: User | None) -> None:
    """Forget the source with its tasks, logs, guests and grants. What was done on it stays in the audit trail.

    The tasks go in batches, so that other writers never wait for fifty thousand of them. A kill half way leaves a
    paused source that can be removed again.
    """
    with transaction.atomic():
        _require(actor, source)
        facts: dict[str, Any] = {"tasks": source.tasks.count(), "before": _facts(source)}
        Source.objects.watchable().filter(pk=source.pk).update(paused_at=now())
        record(Action.SOURCE_REMOVE, actor=actor, target=source, **facts)
    while batch := list(source.tasks.values_list("pk", flat=True)[:REMOVE_BATCH]):
        Task.objects.filter(pk__in=batch).delete()
    with transaction.atomic():
        _announce(source)
        Source.objects.filter(pk=source.pk).delete()


def check_connection(connection: Connection) -> SourceCheck:
    """Ask a remote that is no source yet. Never raises a SourceError; takes up to about 30 s when nobody answers."""
    with ProxmoxSource(connection) as client:
        client.forget_refusal()  # a person asks, and may have repaired the token meanwhile
        return _ask(client)


def check_source(source: Source, *, actor: User | None) -> SourceCheck:
    """Ask `source` now, note its version and permissions, and let the poller visit it at once.

    The request runs outside any transaction. Raises NotPermitted, SourcePaused; what the remote says is in the result.
    """
    _require(actor, source)
    source.refresh_from_db()
    if source.paused_at is not None:
        raise SourcePaused(f"{source.name} is paused: nothing is asked of it. Resume it first.")
    try:
        client = connections.client_of(source)
    except SourceError as error:  # the stored secret cannot be read
        check = SourceCheck(error=error)
    else:
        client.forget_refusal()  # a person says that it may have been repaired
        check = _ask(client)
    _note(source, check, actor)
    return check


def _ask(client: ProxmoxSource) -> SourceCheck:
    version = permissions = None
    try:
        version = client.fetch_version()
        permissions = client.fetch_permissions()
    except SourceError as error:
        return SourceCheck(version, permissions, client.latency_seconds, error)
    return SourceCheck(version, permissions, client.latency_seconds)


@transaction.atomic
def _note(source: Source, check: SourceCheck, actor: User | None) -> None:
    source.next_pass_at = now()
    changed = ["next_pass_at"]
    if check.version is not None:
        source.version = storable(check.version.text)[:40]
        changed.append("version")
    source.save(update_fields=changed)
    if check.permissions is not None:
        record_permissions(source, check.permissions.by_path, version=source.version, at=now())
    record(
        Action.SOURCE_CHECK,
        actor=actor,
        target=source,
        result=AuditEntry.Result.FAILED if check.error else AuditEntry.Result.DONE,
        version=source.version,
        problem=check.problem,
    )
    _announce(source)


def _require(actor: User | None, source: Source) -> None:
    if actor is not None:
        require(actor, Verb.MANAGE_SOURCE, source)


def _facts(source: Source) -> dict[str, Any]:
    """What the audit trail keeps of a source: everything a person can set, except the secret."""
    return {
        "name": source.name,
        "urls": list(source.urls),
        "fingerprints": list(source.fingerprints),
        "ca": bool(source.ca_pem),
        "token_id": source.token_id,
        "is_demo": source.is_demo,
    }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    changed = [name for name in before if before[name] != after[name]]
    return {
        "before": {name: before[name] for name in changed},
        "after": {name: after[name] for name in changed},
    }


def _visit_soon(source: Source, *changed: str) -> None:
    """Save, and let the poller come now instead of after its back-off."""
    source.next_pass_at = now()
    _save(source, [*changed, "next_pass_at"])
    _announce(source)


def _save(source: Source, fields: list[str] | None) -> None:
    try:
        with transaction.atomic():
            source.save(update_fields=fields)
    except IntegrityError:
        raise InvalidInput(name=_NAME_TAKEN) from None


def _announce(source: Source) -> None:
    TaskEvent.objects.create(source_id=source.pk, kind=TaskEvent.Kind.SOURCE)
