"""What a person asks of the history, as values: pages, saved views and exports make it from an address."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q
from django.db.models.lookups import Exact

from tasks_app.models import Generation, Submission
from tasks_app.models.search import digits_term, is_searchable, parse_terms
from tasks_app.models.task import TaskQuerySet, Unindexed
from tasks_app.states import ATTENTION, WARNINGS

UNKNOWN = "unknown"
"""The person of tasks of which nobody knows who did them."""
_MOST_DIGITS = 9  # of a VMID
_UPID_COLONS = 8


@dataclass(frozen=True, slots=True)
class HistoryFilters:
    """What is set; everything else is empty. `since` is included, `until` is not."""

    text: str = ""
    source: int | None = None
    node: str = ""
    type: str = ""
    outcome: str = ""  # one of states.OUTCOMES, or states.ATTENTION
    user: str = ""  # of Proxmox, whole with its realm (and token); else a part of a user's or person's name
    person: str = ""  # Task.person, or UNKNOWN
    vmid: int | None = None
    team: int | None = None
    request: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def number(self) -> int | None:
        """The text, when it is a number alone: a VMID, or part of a guest's name."""
        text = self.text.strip()
        is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
        return int(text) if is_number else None

    @property
    def upid(self) -> str:
        """The text, when it is one whole UPID."""
        text = self.text.strip()
        return (
            text if text.startswith("UPID:") and text.count(":") >= _UPID_COLONS and " " not in text else ""
        )

    @property
    def terms(self) -> tuple[str, ...]:
        """What the text index is asked for; see `services.search`. Empty when no text is to be searched."""
        words = () if self.upid else parse_terms(self.text)
        if self.number is not None:
            words = (digits_term(self.text.strip()),)
        return words if self._is_whole_user else tuple(dict.fromkeys([*words, *parse_terms(self.user)]))

    @property
    def is_too_short(self) -> bool:
        """A text is asked for, and no word of it has the three characters that it takes."""
        return bool(self.terms) and not is_searchable(self.terms)

    @property
    def counts_by_tally(self) -> bool:
        """Only what the tallies know is asked for, so that counting need not read tasks."""
        others = (self.text.strip(), self.user, self.person, self.vmid, self.team, self.request)
        return not any(others) and self.outcome != ATTENTION

    @property
    def _is_whole_user(self) -> bool:
        return "@" in self.user

    def without(self, *names: str) -> "HistoryFilters":
        """The same, with these not set."""
        empty = {field.name: field.default for field in dataclasses.fields(self) if field.name in names}
        return dataclasses.replace(self, **empty)  # type: ignore[arg-type]

    def apply(self, tasks: TaskQuerySet) -> TaskQuerySet:
        """The tasks that pass every filter but the text, which `services.search` looks for."""
        if self.is_too_short:
            return tasks.none()
        for field, value in (("source_id", self.source), ("node", self.node), ("type", self.type)):
            tasks = self._equal(tasks, field, value) if value else tasks
        tasks = tasks.with_outcome(self.outcome)
        if self.since is not None:
            tasks = tasks.filter(started_at__gte=self.since)
        if self.until is not None:
            tasks = tasks.filter(started_at__lt=self.until)
        if self.team is not None:
            tasks = tasks.of_teams([self.team])
        return self._of_guest(self._by_someone(tasks))

    def parts(self, tasks: TaskQuerySet) -> list[TaskQuerySet]:
        """What `apply` gives, in parts that have nothing in common and are each read in the order of an index."""
        if self.vmid is None:
            return [self.apply(tasks)]
        tasks = self.without("vmid").apply(tasks)
        return [tasks.filter(vmid=self.vmid), tasks.filter(new_vmid=self.vmid).exclude(vmid=self.vmid)]

    def _equal(self, tasks: TaskQuerySet, field: str, value: object) -> TaskQuerySet:
        if self.outcome not in (ATTENTION, WARNINGS):
            return tasks.filter(**{field: value})
        # Few tasks have that, and an index has them all.
        return tasks.filter(Exact(Unindexed(F(field)), value))

    def _of_guest(self, tasks: TaskQuerySet) -> TaskQuerySet:
        if self.upid:
            tasks = tasks.by_api_id(self.upid)
        if self.vmid is not None:
            tasks = tasks.filter(Q(vmid=self.vmid) | Q(new_vmid=self.vmid))
        if self.number is not None:
            text = self.text.strip()
            names = Q(object_name__contains=text) | Q(new_name__contains=text)
            tasks = tasks.filter(Q(vmid=self.number) | Q(new_vmid=self.number) | names)
        return tasks

    def _by_someone(self, tasks: TaskQuerySet) -> TaskQuerySet:
        if self._is_whole_user:
            user, _, token = self.user.partition("!")
            tasks = self._equal(tasks, "remote_user", user)
            tasks = tasks.filter(remote_token=token) if token else tasks
        elif self.user:
            tasks = tasks.filter(Q(remote_user__icontains=self.user) | Q(person__icontains=self.user))
        if self.person:
            tasks = self._equal(tasks, "person", "" if self.person == UNKNOWN else self.person)
        if self.request:
            # Looked up here: of two subqueries PostgreSQL makes a walk through all tasks.
            submitted = list(Submission.objects.filter(request_id=self.request).values_list("pk", flat=True))
            generated = list(Generation.objects.filter(request_id=self.request).values_list("pk", flat=True))
            tasks = tasks.filter(Q(submission__in=submitted) | Q(pk__in=generated))
        return tasks
