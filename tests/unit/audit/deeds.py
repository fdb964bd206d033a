"""Examples of deeds: how one is made, what it changed, and who wrote its entry."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.sessions.models import Session
from django.db import connection

from tasks_app.audit import recorder
from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry

SECRET = "s3cret-that-stands-nowhere"
Call = Callable[[], object]


@dataclass(frozen=True)
class Example:
    """One call of a deed. `arrange` makes what it needs and returns the call itself.

    `writer` is the function that records, by its full name. `by`: "person" in a request, "portal" by itself in a job,
    "nobody" who is known in a request. `page`: over HTTP, so that the request is the middleware's.
    """

    deed: str
    action: Action
    arrange: Callable[..., Call]
    writer: str
    result: str
    by: str
    page: bool
    entries: int
    note: str

    @property
    def id(self) -> str:
        return f"{self.deed} {self.note}".strip()


EXAMPLES: list[Example] = []


def example(
    deed: str,
    action: Action,
    *,
    writer: str = "",
    result: str = "done",
    by: str = "person",
    page: bool = False,
    entries: int = 1,
    note: str = "",
) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """`deed` is the function's name below `tasks_app`; `writer`, likewise, where another function records for it."""

    def keep(arrange: Callable[..., Call]) -> Callable[..., Call]:
        full = writer if writer.startswith("portal.") else f"tasks_app.{writer or deed}"
        EXAMPLES.append(Example(deed, action, arrange, full, result, by, page, entries, note))
        return arrange

    return keep


class TrailBroken(Exception):
    """Raised instead of appending an entry."""


class Watch:
    """Stands in for `recorder._append`: notes who recorded; appends, or breaks."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.writers: list[str] = []
        self.entries: list[AuditEntry] = []
        self._breaks, self._append = breaks, recorder._append

    def __call__(self, entry: AuditEntry) -> None:
        frame = sys._getframe(2)  # above this and `record`
        name = frame.f_code.co_qualname.split(".<locals>")[0].rpartition(".")[2]
        self.writers.append(f"{frame.f_globals['__name__']}.{name}")
        if self._breaks:
            raise TrailBroken
        self._append(entry)
        self.entries.append(entry)


def snapshot() -> dict[str, Any]:
    """Everything that stands in tables, who is signed in, and what waits for the commit. Without the trail itself."""
    rows: dict[str, Any] = {}
    for model in apps.get_models(include_auto_created=True):
        if model in (AuditEntry, Session) or not model._meta.managed:
            continue
        rows[model._meta.label] = [repr(row) for row in model._base_manager.order_by("pk").values()]
    people = [session.get_decoded().get("_auth_user_id") for session in Session.objects.all()]
    rows["signed in"] = sorted(person for person in people if person)
    rows["on commit"] = len(connection.run_on_commit)
    return rows


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
