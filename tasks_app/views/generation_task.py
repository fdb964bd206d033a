"""The part of a task's page that is about a video or an image: result, input, trying again."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.forms.generate import RetryForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.ingest.generation_values import AFTERWARDS, REPORTED
from tasks_app.models import Asset, Generation, Task
from tasks_app.services import generations as service
from tasks_app.services.generation_sources import capabilities_of, offer_of
from tasks_app.services.results import removal_at
from tasks_app.sources.generation.base import Offer
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import State
from tasks_app.templatetags.generation_parts import price_words
from tasks_app.views.requests import UserRequest, sent

_JOINED = ("source", "generation__team__group", "generation__actor")
# What adapters tell in `metadata` under these names is shown with these words; other plain values by their own name.
_FACTS = {
    "model": "Model",
    "seed": "Seed",
    "width": "Width",
    "height": "Height",
    "dimensions": "Dimensions",
    "size": "Dimensions",
    "resolution": "Resolution",
    "duration": "Duration",
    "seconds": "Duration",
    "fps": "Frames per second",
    "service": "Service",
}
_IN_SECONDS = frozenset({"duration", "seconds"})
_MAX_FACTS = 20


def generation_context(request: UserRequest, row: Task) -> dict[str, Any]:
    """What the templates of a video's or image's page need besides `task`; nothing for any other task."""
    if not row.is_generation:
        return {}
    made, user = row.generation, request.user
    is_staff_view = can(user, Verb.MANAGE_SOURCE, row.source)
    offer = offer_of(row.source, made.offer)
    return {
        **_keeping(request, row),
        "assets": list(made.assets.all()),
        "inputs": _inputs(made, offer),
        "uploads": _uploads(made, offer),
        "offer": offer.label if offer else made.offer,
        "facts": _facts(made),
        "may_retry": _may_retry(request, row),
        "change_address": _change_address(row, offer),
        "details": made.problem_detail if is_staff_view else "",
        "may_see_raw": is_staff_view,
        "has_log": bool(row.log_total) or (not row.is_final and capabilities_of(row.source).logs),
    }


@require_GET
@login_required
def generation(request: UserRequest, task_id: int) -> HttpResponse:
    """Result and input, as the page asks for them when the task has moved."""
    row = _find(request, task_id)
    return render(request, "tasks/_generation.html", {"task": row, **generation_context(request, row)})


@require_GET
@login_required
def asset(request: UserRequest, task_id: int, asset_id: int) -> HttpResponse:
    """One result file, which asks for itself while it is being copied."""
    row = _find(request, task_id)
    found = get_object_or_404(row.generation.assets, pk=asset_id)
    context = {"task": row, "asset": found, **_keeping(request, row)}
    return render(request, "tasks/_generation_asset_moved.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def retry(request: UserRequest, task_id: int) -> HttpResponse:
    """GET asks, POST makes a new task of the same input. Where the old one may have been made: only if one is sure."""
    row = _find(request, task_id)
    made = row.generation
    if request.method == "GET":
        _require_retry(request, row)
    is_unknown = made.problem_kind == Kind.OUTCOME_UNKNOWN
    form = RetryForm(sent(request), is_unknown=is_unknown)
    if request.method == "POST" and form.is_valid():
        key = str(form.cleaned_data["idempotency_key"])
        try:
            again = service.retry_generation(
                row, actor=request.user, idempotency_key=key, confirmed=form.cleaned_data["confirmed"]
            )
            return redirect("portal:task", again.pk)
        except NotPermitted:
            raise
        except InvalidInput as error:
            show_refusal(form, error)
        except Refused as error:
            form.add_error(None, str(error))
    offer = offer_of(row.source, made.offer)
    context = {"task": row, "form": form, "is_unknown": is_unknown}
    context["price"] = price_words(offer)
    template = "tasks/_retry.html" if request.htmx else "tasks/retry.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _find(request: UserRequest, task_id: int) -> Task:
    tasks = Task.objects.visible_to(request.user).select_related(*_JOINED)
    row = get_object_or_404(tasks.defer("raw", "tracker_state", "search_text"), pk=task_id)
    if not row.is_generation:
        raise Http404
    return row


def _keeping(request: UserRequest, row: Task) -> dict[str, Any]:
    """What the part that keeps and releases shows."""
    made = row.generation
    return {
        "made": made,
        "has_copies": made.assets.filter(state=Asset.State.COPIED).exists(),
        "removal_at": removal_at(row),
        "may_use": row.is_final and can(request.user, Verb.USE_RESULT, row.source, generation=made),
    }


def _may_retry(request: UserRequest, row: Task) -> bool:
    """What failed, was cancelled or may have got lost, of somebody who may make it; the service decides again."""
    made = row.generation
    if row.state not in (State.FAILED, State.CANCELLED, State.LOST) or not made.actor_name or not made.offer:
        return False
    return can(request.user, Verb.GENERATE, row.source, team=made.team)


def _require_retry(request: UserRequest, row: Task) -> None:
    """Who may not is told so before the dialog, and so is who comes too late. Raises NotPermitted, Refused."""
    if _may_retry(request, row):
        return
    require(request.user, Verb.GENERATE, row.source)
    raise Refused("Only a task of the portal that failed, was cancelled or got lost can be asked for again.")


def _change_address(row: Task, offer: Offer | None) -> str:
    """The form with this input as first values; "" when the source no longer offers it."""
    if offer is None:
        return ""
    return f"{reverse('portal:generate-one', args=[row.source_id, offer.key])}?again={row.pk}"


def _inputs(made: Generation, offer: Offer | None) -> list[dict[str, Any]]:
    """The parameters besides the prompt, in the order of the form, by their labels where these are known."""
    known = {parameter.name: parameter for parameter in offer.parameters} if offer else {}
    prompt = offer.prompt if offer else "prompt"
    names = [*(name for name in known if name in made.parameters), *sorted(set(made.parameters) - set(known))]
    found = []
    for name in names:
        value, parameter = made.parameters[name], known.get(name)
        if (name == prompt and made.prompt) or value in ("", None):
            continue
        choices = dict(parameter.choices) if parameter else {}
        found.append(
            {
                "label": parameter.label if parameter else name,
                "value": choices.get(str(value), value),
                "unit": parameter.unit if parameter else "",
            }
        )
    return found


def _uploads(made: Generation, offer: Offer | None) -> list[dict[str, Any]]:
    labels = {parameter.name: parameter.label for parameter in offer.parameters} if offer else {}
    return [
        {
            "label": labels.get(upload.parameter, upload.parameter),
            "name": upload.name,
            "media_type": upload.media_type,
            "size": upload.size,
            "is_gone": not upload.file,
        }
        for upload in made.uploads.all()
    ]


def _facts(made: Generation) -> list[tuple[str, Any]]:
    """What the provider told about the result, known names first; only plain values, because the rest is for staff.

    Not the portal's own notes, nor a service that is called as the source.
    """
    told = made.metadata if isinstance(made.metadata, dict) else {}
    own = {REPORTED, AFTERWARDS} | ({"service"} if told.get("service") == made.task.source.name else set())
    shown = {_word(name): _measured(name, told[name]) for name in _ordered(told) if name not in own}
    return [(word, value) for word, value in shown.items() if _is_plain(value)][:_MAX_FACTS]


def _measured(name: str, value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g} s" if name in _IN_SECONDS and is_number else value


def _ordered(names: Iterable[str]) -> list[str]:
    order = {name: number for number, name in enumerate(_FACTS)}
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def _word(name: str) -> str:
    return _FACTS.get(name) or name.replace("_", " ").capitalize()[:60]


def _is_plain(value: object) -> bool:
    """An address may be signed and a long text is none of the facts."""
    if isinstance(value, str):
        return 0 < len(value) <= 200 and "://" not in value
    return isinstance(value, int | float)


def happened(row: Task) -> list[tuple[datetime | None, str]]:
    """What is known to have happened to a video or image, in the order in which it usually does."""
    made = row.generation
    who = made.actor_name or "Somebody without the portal"
    return [
        (made.asked_at, f"{who} asked for it"),
        (made.called_at, f"Sent to {row.source.name}"),
        (made.answered_at if made.actor_name else None, f"{row.source.name} took it"),
        (made.processing_at, "The provider began"),
        (made.quiet_since, "No sign of life since then"),
        (made.kept_at, f"{made.kept_by_name or 'Somebody'} keeps the result"),
        (made.cleaned_at, "Results, pictures and log were removed by retention"),
    ]
