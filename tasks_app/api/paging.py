"""The list of tasks: filters, and pages by key, so that every page costs the same and none repeats a row."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest

from tasks_app.api.errors import invalid
from tasks_app.api.schemas import ListQuery
from tasks_app.ingest.text import storable
from tasks_app.live.objects import shape_rows
from tasks_app.models import Source, Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.states import OPEN_STATES, State

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,17})\.(\d{1,18})")
_STATES: dict[str, tuple[State, ...]] = {
    "pending": (State.PENDING,),
    "processing": (State.PROCESSING,),
    "completed": (State.COMPLETED,),
    "failed": (State.FAILED, State.LOST),
    "cancelled": (State.CANCELLED,),
}


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `cursor` is where the next page begins, "" on the last."""

    tasks: list[Task]
    cursor: str


def read_page(user: User, query: ListQuery) -> Page:
    """One page of what `user` may see. One query besides those about permissions. Raises ApiError (422)."""
    # What retention took is not there for clients: GET of it answers "Task expired".
    tasks = Task.objects.visible_to(user).filter(generation__cleaned_at__isnull=True)
    tasks = _filtered(tasks, user, query)
    if query.cursor:
        started_at, pk = _parse_cursor(query.cursor)
        same = Q(started_at=started_at, pk__lt=pk)
        # in a form that the index on (started_at, id) serves
        tasks = tasks.filter(started_at__lte=started_at).filter(Q(started_at__lt=started_at) | same)
    found = list(shape_rows(tasks).order_by("-started_at", "-pk")[: query.limit + 1])
    rows = found[: query.limit]
    return Page(rows, _cursor_of(rows[-1]) if len(found) > len(rows) else "")


def next_link(request: HttpRequest, cursor: str) -> str:
    """The value of the Link header that leads to the next page with the same filters."""
    query = request.GET.copy()
    query["cursor"] = cursor
    return f'<{request.build_absolute_uri(request.path)}?{query.urlencode()}>; rel="next"'


def _filtered(tasks: TaskQuerySet, user: User, query: ListQuery) -> TaskQuerySet:
    if query.status:
        tasks = tasks.filter(_in_states(_words(query.status)))
    if query.source:
        named = Source.objects.visible_to(user) | Source.objects.filter(teams__group__user=user.pk)
        tasks = tasks.filter(source__in=named.filter(name=storable(query.source)).values("pk"))
    if query.type:
        tasks = tasks.filter(type__in=_words(query.type))
    if query.since:
        tasks = tasks.filter(started_at__gte=query.since)
    if query.until:
        tasks = tasks.filter(started_at__lt=query.until)
    if query.mine:
        tasks = tasks.filter(Q(generation__actor=user) | Q(submission__actor=user))
    return tasks.filter(_search(storable(query.q).strip())) if query.q else tasks


def _words(text: str) -> list[str]:
    return [storable(word.strip()) for word in text.split(",") if word.strip()]


def _in_states(words: Sequence[str]) -> Q:
    unknown = [word for word in words if word not in _STATES]
    if unknown:
        raise invalid(status=f"There is no status “{unknown[0][:40]}”. Choose from {', '.join(_STATES)}.")
    states = {state for word in words for state in _STATES[word]}
    found = Q(state__in=sorted(states))
    # by their keys: SQLite would rather read every task of a state than the few open ones
    return found & Q(pk__in=Task.objects.unfinished().values("pk")) if states <= OPEN_STATES else found


def _search(text: str) -> Q:
    """As on the page: a UPID finds its task, a number the guest, anything else what is written about the task."""
    if text.startswith("UPID:"):
        return Q(remote_id=text)
    if text.isascii() and text.isdigit() and len(text) <= 9:
        number = int(text)
        names = Q(object_name__contains=text) | Q(new_name__contains=text)
        return Q(vmid=number) | Q(new_vmid=number) | names
    return Q(search_text__contains=text.lower())


def _cursor_of(task: Task) -> str:
    micros = max(0, (task.started_at - _EPOCH) // timedelta(microseconds=1))
    return urlsafe_b64encode(f"{micros}.{task.pk}".encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> tuple[datetime, int]:
    try:
        decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        decoded = ""
    match = _CURSOR.fullmatch(decoded)
    if match is None:
        raise invalid(cursor="This is no cursor. Take the address of the Link header as it is.")
    return _EPOCH + timedelta(microseconds=int(match[1])), int(match[2])
