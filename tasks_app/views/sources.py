"""Sources: their health for everybody who may see them, and what their admins change."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.log_keeping import LogKeepingForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.forms.sources import AuthorityForm, ChangeSourceForm, MatchesForm, RemoveSourceForm, TokenForm
from tasks_app.ingest.log_keeping import read_log_keeping
from tasks_app.live.events import newest_event_id
from tasks_app.models import Source
from tasks_app.services import sources as service
from tasks_app.services.gaps import gaps_for
from tasks_app.services.log_keeping import change_log_keeping
from tasks_app.services.sight import blindness_of
from tasks_app.sources.proxmox import compare_command, find_excess
from tasks_app.sources.proxmox.authority import check_authority
from tasks_app.sources.proxmox.permissions import parse_permissions
from tasks_app.templatetags.admin_parts import functions_of
from tasks_app.views.generation_sources import source_context
from tasks_app.views.requests import UserRequest, sent
from tasks_app.views.wizard_state import Address, by_fingerprint, probe_all


@require_GET
@login_required
def sources(request: UserRequest) -> HttpResponse:
    context = {
        "sources": Source.objects.visible_to(request.user),
        "can_add": can(request.user, Verb.ADD_SOURCE),
        "live_after": newest_event_id(),
    }
    return render(request, "sources/sources.html", context)


@require_GET
@login_required
def source(request: UserRequest, source_id: int) -> HttpResponse:
    found = _find(request, source_id)
    can_manage = can(request.user, Verb.MANAGE_SOURCE, found)
    context: dict[str, Any] = {
        "source": found,
        "functions": functions_of(found) if found.permissions_at else [],
        "excess": find_excess(parse_permissions(found.permissions)) if can_manage else [],
        "can_manage": can_manage,
        "live_after": newest_event_id(),
    }
    if found.is_generation:
        context |= source_context(found, can_manage=can_manage)
        return render(request, "sources/generation.html", context)
    context |= _history(request, found)
    if can_manage:
        context["logs_form"] = LogKeepingForm(keeping=read_log_keeping(found.settings))
    return render(request, "sources/source.html", context)


def _history(request: UserRequest, found: Source) -> dict[str, Any]:
    """How complete its history is: what the token may not see, and what no node has any more."""
    blind, gaps = blindness_of(found), list(gaps_for(request.user, source=found))
    nodes = [
        {
            "node": node,
            "is_blind": blind is not None and node.name in blind.nodes,
            "gaps": [gap for gap in gaps if gap.node_id == node.pk],
        }
        for node in found.nodes.all()
    ]
    return {"nodes": nodes, "blind": [blind] if blind else [], "gaps": gaps}


@require_http_methods(["GET", "POST"])
@login_required
def logs(request: UserRequest, source_id: int) -> HttpResponse:
    """What is kept of its logs."""
    found = _find_managed_cluster(request, source_id)
    form = LogKeepingForm(sent(request), keeping=read_log_keeping(found.settings))
    if request.method == "POST" and form.is_valid():
        try:
            change_log_keeping(found, actor=request.user, **form.cleaned_data)
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, "Saved. It counts for tasks that end from now on.")
            return redirect("portal:source", source_id)
    return _form_page(request, "sources/logs.html", source_id, form)


@require_POST
@login_required
def pause(request: UserRequest, source_id: int) -> HttpResponse:
    found = _find(request, source_id)
    service.pause_source(found, actor=request.user)
    messages.success(request, f"{found} is paused. Its tasks show what was last known.")
    return redirect("portal:source", source_id)


@require_POST
@login_required
def resume(request: UserRequest, source_id: int) -> HttpResponse:
    found = _find(request, source_id)
    service.resume_source(found, actor=request.user)
    messages.success(request, f"{found} is followed again.")
    return redirect("portal:source", source_id)


@require_POST
@login_required
def check(request: UserRequest, source_id: int) -> HttpResponse:
    """Ask the source now, inside the request (bounded by the client's time limits)."""
    found = _find_cluster(request, source_id)
    result = service.check_source(found, actor=request.user)
    if result.problem:
        messages.error(request, result.problem)
    else:
        messages.success(request, f"{found} answers. Version and permissions are fresh.")
    return redirect("portal:source", source_id)


@require_http_methods(["GET", "POST"])
@login_required
def change(request: UserRequest, source_id: int) -> HttpResponse:
    found = _find_managed_cluster(request, source_id)
    form = ChangeSourceForm(sent(request), source=found, initial={"name": found.name, "urls": found.urls})
    if request.method == "POST" and form.is_valid():
        try:
            service.change_source(found, actor=request.user, **form.cleaned_data)
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, "Saved.")
            return redirect("portal:source", source_id)
    return _form_page(request, "sources/change.html", source_id, form)


