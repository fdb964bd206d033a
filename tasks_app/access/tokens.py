"""API tokens: what they look like, how a request carries one, and whose it is. Only their hashes are kept."""

import hashlib
import secrets
from base64 import b64decode
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils.timezone import now

from tasks_app.models import ApiToken

PREFIX = "tp_"  # so that scanners for leaked secrets, and people, can tell what it is
HINT_CHARACTERS = 9
MAX_TOKEN_CHARACTERS = 200  # ours have 46; longer ones are not hashed
USE_SECONDS = (
    60.0  # `last_used_at` is written at most that often: a polling client must not cost a write each time
)


def new_token() -> str:
    """256 random bits in letters that fit a header and a WebSocket subprotocol."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """SHA-256, in hex. No salt and no slow hash: nobody can try 256 random bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def given_token(authorization: str) -> str | None:
    """The token in an Authorization header; None when the header is not about tokens.

    `Bearer <token>`, and `Basic` with the token as password and any name, which clients send by a netrc file. Basic
    that cannot be read is "", which is nobody's token.
    """
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return None
    try:
        decoded = b64decode(rest.strip(), validate=True).decode()
    except ValueError:
        return ""
    return decoded.partition(":")[2]


def read_token(text: str) -> ApiToken | None:
    """The row of a token, whether or not it still counts; None when there is none. One query."""
    if not text or len(text) > MAX_TOKEN_CHARACTERS:
        return None
    return ApiToken.objects.select_related("user").filter(token_hash=hash_of(text)).first()


def obstacle(token: ApiToken, at: datetime) -> str:
    """Why it does not count any more; "" when it does."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= at:
        return "expired"
    return "" if token.user.is_active else "its person is not active"


def note_use(token: ApiToken) -> None:
    """Write when it was last used, at most once in USE_SECONDS."""
    at = now()
    before = at - timedelta(seconds=USE_SECONDS)
    if token.last_used_at is not None and token.last_used_at > before:
        return
    due = ApiToken.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lte=before), pk=token.pk)
    due.update(last_used_at=at)
