"""The one-time link of the first start."""

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from tasks_app.errors import InvalidInput, Refused
from tasks_app.forms.refusals import show_refusal
from tasks_app.forms.setup import SetupForm
from tasks_app.services import setup as service
from tasks_app.views.requests import sent

_BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password", "password_again")
@never_cache
def setup(request: HttpRequest, token: str) -> HttpResponse:
    """Make the holder of the link the first admin, sign them in and show the dashboard."""
    if not service.is_link_open(token):
        return _closed(request)
    form = SetupForm(sent(request))
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            person = service.set_up_admin(
                token, username=data["username"], password=data["password"], email=data["email"]
            )
        except InvalidInput as error:
            show_refusal(form, error)
        except Refused:
            return _closed(request)
        else:
            login(request, person, backend=_BACKEND)
            return HttpResponseRedirect("/")
    return render(request, "setup/setup.html", {"form": form}, status=422 if form.errors else 200)


def _closed(request: HttpRequest) -> HttpResponse:
    return render(request, "setup/closed.html", {"has_admin": service.has_admin()}, status=410)
