"""What a view that is only for signed-in people gets."""

from django.contrib.auth.models import User
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails


class UserRequest(HttpRequest):
    """A request whose person is known: the view stands behind `login_required`."""

    user: User
    htmx: HtmxDetails
