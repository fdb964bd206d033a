"""A person's own API tokens: made, shown once, revoked."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.cache import cache
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from tasks_app.errors import InvalidInput, Refused
from tasks_app.forms.api_tokens import TokenForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.services import api_tokens as service
from tasks_app.views.requests import UserRequest

_SHOWN_SECONDS = 24 * 3600  # how long a reload of the page with the token is recognised


@require_POST
@login_required
@never_cache
def add(request: UserRequest) -> HttpResponse:
    """Make one and show it: this answer is the only place where it can be read."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return render(request, "profile/token_form.html", {"token_form": form}, status=422)
    once = f"token-form:{request.user.pk}:{form.cleaned_data['key']}"
    if not cache.add(once, 1, _SHOWN_SECONDS):
        messages.info(request, "This token was made and shown already. Revoke it if you did not keep it.")
        return redirect("portal:profile")
    try:
        token, text = service.add_token(
            request.user, actor=request.user, name=form.cleaned_data["name"], days=form.chosen_days()
        )
    except Refused as error:
        cache.delete(once)
        if not isinstance(error, InvalidInput):
            raise
        show_refusal(form, error)
        return render(request, "profile/token_form.html", {"token_form": form}, status=422)
    context = {"token": token, "text": text, "address": request.build_absolute_uri("/api/v1/tasks")}
    return render(request, "profile/token_made.html", context)


@require_POST
@login_required
def revoke(request: UserRequest, token_id: int) -> HttpResponse:
    """Somebody else's does not exist."""
    token = get_object_or_404(request.user.api_tokens, pk=token_id)
    service.revoke_token(token, actor=request.user)
    messages.success(request, f"“{token.name}” is revoked: it counts no more.")
    return redirect("portal:profile")


def tokens_of(person: User) -> dict[str, Any]:
    """What the profile page shows about them."""
    return {"tokens": service.valid_tokens(person), "token_form": TokenForm()}
