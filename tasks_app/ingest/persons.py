"""Who really did a task, as far as that is known: who asked for it here, else whom its Proxmox identity belongs to.

A token is an identity of its own: whoever knows the person behind `ann@pve` does not know who uses `ann@pve!web`. The
portal's own token stands for everybody who uses the portal, so that alone it names nobody.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from django.db.models import Q

from tasks_app import kinds
from tasks_app.models import KnownIdentity, Source, Task
from tasks_app.models.task import TaskQuerySet

RANGE_ROWS = 5000
"""Keys looked at in one query: some milliseconds."""
WRITE_ROWS = 500
"""Rows of one update: with more, web writers on SQLite wait noticeably."""
PAUSE_SECONDS = 0.02

Identity = tuple[str, str]
"""Proxmox user and token; "" is the user without a token."""


@dataclass(frozen=True, slots=True)
class Persons:
    """What is known of the identities of one source, read once for many tasks."""

    own: Identity
    names: Mapping[Identity, str]

    def of(self, user: str, token: str) -> str:
        """The person behind an identity, "" when nobody knows."""
        return "" if (user, token) == self.own else self.names.get((user, token), "")


def read_persons(source: Source) -> Persons:
    """One query. What was said of this source comes before what was said of all."""
    known = KnownIdentity.objects.filter(Q(source=source.pk) | Q(source__isnull=True))
    names: dict[Identity, str] = {}
    for source_id, user, token, name in known.values_list(
        "source_id", "remote_user", "remote_token", "person_name"
    ):
        if source_id is not None or (user, token) not in names:
            names[user, token] = name
    user, _, token = source.token_id.partition("!")
    return Persons((user, token), names)


def describe_person(task: Task) -> str:
    """Who did it, in words: the person, or how little is known of them; "" where the remote names nobody."""
    if task.person:
        return task.person
    if task.remote_token:
        return f"unknown person using token {task.remote_token}"
    return f"unknown person behind {task.remote_user}" if task.remote_user else ""


def foreign_tasks() -> TaskQuerySet:
    """Tasks on clusters that nobody asked for here: only their identity tells whose they are."""
    return Task.objects.filter(submission__isnull=True).exclude(type__in=kinds.MADE)


def name_again(
    identities: Collection[Identity],
    *,
    sleep: Callable[[float], None] = time.sleep,
    on_range: Callable[[], None] = lambda: None,
) -> int:
    """Write anew the person of all foreign tasks of these identities; how many changed. Twice changes nothing.

    Goes through all tasks in ranges of keys and never holds the write lock for long; `on_range` is called at each.
    """
    if not identities:
        return 0
    persons = {source.pk: read_persons(source) for source in Source.objects.all()}
    wanted = Q()
    for user, token in identities:
        wanted |= Q(remote_user=user, remote_token=token)
    last = Task.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    changed = 0
    for first in range(0, last, RANGE_ROWS):
        on_range()
        rows = foreign_tasks().filter(wanted, pk__gt=first, pk__lte=first + RANGE_ROWS)
        changed += _name(rows, persons, sleep)
    return changed


def _name(rows: TaskQuerySet, persons: Mapping[int, Persons], sleep: Callable[[float], None]) -> int:
    other: defaultdict[str, list[int]] = defaultdict(list)
    for pk, source_id, user, token, person in rows.values_list(
        "pk", "source_id", "remote_user", "remote_token", "person"
    ):
        name = persons[source_id].of(user, token) if source_id in persons else person
        if name != person:
            other[name].append(pk)
    changed = 0
    for name, pks in other.items():
        for first in range(0, len(pks), WRITE_ROWS):
            # Asked for here meanwhile: then the person is the one who asked.
            changed += foreign_tasks().filter(pk__in=pks[first : first + WRITE_ROWS]).update(person=name)
            sleep(PAUSE_SECONDS)
    return changed
