"""Where a request came from, carried beside the call so that every entry of one click shares its request id."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Empty for jobs and commands. `ip` is None or an address."""

    request_id: str = ""
    ip: str | None = None
    user_agent: str = ""


_origin: ContextVar[Origin] = ContextVar("audit_origin", default=Origin())  # noqa: B039  frozen


def set_origin(origin: Origin) -> None:
    """For the rest of this request or job."""
    _origin.set(origin)


def current_origin() -> Origin:
    return _origin.get()
