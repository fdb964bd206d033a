"""Around every page: where the request came from, and how a refusal is answered."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
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
from tasks_app.signin import note_second_factors, second_factors_of

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
        if isinstance(error, NotPermitted | PermissionDenied):
            record(
                Action.DENIED,
                actor=request.user,
                target_name=f"{request.method} {request.path}",
                result=AuditEntry.Result.REFUSED,
                reason=str(error),
            )
        if not isinstance(error, Refused):
            return None  # Django answers with its own page
        if _is_api(request):
            return api_errors.answer(api_errors.of_refusal(error))
        if request.headers.get("Accept", "").startswith("application/json"):
            return JsonResponse({"error": {"message": str(error)}}, status=error.status)
        context = {"message": str(error), "privilege": error if isinstance(error, PrivilegeMissing) else None}
        template = "shared/_refused.html" if getattr(request, "htmx", False) else "shared/refused.html"
        return render(request, template, context, status=error.status)


class WholeDeedMiddleware:
    """What people change about their own sign-in is written in one transaction with its audit entry.

    The views are those of allauth, which use none. Signing in writes nothing but the session, and that comes after
    the entry: it needs no lock while a password is checked. The last of all, so that the others have had their say.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], args: list[Any], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        if request.method != "POST" or not request.path.startswith(("/account/password/", "/account/2fa/")):
            return None
        with transaction.atomic():
            person = request.user
            if not isinstance(person, User):
                return view(request, *args, **kwargs)
            factors = second_factors_of(person)
            response = view(request, *args, **kwargs)
            note_second_factors(person, factors)
            return response


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
