"""Asking for a video, an image or a workflow: checked, within the team's quota, written down once; the queue sends."""

import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.access.policy import Verb, can, require
from tasks_app.audit.actions import Action
from tasks_app.audit.context import current_origin
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, NotPermitted, Refused, SourcePaused
from tasks_app.ingest.events import Events
from tasks_app.ingest.generations import search_text_of
from tasks_app.ingest.text import storable
from tasks_app.models import Generation, Source, Task, TaskEvent, Team
from tasks_app.models.generation import new_own_id
from tasks_app.queue import Job, enqueue
from tasks_app.services import generation_quotas, quotas
from tasks_app.services.generation_orders import (
    Stored,
    UploadMissing,
    add_uploads,
    check_uploads,
    read_uploads,
    stored,
)
from tasks_app.sources.errors import SourceError
from tasks_app.sources.generation.base import GenerationSource, Offer, Upload
from tasks_app.sources.generation.parameters import InvalidParameters, parse_parameters
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import State

logger = logging.getLogger(__name__)

MAX_KEY_CHARACTERS = 64
MAX_MINUTES = 7 * 24 * 60
MAX_NAME_CHARACTERS = 400
AUDITED_PROMPT_CHARACTERS = 200
RETRYABLE = frozenset({State.FAILED, State.CANCELLED, State.LOST})


def submit_generation(
    source: Source,
    *,
    actor: User,
    offer: str,
    parameters: Mapping[str, Any],
    uploads: Mapping[str, Upload],
    team: Team | None,
    idempotency_key: str,
    minutes: int | None = None,
) -> Task:
    """Ask for `offer`. The same key of the same person gives the first task again, for ever.

    `team` pays and sees it; it must be named where the right comes from teams alone. After `minutes` a cancel is
    asked for. Raises NotPermitted, SourcePaused, QuotaExceeded, Refused, InvalidInput (offer, team, minutes,
    idempotency_key, or a name of `parameters` or `uploads`).
    """
    return _submit(
        source,
        actor=actor,
        offer_key=offer,
        parameters=parameters,
        uploads=uploads,
        team=team,
        idempotency_key=idempotency_key,
        minutes=minutes,
        audit=lambda row: record(
            Action.GENERATION_SUBMIT, actor=actor, target=row.task, source=source, **_facts(row)
        ),
    )


def retry_generation(task: Task, *, actor: User, idempotency_key: str, confirmed: bool = False) -> Task:
    """A new task with the input of one that failed, was cancelled or got lost; the old one stays as it is.

    Where nobody knows whether the provider took the old one, only with `confirmed`: it may have been made and paid for.
    For the same team, if `actor` is in it. Raises as `submit_generation` does.
    """
    made = Generation.objects.select_related("task__source", "team__group").get(pk=task.pk)
    if State(made.task.state) not in RETRYABLE or not made.actor_name:
        raise Refused(
            "Only a task of the portal that failed, was cancelled or got lost can be asked for again."
        )
    if made.problem_kind == Kind.OUTCOME_UNKNOWN and not confirmed:
        raise InvalidInput(
            confirmed="It may have been made, and paid for. Say that you want it all the same."
        )
    team = made.team if made.team is not None and _is_in(actor, made.team) else None
    try:
        uploads = read_uploads(made)
    except UploadMissing as error:
        raise Refused(f"{error} Fill in the form again.") from None
    return _submit(
        made.task.source,
        actor=actor,
        offer_key=made.offer,
        parameters=made.parameters,
        uploads=uploads,
        team=team,
        idempotency_key=idempotency_key,
        minutes=None,
        audit=lambda row: record(
            Action.GENERATION_RETRY,
            actor=actor,
            target=row.task,
            source=row.task.source,
            retry_of=made.pk,
            **_facts(row),
        ),
    )


def require_right(actor: User, source: Source, team: Team | None) -> None:
    """By role on the source, or as a member of a team to which it is open, which must be named then.

    Raises NotPermitted, InvalidInput (team).
    """
    # A team that does not exist is open to no source, so that this asks for roles alone.
    by_role = can(actor, Verb.GENERATE, source, team=Team(pk=0))
    if team is None:
        require(actor, Verb.GENERATE, source)
        if not by_role:
            raise InvalidInput(team="Choose the team for which it is made.")
        return
    if not by_role:
        require(actor, Verb.GENERATE, source, team=team)
    if not _is_in(actor, team):
        raise NotPermitted(f"You are not in {team}.")


def _is_in(actor: User, team: Team) -> bool:
    return actor.is_superuser or Team.objects.of(actor).filter(pk=team.pk).exists()


