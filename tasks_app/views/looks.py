"""Looks: a person's choices, kept in cookies so that the first paint is right."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from tasks_app.forms.filters import LooksForm

_YEAR_SECONDS = 365 * 24 * 3600


@require_POST
def look(request: HttpRequest) -> HttpResponse:
    """Keep what was chosen and go back to the page it was chosen on."""
    back = request.headers.get("Referer", "/")
    allowed = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    response = HttpResponseRedirect(back if allowed else "/")
    form = LooksForm(request.POST)
    if form.is_valid():
        for name, value in form.cleaned_data.items():
            if value:
                response.set_cookie(
                    name,
                    value,
                    max_age=_YEAR_SECONDS,
                    samesite="Lax",
                    secure=request.is_secure(),
                    httponly=True,
                )
    return response
