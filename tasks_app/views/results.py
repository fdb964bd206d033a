"""Results: the files themselves, keeping them, and what retention removes next."""

from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tasks_app.access.policy import Verb, require
from tasks_app.ingest.sniffing import INLINE_TYPES, UNKNOWN
from tasks_app.models import Asset, Task
from tasks_app.models.generation import UNNAMED
from tasks_app.services import result_retention, results
from tasks_app.services.api_tokens import person_of
from tasks_app.views.requests import UserRequest

# A result is somebody else's bytes under our name: whatever a browser makes of them may do nothing.
POLICY = "sandbox; default-src 'none'"


@require_safe
def result_file(request: HttpRequest, asset_id: int, name: str) -> HttpResponseBase:
    """The bytes of a copied result, for who may see its task: shown if it is harmless, else or on wish downloaded."""
    person = person_of(request)
    if person is None:
        return _unknown(request)
    asset = get_object_or_404(Asset.objects.select_related("generation__task__source"), pk=asset_id)
    get_object_or_404(Task.objects.visible_to(person), pk=asset.generation_id)
    if asset.state in (Asset.State.REMOVED, Asset.State.EXPIRED):
        return HttpResponse(f"{asset.get_state_display()}.", status=410, content_type="text/plain")
    if asset.state == Asset.State.WAITING and name == UNNAMED:
        words = "The portal is still copying it."
        return HttpResponse(words, status=503, content_type="text/plain", headers={"Retry-After": "2"})
    if asset.state == Asset.State.COPIED and name == UNNAMED != asset.name:
        return redirect("portal:result-file", asset.pk, asset.name)
    if asset.state != Asset.State.COPIED or asset.name != name:
        raise Http404
    is_download = request.GET.get("download") == "1" or asset.media_type not in INLINE_TYPES
    headers = _headers(asset, is_download=is_download)
    kept = get_conditional_response(request, etag=headers["ETag"], response=HttpResponse(headers=headers))
    if kept is not None and kept.status_code != 200:
        return kept
    if is_download and _is_beginning(request):
        results.record_download(asset, actor=person)
    return _answer(request, asset, headers)


@require_POST
@login_required
def keep(request: UserRequest, task_id: int) -> HttpResponse:
    """Pin the results of a task."""
    task = get_object_or_404(Task.objects.visible_to(request.user), pk=task_id)
    results.keep_result(task, actor=request.user)
    messages.success(request, "Kept: retention leaves these results until somebody releases them.")
    return redirect("portal:task", task.pk)


@require_POST
@login_required
def release(request: UserRequest, task_id: int) -> HttpResponse:
    """Unpin them."""
    task = get_object_or_404(Task.objects.visible_to(request.user), pk=task_id)
    results.release_result(task, actor=request.user)
    messages.success(request, "Released: the results are removed after their time.")
    return redirect("portal:task", task.pk)


@require_http_methods(["GET", "POST"])
@login_required
def retention(request: UserRequest) -> HttpResponse:
    """What the next clean-up removes; POST starts it now."""
    require(request.user, Verb.CLEAN_UP)
    if request.method == "POST":
        result_retention.request_clean_up(actor=request.user)
        messages.success(request, "The clean-up has been started. It takes a moment.")
        return redirect("portal:results-retention")
    context = {
        "preview": result_retention.preview_clean_up(),
        "hours": settings.TASK_RETENTION_HOURS,
        "runs_at": result_retention.next_run_at(),
    }
    return render(request, "results/retention.html", context)


def _unknown(request: HttpRequest) -> HttpResponse:
    """Browsers are sent to sign in; who sent a token that does not count is told so."""
    if "Authorization" not in request.headers:
        return redirect_to_login(request.get_full_path())
    error = {"code": "NOT_AUTHENTICATED", "message": "Send a token: Authorization: Bearer <token>."}
    return JsonResponse({"error": error}, status=401, headers={"WWW-Authenticate": "Bearer"})


def _headers(asset: Asset, *, is_download: bool) -> dict[str, str]:
    return {
        "Content-Type": asset.media_type or UNKNOWN,
        "Content-Disposition": content_disposition_header(is_download, asset.name) or "attachment",
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        # Asked again each time, so that it ends with the permission; the answer is then 304.
        "Cache-Control": "private, no-cache",
        "ETag": f'"{asset.sha256}"',
    }


def _is_beginning(request: HttpRequest) -> bool:
    """Not a look at the headers, and not the rest of what was begun before: one download, one audit entry."""
    asked = request.headers.get("Range", "").replace(" ", "").lower()
    return request.method == "GET" and (not asked or asked.startswith("bytes=0-"))


def _answer(request: HttpRequest, asset: Asset, headers: dict[str, str]) -> HttpResponseBase:
    """In the web server the event loop sends the file (`portal.files`); elsewhere this thread does, without ranges."""
    take = request.META.get("asgi.scope", {}).get("portal.files")
    if take is not None:
        take(asset.file.name)
        return HttpResponse(headers=headers)
    try:
        file = default_storage.open(cast(str, asset.file.name))
    except FileNotFoundError:
        raise Http404 from None
    response = FileResponse(file)
    # Afterwards: it has guessed type and disposition from the file's name.
    for name, value in headers.items():
        response[name] = value
    return response
