"""People's API tokens: making and revoking them, and who asks when a request carries one."""

from datetime import timedelta

from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.timezone import now

from tasks_app.access import tokens
from tasks_app.audit.actions import Action
from tasks_app.audit.context import current_origin
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import ApiToken, AuditEntry

MAX_TOKENS = 20
MAX_NAME_CHARACTERS = 60
MAX_DAYS = 3660
REFUSALS_PER_MINUTE = 10  # from one address; a client with a wrong token asks every few seconds
AUDITED_PER_HOUR = 60  # of all addresses together: guessing must not fill the audit trail


class TokenRefused(Exception):
    """The token does not count. `retry_after` is the seconds to wait after too many of them, else None."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@transaction.atomic
def add_token(person: User, *, actor: User, name: str, days: int | None) -> tuple[ApiToken, str]:
    """A new token of `person`, and its text, which is told this once. `days` None: until it is revoked.

    Raises NotPermitted for somebody else, InvalidInput (name, days), Refused when there are too many.
    """
    if actor != person:
        raise NotPermitted("Everybody makes their own tokens.")
    name = " ".join(name.split())
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise InvalidInput(name=f"Give it a name of at most {MAX_NAME_CHARACTERS} characters.")
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise InvalidInput(days=f"Choose 1 to {MAX_DAYS} days.")
    if valid_tokens(person).count() >= MAX_TOKENS:
        raise Refused(f"You have {MAX_TOKENS} tokens. Revoke one that is not needed.")
    text = tokens.new_token()
    token = ApiToken.objects.create(
        user=person,
        name=name,
        hint=text[: tokens.HINT_CHARACTERS],
        token_hash=tokens.hash_of(text),
        expires_at=now() + timedelta(days=days) if days is not None else None,
    )
    record(Action.TOKEN_ADD, actor=actor, target=token, days=days)
    return token, text


@transaction.atomic
def revoke_token(token: ApiToken, *, actor: User) -> None:
    """It counts no more, at once; open sockets end within the time of a check. Revoking twice is harmless.

    Raises NotPermitted for somebody else's.
    """
    if actor.pk != token.user_id:
        raise NotPermitted("Everybody revokes their own tokens.")
    if ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=now()):
        record(Action.TOKEN_REVOKE, actor=actor, target=token)


def valid_tokens(person: User) -> "QuerySet[ApiToken]":
    """Those that are neither revoked nor expired, newest first."""
    return person.api_tokens.filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=now()), revoked_at__isnull=True
    )


def person_of(request: HttpRequest) -> User | None:
    """Who asks: by a token in the Authorization header, else by the session. None: nobody who is known.

    A token that does not count is not made good by a session. For requests that change nothing: a session without
    its CSRF token may not do more.
    """
    try:
        token = token_of(request)
    except TokenRefused:
        return None
    if token is not None:
        return token.user
    user: User | AnonymousUser = request.user
    return user if isinstance(user, User) and user.is_active else None


def token_of(request: HttpRequest) -> ApiToken | None:
    """The token that the request carries; None when it carries none. Raises TokenRefused."""
    text = tokens.given_token(request.headers.get("Authorization", ""))
    return None if text is None else check_token(text)


def check_token(text: str) -> ApiToken:
    """The row of a token that counts; notes its use. Raises TokenRefused, which is counted by address and audited."""
    token = tokens.read_token(text)
    reason = "unknown" if token is None else tokens.obstacle(token, now())
    if token is None or reason:
        raise _refusal(token, reason)
    tokens.note_use(token)
    return token


def _refusal(token: ApiToken | None, reason: str) -> TokenRefused:
    """Counts it. The first of an address in a minute is audited, without anything of an unknown token.

    What is sent instead of a token may be a password, so not even its beginning is kept.
    """
    ip = current_origin().ip or "unknown"
    count = _count(f"token-refused:{ip}", 60)
    if count == 1 and _count("token-refused-audited", 3600) <= AUDITED_PER_HOUR:
        record(
            Action.TOKEN_REFUSED,
            actor=None,
            target=token,
            target_name="" if token else "unknown token",
            result=AuditEntry.Result.REFUSED,
            reason=reason,
            person=token.user.get_username() if token else "",
        )
    if count > REFUSALS_PER_MINUTE:
        return TokenRefused("Too many requests with tokens that do not count. Wait a minute.", 60)
    return TokenRefused("This token does not count: it is unknown, revoked or expired.")


def _count(key: str, seconds: int) -> int:
    """How often this was called for `key` within the `seconds` that began with the first call."""
    cache.add(key, 0, seconds)
    try:
        return int(cache.incr(key))
    except ValueError:  # it ran out between the two
        return 1
