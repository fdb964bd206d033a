"""Connecting sources that make videos and images, and changing them. What they share with clusters is in `sources`."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.generation_sources import (
    GenerationSourceForm,
    KeyForm,
    NewGenerationSourceForm,
    first_values,
    stored_values,
)
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import Generation, Source, Team
from tasks_app.services import generation_sources as service
from tasks_app.services.generation_queue import holds_of
from tasks_app.services.generation_sources import GenerationCheck
from tasks_app.sources.errors import SourceError
from tasks_app.sources.generation.registry import DIALECTS
from tasks_app.states import State
from tasks_app.templatetags.generation_parts import words_of
from tasks_app.views.requests import UserRequest, sent

_RECENT_ERRORS = 5


@require_GET
@login_required
def choose(request: UserRequest) -> HttpResponse:
    """Which dialect; the first is taken, the others are one click away."""
    require(request.user, Verb.ADD_SOURCE)
    return redirect("portal:source-add-dialect", next(iter(DIALECTS)))


@require_http_methods(["GET", "POST"])
@login_required
@sensitive_post_parameters("key", "webhook_secret")
@never_cache
def add(request: UserRequest, kind: str) -> HttpResponse:
    """One page: address, key, what it offers, who may use it."""
    require(request.user, Verb.ADD_SOURCE)
    if kind not in DIALECTS:
        raise Http404
    form = NewGenerationSourceForm(sent(request), kind=kind, teams=_teams(), initial=first_values(kind))
    checked = None
    if request.method == "POST" and form.is_valid():
        values = form.values()
        try:
            if "check" in request.POST:
                checked = _look(kind, values)
            else:
                source = service.add_generation_source(actor=request.user, kind=kind, **values)
                _tell(request, source, service.check_generation_source(source, actor=request.user))
                return redirect("portal:source", source.pk)
        except InvalidInput as error:
            show_refusal(form, error)
    context = {"form": form, "kind": kind, "dialects": DIALECTS, "checked": checked}
    return _answer(request, "sources/generation_add.html", context, form)


@require_http_methods(["GET", "POST"])
@login_required
@never_cache
def change(request: UserRequest, source_id: int) -> HttpResponse:
    """Everything but the key."""
    found = _find_managed(request, source_id)
    initial = stored_values(found) if request.method == "GET" else None
    form = GenerationSourceForm(sent(request), kind=found.kind, teams=_teams(), initial=initial)
    checked = None
    if request.method == "POST" and form.is_valid():
        values = form.values()
        try:
            if "check" in request.POST:
                checked = _look(found.kind, values, stored=found)
            else:
                service.change_generation_source(found, actor=request.user, **values)
                messages.success(request, "Saved.")
                return redirect("portal:source", source_id)
        except InvalidInput as error:
            show_refusal(form, error)
    context = {"form": form, "source": get_object_or_404(Source, pk=source_id), "checked": checked}
    return _answer(request, "sources/generation_change.html", context, form)


@require_http_methods(["GET", "POST"])
@login_required
@sensitive_post_parameters("key", "webhook_secret")
@never_cache
def key(request: UserRequest, source_id: int) -> HttpResponse:
    """Another key. It is stored first and tried afterwards, so that a source in trouble can be given one."""
    found = _find_managed(request, source_id)
    form = KeyForm(sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            service.replace_generation_key(
                found,
                actor=request.user,
                key=form.wanted("key"),
                webhook_secret=form.wanted("webhook_secret"),
            )
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, "Stored.")
            if found.paused_at is None:
                _tell(request, found, service.check_generation_source(found, actor=request.user))
            return redirect("portal:source", source_id)
    context = {"form": form, "source": found}
    return render(request, "sources/generation_key.html", context, status=422 if form.errors else 200)


@require_POST
@login_required
def check(request: UserRequest, source_id: int) -> HttpResponse:
    """Ask the source now, inside the request (bounded by the client's time limits)."""
    found = get_object_or_404(_generation_sources(request), pk=source_id)
    _tell(request, found, service.check_generation_source(found, actor=request.user))
    return redirect("portal:source", source_id)


def source_context(source: Source, *, can_manage: bool) -> dict[str, Any]:
    """What the page of such a source shows besides itself."""
    made = Generation.objects.filter(task__source=source)
    capabilities = service.capabilities_of(source)
    told = [
        ("Progress in percent", capabilities.progress),
        ("Place in its queue", capabilities.queue_position),
        ("Log", capabilities.logs),
        ("Cancelling what waits", capabilities.cancel_queued),
        ("Cancelling what runs", capabilities.cancel_running),
        ("List of all tasks", capabilities.lists),
        ("Calls of its own (webhooks)", capabilities.webhook),
    ]
    failed = made.filter(task__state__in=[State.FAILED, State.LOST]).select_related("task__source")
    return {
        "offers": service.offers_of(source),
        "limits": source.settings.get("limits") or {},
        "holds": holds_of(source),
        "running": made.at_remote().count(),
        "waiting": made.held().count(),
        "teams": source.teams.select_related("group").order_by("group__name"),
        "told": told,
        "failed": list(failed.order_by("-task_id")[:_RECENT_ERRORS]) if can_manage else [],
        "has_key": bool(source.token_secret_sealed),
        "has_webhook_secret": bool(source.webhook_secret_sealed),
    }


def _look(kind: str, values: dict[str, Any], *, stored: Source | None = None) -> GenerationCheck:
    """Ask what is in the form without storing it; a stored source lends its key. Raises InvalidInput."""
    given = {name: value for name, value in values.items() if name != "teams"}
    secret = given.pop("key", "")
    if stored is not None and stored.token_secret_sealed:
        try:
            secret = connections.unseal(stored.token_secret_sealed)
        except SourceError as error:
            return GenerationCheck(problem=str(error), kind=error.kind)
    return service.check_generation_connection(kind, service.checked_connection(kind, key=secret, **given))


def _tell(request: UserRequest, source: Source, found: GenerationCheck) -> None:
    if found.problem:
        words = words_of(found.kind)
        messages.error(request, f"{words.title}: {found.problem}" if words else found.problem)
    else:
        messages.success(request, f"{source} answers: {found.text}" if found.text else f"{source} answers.")


def _teams() -> QuerySet[Team]:
    return Team.objects.select_related("group").order_by("group__name")


def _generation_sources(request: UserRequest) -> QuerySet[Source]:
    return Source.objects.visible_to(request.user).exclude(kind=Source.PROXMOX)


def _find_managed(request: UserRequest, source_id: int) -> Source:
    found = get_object_or_404(_generation_sources(request), pk=source_id)
    require(request.user, Verb.MANAGE_SOURCE, found)
    return found


def _answer(
    request: UserRequest, page: str, context: dict[str, Any], form: GenerationSourceForm
) -> HttpResponse:
    """The page; or, when htmx asked for a check, what came of it: the form stays as it is, with its key."""
    if request.htmx:
        return render(request, "sources/_generation_check.html", context)
    return render(request, page, context, status=422 if form.errors else 200)
