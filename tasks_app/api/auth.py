"""Who calls the API: a token as Bearer, a token as Basic password, or the session of a signed-in browser."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBasicAuth, HttpBearer
from ninja.utils import check_csrf

from tasks_app.access.tokens import given_token
from tasks_app.api.errors import ApiError
from tasks_app.services.api_tokens import TokenRefused, check_token

# Browsers would ask for a password at a Basic challenge, so Basic is taken but not asked for.
CHALLENGE = 'Bearer realm="Task portal"'


class ApiRequest(HttpRequest):
    """A request that has passed the door: its person is known."""

    user: User


class BearerToken(HttpBearer):
    """`Authorization: Bearer tp_…`. The base class is for the description; it would log what it does not know."""

    def __call__(self, request: HttpRequest) -> Any:
        return _enter(request, "bearer")

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        raise NotImplementedError


class BasicToken(HttpBasicAuth):
    """A token as password with any user name: what clients send that know nothing but a netrc file."""

    def __call__(self, request: HttpRequest) -> Any:
        return _enter(request, "basic")

    def authenticate(self, request: HttpRequest, username: str, password: str) -> Any:
        raise NotImplementedError


class Session(APIKeyCookie):
    """The session cookie, for pages. What changes something needs the CSRF token as every form does."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> Any:
        if given_token(request.headers.get("Authorization", "")) is not None:
            return None
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return None
        if request.method not in ("GET", "HEAD", "OPTIONS") and check_csrf(request) is not None:
            raise ApiError(
                403, "CSRF_FAILED", "A session needs the header X-CSRFToken here. A token does not."
            )
        return user

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        raise NotImplementedError


def not_authenticated(message: str = "Send a token: Authorization: Bearer <token>.") -> ApiError:
    return ApiError(401, "NOT_AUTHENTICATED", message, headers={"WWW-Authenticate": CHALLENGE})


def refused(refusal: TokenRefused) -> ApiError:
    """A token that does not count, or too many of them from one address."""
    if refusal.retry_after is None:
        return not_authenticated(str(refusal))
    headers = {"Retry-After": str(refusal.retry_after), "WWW-Authenticate": CHALLENGE}
    return ApiError(429, "TOO_MANY_REQUESTS", str(refusal), headers=headers)


def _enter(request: HttpRequest, scheme: str) -> User | None:
    """The person of the token that was sent in this scheme; None when it was sent in another or not at all."""
    header = request.headers.get("Authorization", "")
    token = given_token(header)
    if token is None or not header.strip().lower().startswith(scheme):
        return None
    try:
        person = check_token(token).user
    except TokenRefused as refusal:
        raise refused(refusal) from refusal
    request.user = person
    return person