def _submit(
    source: Source,
    *,
    actor: User,
    offer_key: str,
    parameters: Mapping[str, Any],
    uploads: Mapping[str, Upload],
    team: Team | None,
    idempotency_key: str,
    minutes: int | None,
    audit: Callable[[Generation], object],
) -> Task:
    source = Source.objects.get(pk=source.pk)
    require_right(actor, source, team)
    if not 0 < len(idempotency_key) <= MAX_KEY_CHARACTERS or idempotency_key != storable(idempotency_key):
        raise InvalidInput(idempotency_key="The key is missing or too long.")
    if (known := _known(actor, idempotency_key)) is not None:
        return known
    if source.paused_at is not None:
        raise SourcePaused(f"{source.name} is paused: nothing is sent to it.")
    client = _client_of(source)
    offer = next((one for one in client.offers if one.key == offer_key), None)
    if offer is None:
        raise InvalidInput(offer=f"{source.name} does not offer this.")
    values, pictures = _check_input(offer, parameters, uploads)
    if minutes is not None and not 1 <= minutes <= MAX_MINUTES:
        raise InvalidInput(minutes=f"Give a number of minutes from 1 to {MAX_MINUTES}, or nothing.")
    asked_at = now()
    row = Generation(
        kind=offer.kind,
        offer=offer.key,
        prompt=_prompt_of(offer, values),
        parameters=values,
        actor=actor,
        actor_name=actor.get_username(),
        team=team,
        request_id=current_origin().request_id,
        idempotency_key=idempotency_key,
        asked_at=asked_at,
        cancel_at=None if minutes is None else asked_at + timedelta(minutes=minutes),
        own_id=new_own_id(),
        next_attempt_at=asked_at,
        last_sign_at=asked_at,
        webhook_token=secrets.token_urlsafe(32) if _wants_webhooks(source, client) else "",
    )
    try:
        # The files first: a slow storage must not keep the database's write lock.
        with stored(pictures, row.own_id) as files, transaction.atomic():
            if team is not None:
                quotas.lock(team)
                if _known(actor, idempotency_key) is not None:
                    raise IntegrityError  # the same click, a moment earlier; it needs no room of its own
                generation_quotas.require_room(team)
            _write(row, source, files)
            audit(row)
            transaction.on_commit(partial(enqueue, Job.DISPATCH))
    except IntegrityError:  # the same click arrived twice at the same moment
        known = _known(actor, idempotency_key)
        if known is None:
            raise
        return known
    logger.info("generation asked task=%d source=%d kind=%s", row.pk, source.pk, row.kind)
    return row.task


def _known(actor: User, idempotency_key: str) -> Task | None:
    mine = Generation.objects.filter(actor=actor, idempotency_key=idempotency_key)
    row = mine.select_related("task").first()
    return row.task if row else None


def _client_of(source: Source) -> GenerationSource:
    """For its offers, which are declared; nothing is asked of the remote."""
    if not source.is_generation:
        raise InvalidInput(offer=f"{source.name} makes no videos or images.")
    try:
        return connections.generation_client_of(source)
    except (SourceError, ValueError):
        logger.exception("source cannot be used source=%d", source.pk)
        raise Refused(
            f"The settings of {source.name} cannot be used. An admin must look at the source."
        ) from None


def _check_input(
    offer: Offer, parameters: Mapping[str, Any], uploads: Mapping[str, Upload]
) -> tuple[dict[str, Any], dict[str, Upload]]:
    """Values and pictures as they are kept. Raises InvalidInput with everything that is wrong."""
    pictures, problems = check_uploads(offer, uploads)
    values: dict[str, Any] = {}
    try:
        values = parse_parameters(offer, parameters, uploads=pictures)
    except InvalidParameters as error:
        problems = error.fields | problems  # what is wrong with a picture says more than that one is missing
    if problems:
        raise InvalidInput(**problems)
    return values, pictures


def _prompt_of(offer: Offer, values: Mapping[str, Any]) -> str:
    prompt = values.get(offer.prompt)
    return storable(prompt) if isinstance(prompt, str) else ""


def _wants_webhooks(source: Source, client: GenerationSource) -> bool:
    """Where the portal has a public address, the dialect has them, and an admin gave a secret or switched them on."""
    is_on = bool(source.webhook_secret_sealed) or source.settings.get("webhooks") is True
    return is_on and bool(settings.BASE_URL) and client.capabilities.webhook


def _facts(row: Generation) -> dict[str, Any]:
    """For the audit trail: the prompt shortened, no other values."""
    return {
        "offer": row.offer,
        "kind": row.kind,
        "prompt": row.prompt[:AUDITED_PROMPT_CHARACTERS],
        "team": row.team.slug if row.team else "",
        "pictures": sorted(row.uploads.values_list("parameter", flat=True)),
    }


def _write(row: Generation, source: Source, files: list[Stored]) -> None:
    task = Task(
        source=source,
        remote_id=row.own_id,
        type=row.kind,
        object_name=" ".join(row.prompt.split())[:MAX_NAME_CHARACTERS],
        remote_user=row.actor_name[:200],
        person=row.actor_name[:200],
        state=State.PENDING,
        started_at=row.asked_at,
        seen_at=row.asked_at,
        changed_at=row.asked_at,
    )
    row.task = task
    task.search_text = search_text_of(row)
    task.save()
    row.task = task
    row.save(force_insert=True)
    add_uploads(row, files)
    events = Events(source.pk, row.asked_at)
    events.add(TaskEvent.Kind.NEW, task.pk)
    events.save()
