"""What a view gets: the person, and what a form sent."""

from django.contrib.auth.models import User
from django.http import HttpRequest, QueryDict
from django_htmx.middleware import HtmxDetails


class UserRequest(HttpRequest):
    """A request whose person is known: the view stands behind `login_required`."""

    user: User
    htmx: HtmxDetails


def sent(request: HttpRequest) -> QueryDict | None:
    """What a form sent, even if that is nothing; None while the form is only shown."""
    return request.POST if request.method == "POST" else None
