"""What came of one request: its audit entries, what was sent to remotes because of it, and the tasks there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q

from tasks_app.access.policy import entries_seen_by
from tasks_app.models import AuditEntry, Generation, Order, Submission, Task

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Person = AbstractBaseUser | AnonymousUser

MOST_ROWS = 1000
"""Of each kind; the largest order makes 200 machines in four steps each."""
MOST_ID_CHARACTERS = 40
_LAST = MOST_ROWS + 1


@dataclass(frozen=True, slots=True)
class Trace:
    """All rows in the order in which they came to be, as far as the person may see them.

    `is_cut`: there are more than MOST_ROWS of a kind.
    """

    request_id: str
    entries: tuple[AuditEntry, ...] = ()
    orders: tuple[Order, ...] = ()
    submissions: tuple[Submission, ...] = ()
    generations: tuple[Generation, ...] = ()
    tasks: tuple[Task, ...] = ()
    is_cut: bool = False

    def __bool__(self) -> bool:
        return bool(self.entries or self.orders or self.submissions or self.generations or self.tasks)


def of_request(user: "Person", request_id: str) -> Trace:
    """Everything that carries `request_id`. An empty Trace for an id that is none or nobody's.

    Entries are for who may read the audit trail, the rest for who may see the tasks. The tasks are those that were
    started, and those that the request was about: cancelled, acknowledged, downloaded from.
    """
    if not request_id or len(request_id) > MOST_ID_CHARACTERS or not request_id.isprintable():
        return Trace("")
    entries = list(AuditEntry.objects.filter(request_id=request_id).order_by("number")[:_LAST])
    readable = entries_seen_by(user).filter(request_id=request_id)
    seen = set(readable.values_list("pk", flat=True)[:_LAST])
    submissions = list(
        Submission.objects.visible_to(user)
        .filter(request_id=request_id)
        .select_related("source", "machine")
        .order_by("pk")[:_LAST]
    )
    generations = list(
        Generation.objects.visible_to(user)
        .filter(request_id=request_id)
        .select_related("task__source", "team__group")
        .order_by("pk")[:_LAST]
    )
    tasks = _tasks(user, submissions, [*_named(entries, "task"), *(row.pk for row in generations)])
    made_for = {row.machine.order_id for row in submissions if row.machine is not None}
    orders = _orders(user, made_for | set(_named(entries, "order")))
    return Trace(
        request_id,
        tuple(entry for entry in entries[:MOST_ROWS] if entry.pk in seen),
        tuple(orders[:MOST_ROWS]),
        tuple(submissions[:MOST_ROWS]),
        tuple(generations[:MOST_ROWS]),
        tuple(tasks[:MOST_ROWS]),
        is_cut=any(len(rows) > MOST_ROWS for rows in (entries, orders, submissions, generations, tasks)),
    )


def _named(entries: list[AuditEntry], kind: str) -> list[int]:
    """Keys of what the entries are about."""
    return [int(entry.target_id) for entry in entries if entry.target_kind == kind]


def _tasks(user: "Person", submissions: list[Submission], pks: list[int]) -> list[Task]:
    started = Q(submission__in=[row.pk for row in submissions])
    return list(
        Task.objects.visible_to(user)
        .filter(started | Q(pk__in=pks))
        .select_related("source", "submission", "generation__team__group")
        .defer("raw", "tracker_state", "search_text")
        .order_by("started_at", "pk")[:_LAST]
    )


def _orders(user: "Person", pks: set[int]) -> list[Order]:
    found = Order.objects.visible_to(user).filter(pk__in=pks).select_related("source", "team__group")
    return list(found.order_by("pk")[:_LAST])