@require_http_methods(["GET", "POST"])
@login_required
@sensitive_post_parameters("token_secret")
@never_cache
def token(request: UserRequest, source_id: int) -> HttpResponse:
    """Another token. It is stored first and tried afterwards, so that a cluster in trouble can be given one."""
    found = _find_managed_cluster(request, source_id)
    form = TokenForm(sent(request), initial={"token_id": found.token_id})
    if request.method == "POST" and form.is_valid():
        try:
            service.replace_token(found, actor=request.user, **form.cleaned_data)
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, "The new token is stored.")
            return redirect("portal:source", source_id) if found.paused_at else check(request, source_id)
    return _form_page(request, "sources/token.html", source_id, form)


@require_http_methods(["GET", "POST"])
@login_required
@never_cache
def certificate(request: UserRequest, source_id: int) -> HttpResponse:
    """Look at the certificates now; accept the new ones, or a CA, after comparing.

    They are looked at again when the form comes back: what is accepted is what was compared and is still shown.
    """
    found = _find_managed_cluster(request, source_id)
    shown = probe_all(found.urls)
    unknown = by_fingerprint(
        address for address in shown if address.fingerprint and not _is_known(found, address)
    )
    wants_ca = request.POST.get("way") == "ca"
    matches = MatchesForm(None if wants_ca else sent(request), fingerprints=unknown)
    authority = AuthorityForm(*((request.POST, request.FILES) if wants_ca else ()))
    form = authority if wants_ca else matches
    if request.method == "POST" and form.is_valid():
        pins = [] if wants_ca else _new_pins(found, shown)
        service.accept_certificate(
            found, actor=request.user, fingerprints=pins, ca_pem=form.cleaned_data.get("ca_pem", "")
        )
        messages.success(request, "The certificate is accepted.")
        return redirect("portal:source", source_id)
    cards = [(unknown[fingerprint], box) for fingerprint, box in matches.boxes().items()]
    context = {
        "shown": shown,
        "cards": cards,
        "matches": matches,
        "authority": authority,
        "command": compare_command(),
    }
    return _form_page(request, "sources/certificate.html", source_id, form, **context)


@require_http_methods(["GET", "POST"])
@login_required
def remove(request: UserRequest, source_id: int) -> HttpResponse:
    found = _find_managed(request, source_id)
    form = RemoveSourceForm(sent(request), source=found)
    if request.method == "POST" and form.is_valid():
        service.remove_source(found, actor=request.user)
        messages.success(request, f"{form.cleaned_data['name']} is removed from the portal.")
        return redirect("portal:sources")
    return _form_page(request, "sources/remove.html", source_id, form, task_count=found.tasks.count())


def _is_known(source: Source, address: Address) -> bool:
    if source.fingerprints:
        return address.fingerprint in source.fingerprints
    if source.ca_pem:
        return not check_authority(address.url, source.ca_pem)
    return address.is_trusted


def _new_pins(source: Source, shown: list[Address]) -> list[str]:
    """What all addresses show; while one is silent, its old pin cannot be told from the others, so all stay."""
    silent = any(not address.fingerprint for address in shown)
    pins = [address.fingerprint for address in shown if address.fingerprint]
    return list(dict.fromkeys([*pins, *(source.fingerprints if silent else [])]))


def _find_cluster(request: UserRequest, source_id: int) -> Source:
    """Of the sources one sees a cluster; those that make videos and images have pages of their own."""
    return get_object_or_404(Source.objects.visible_to(request.user), pk=source_id, kind=Source.PROXMOX)


def _find_managed_cluster(request: UserRequest, source_id: int) -> Source:
    found = _find_cluster(request, source_id)
    require(request.user, Verb.MANAGE_SOURCE, found)
    return found


def _find(request: UserRequest, source_id: int) -> Source:
    return get_object_or_404(Source.objects.visible_to(request.user), pk=source_id)


def _find_managed(request: UserRequest, source_id: int) -> Source:
    """The source, when this person may change it: its pages show more than a viewer needs."""
    found = _find(request, source_id)
    require(request.user, Verb.MANAGE_SOURCE, found)
    return found


def _form_page(
    request: UserRequest, template: str, source_id: int, form: Any, **context: Any
) -> HttpResponse:
    """The form on the source as it is stored: what was typed and refused must not look like a fact."""
    context |= {"source": _find(request, source_id), "form": form}
    return render(request, template, context, status=422 if form.errors else 200)
