"""Around every page: where the request came from, and how a refusal is answered."""

import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from portal.addresses import address_of
from tasks_app.api import errors as api_errors
from tasks_app.audit.actions import Action
from tasks_app.audit.context import Origin, set_origin
from tasks_app.audit.recorder import record
from tasks_app.errors import NotPermitted, PrivilegeMissing, Refused
from tasks_app.models import AuditEntry

Handler = Callable[[HttpRequest], HttpResponse]


def client_ip(request: HttpRequest) -> str | None:
    """Where the request came from."""
    return address_of(request.headers.get("X-Forwarded-For", ""), request.META.get("REMOTE_ADDR", ""))


class RequestContextMiddleware:
    """Gives each request an id that joins its audit entries and submissions; the answer carries it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = uuid.uuid4().hex
        set_origin(Origin(request_id, client_ip(request), request.headers.get("User-Agent", "")))
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        # A page and its parts have one address; a browser going back must not find a part where the page was.
        patch_vary_headers(response, ["HX-Request"])
        return response


class RefusalMiddleware:
    """Turns a Refused that rose to the edge into a page, a notice or JSON; a denied permission is audited."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        return _for_programs(response) if _is_api(request) else response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, Refused):
            return None
        if isinstance(error, NotPermitted):
            record(
                Action.DENIED,
                actor=request.user,
                target_name=f"{request.method} {request.path}",
                result=AuditEntry.Result.REFUSED,
                reason=str(error),
            )
        if _is_api(request):
            return api_errors.answer(api_errors.of_refusal(error))
        if request.headers.get("Accept", "").startswith("application/json"):
            return JsonResponse({"error": {"message": str(error)}}, status=error.status)
        context = {"message": str(error), "privilege": error if isinstance(error, PrivilegeMissing) else None}
        template = "shared/_refused.html" if getattr(request, "htmx", False) else "shared/refused.html"
        return render(request, template, context, status=error.status)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _for_programs(response: HttpResponse) -> HttpResponse:
    """What the API answers is nobody else's, so nothing keeps it; a page that says no becomes JSON."""
    response.headers.setdefault("Cache-Control", "no-store")
    if response.status_code < 400 or response.headers.get("Content-Type", "").startswith("application/json"):
        return response
    instead = api_errors.answer(api_errors.of_status(response.status_code))
    for name in ("Allow", "Retry-After", "Cache-Control"):
        if name in response.headers:
            instead[name] = response.headers[name]
    return instead
