"""Time limits, for admins of the portal."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from tasks_app.access.policy import Verb, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.limits import LimitsForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.services import time_limits as service
from tasks_app.views.requests import UserRequest, sent


@require_http_methods(["GET", "POST"])
@login_required
def limits(request: UserRequest) -> HttpResponse:
    """How long a kind of task may take before it is overdue."""
    require(request.user, Verb.SET_LIMITS)
    form = LimitsForm(sent(request), current=service.current_limits())
    if request.method == "POST" and form.is_valid():
        try:
            service.set_time_limits(actor=request.user, seconds=form.seconds())
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, "Saved. The limits count everywhere within half a minute.")
            return redirect("portal:limits")
    return render(request, "limits/limits.html", {"form": form}, status=422 if form.errors else 200)
