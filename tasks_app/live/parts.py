"""Events turned into what pages get: each changed part is rendered once, however many people look at it."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from django.db import Error as DatabaseError
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.template.loader import get_template, render_to_string
from django.utils.timezone import now

from tasks_app.live.events import Event
from tasks_app.live.frames import format_frame
from tasks_app.live.logs import LogTail
from tasks_app.live.topics import DASHBOARD, SOURCES, TASKS, object_topic, task_of, task_topic
from tasks_app.models import Source, Task, TaskEvent
from tasks_app.progress.text import generation_text, progress_text
from tasks_app.states import State

logger = logging.getLogger(__name__)
ROW, STATUS, CARD = "tasks/_row.html", "tasks/_status.html", "sources/_card.html"
Kind = TaskEvent.Kind


@dataclass(frozen=True, slots=True)
class Message:
    """One frame for all who listen to one of `topics` and may see `source_id`, or are in one of the teams.

    `event_id` is the frame's id. `team_ids` are those whose machines it is about.
    """

    event_id: int
    source_id: int
    topics: frozenset[str]
    frame: bytes
    team_ids: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Change:
    """All events of one task, or of one source when `task_id` is 0, in one read."""

    task_id: int
    source_id: int
    last_id: int
    kinds: set[str] = field(default_factory=set)


def warm_up() -> None:
    """Draw a task in each state once, without the database: cold, the first change would come a second late."""
    get_template(CARD)
    source = Source(pk=0, name="")
    for state in State:
        task = Task(pk=0, source=source, state=state, percent=0, started_at=now())
        for name in (ROW, STATUS):
            _render(name, task=task)


class Composer:
    """Makes messages in the feed's thread. Keeps how far the log of each listened task has been sent."""

    def __init__(self) -> None:
        self._tail = LogTail()

    def compose(
        self, events: Collection[Event], topics: frozenset[str], *, at_least: int = 0
    ) -> list[Message]:
        """Messages for `topics`, in the order of their ids; several events of a task make one of each sort.

        No id is below `at_least`: an event that was committed late must not take a client's position back.
        Four queries at most, whatever the number of events or of listeners: for tasks, for the teams of new ones, for
        sources and for log lines; a handful more where rows wait in the queue of videos and images.
        """
        self._tail.keep_only({pk for topic in topics if (pk := task_of(topic)) is not None})
        changes = [change for change in _group(events, at_least) if _is_wanted(change, topics)]
        # That a task is new is said without looking at it.
        tasks = _read_tasks({change.task_id for change in changes if change.kinds - {Kind.NEW, Kind.SOURCE}})
        sources: Mapping[int, Source] = {}
        if SOURCES in topics:
            sources = Source.objects.prefetch_related("nodes").in_bulk(
                {change.source_id for change in changes if not change.task_id}
            )
        logs = self._tail.read(
            [
                tasks[change.task_id]
                for change in changes
                if Kind.LOG in change.kinds
                and change.task_id in tasks
                and task_topic(change.task_id) in topics
            ]
        )
        messages: list[Message] = []
        for change in changes:
            task = tasks.get(change.task_id)
            if task is not None and object_topic(task.pk) in topics:
                messages.append(_sign(change, task))
            try:
                if change.task_id == 0:
                    messages += _source_messages(change, sources.get(change.source_id))
                elif task is not None:
                    messages += _task_messages(change, task, topics, logs.get(task.pk))
            except DatabaseError:
                raise
            except Exception:
                # One part that cannot be drawn must not stop the others; its page gets it with the next request.
                logger.exception("live part failed task=%s source=%s", change.task_id, change.source_id)
        teams = {pk: team for pk, task in tasks.items() if (team := _team_of(task)) is not None}
        if not topics.isdisjoint((TASKS, DASHBOARD)):
            teams |= _read_teams({change.task_id for change in changes if Kind.NEW in change.kinds})
        if TASKS in topics:
            messages += _new_messages(changes, teams)
        if DASHBOARD in topics:
            messages += _dashboard_messages(changes, teams)
        return sorted(messages, key=lambda message: message.event_id)


def _group(events: Collection[Event], at_least: int) -> list[_Change]:
    changes: dict[tuple[int, int], _Change] = {}
    for event in events:
        key = (event.task_id, 0 if event.task_id else event.source_id)
        change = changes.setdefault(key, _Change(event.task_id, event.source_id, at_least))
        change.last_id = max(change.last_id, event.id)
        change.kinds.add(event.kind)
    return list(changes.values())


def _is_wanted(change: _Change, topics: frozenset[str]) -> bool:
    if change.task_id == 0:
        return not topics.isdisjoint((SOURCES, DASHBOARD))
    if change.kinds == {Kind.LOG}:
        return task_topic(change.task_id) in topics
    own = (task_topic(change.task_id), object_topic(change.task_id))
    return not topics.isdisjoint((TASKS, DASHBOARD, *own))


def _read_tasks(pks: Collection[int]) -> dict[int, Task]:
    if not pks:
        return {}
    rows = Task.objects.select_related(
        "source",
        "cancel_requested_by",
        "acknowledged_by",
        "submission__actor",
        "submission__machine",
        "generation__team__group",
    )
    found: dict[int, Task] = rows.defer("raw", "tracker_state", "search_text").in_bulk(list(pks))
    for task in found.values():
        # so that what templates look up for one of them, its place in a queue, is looked up for all at once
        task.read_with = found.values()  # type: ignore[attr-defined]
    return found


def _team_of(task: Task) -> int | None:
    """The team whose machine the task is about, or for whom it makes something; None for any other."""
    return task.team_id


def _read_teams(pks: Collection[int]) -> dict[int, int]:
    """Task key → team, for those of `pks` that have one. New tasks have the highest keys: a short range."""
    if not pks:
        return {}
    rows = Task.objects.filter(pk__gte=min(pks), pk__lte=max(pks)).filter(
        Q(submission__machine__isnull=False) | Q(generation__team__isnull=False)
    )
    teams = rows.values_list("pk", Coalesce("submission__machine__team_id", "generation__team_id"))
    return {pk: team for pk, team in teams if team is not None and pk in pks}


def _sign(change: _Change, task: Task) -> Message:
    """For sockets, which read the row themselves."""
    team_id = _team_of(task)
    teams: frozenset[int] = frozenset() if team_id is None else frozenset({team_id})
    return Message(change.last_id, task.source_id, frozenset({object_topic(task.pk)}), b"", teams)


def _task_messages(
    change: _Change, task: Task, topics: frozenset[str], log: Mapping[str, object] | None
) -> list[Message]:
    own, team_id = task_topic(task.pk), _team_of(task)
    team_ids: frozenset[int] = frozenset() if team_id is None else frozenset({team_id})
    is_final = task.is_final

    def message(event: str, data: str | Mapping[str, object], *to: str) -> Message:
        frame = format_frame(event, data, event_id=change.last_id)
        return Message(change.last_id, task.source_id, frozenset(to), frame, team_ids)

    messages = []
    if log is not None:
        messages.append(message("log", log, own))
    if Kind.STATE in change.kinds or (is_final and Kind.PROGRESS in change.kinds):
        if TASKS in topics:
            messages.append(message("fragment", _render(ROW, task=task), TASKS))
        if own in topics:
            messages.append(message("fragment", _render(STATUS, task=task), own))
        if DASHBOARD in topics and not is_final:
            messages.append(message("progress", _progress(task), DASHBOARD))
    elif Kind.PROGRESS in change.kinds:
        messages.append(message("progress", _progress(task), TASKS, own, DASHBOARD))
    return messages


def _source_messages(change: _Change, source: Source | None) -> list[Message]:
    if source is None:
        return []
    frame = format_frame("fragment", _render(CARD, source=source), event_id=change.last_id)
    return [Message(change.last_id, source.pk, frozenset({SOURCES}), frame)]


def _new_messages(changes: list[_Change], teams: Mapping[int, int]) -> list[Message]:
    """One `new` for each source, with the newest task: a first sync brings thousands, and pages ask how many."""
    newest: dict[int, _Change] = {}
    concerned: dict[int, set[int]] = {}
    for change in changes:
        if Kind.NEW in change.kinds:
            newest[change.source_id] = change
            concerned.setdefault(change.source_id, set()).update(_teams_in(change, teams))
    return [
        Message(
            change.last_id,
            source_id,
            frozenset({TASKS}),
            format_frame("new", {"id": change.task_id}, event_id=change.last_id),
            frozenset(concerned[source_id]),
        )
        for source_id, change in newest.items()
    ]


def _teams_in(change: _Change, teams: Mapping[int, int]) -> list[int]:
    return [teams[change.task_id]] if change.task_id in teams else []


def _dashboard_messages(changes: list[_Change], teams: Mapping[int, int]) -> list[Message]:
    """One `changed` for each source with something that moves its counts."""
    last_ids: dict[int, int] = {}
    concerned: dict[int, set[int]] = {}
    for change in changes:
        if not change.kinds.isdisjoint({Kind.NEW, Kind.STATE, Kind.SOURCE}):
            concerned.setdefault(change.source_id, set()).update(_teams_in(change, teams))
            last_ids[change.source_id] = max(change.last_id, last_ids.get(change.source_id, 0))
    return [
        Message(
            last_id,
            source_id,
            frozenset({DASHBOARD}),
            format_frame("changed", {"source": source_id}, event_id=last_id),
            frozenset(concerned[source_id]),
        )
        for source_id, last_id in last_ids.items()
    ]


def _render(template: str, **context: object) -> str:
    return render_to_string(template, {**context, "oob": True}).strip()


def _progress(task: Task) -> dict[str, object]:
    """Percent and its words. What a kind usually takes does not move and stays as the page has it."""
    if task.is_generation:
        return {"id": task.pk, "percent": task.percent, "text": generation_text(task.percent, task.step)}
    text = progress_text(
        task.percent,
        task.bytes_done,
        task.bytes_total,
        task.bytes_per_second,
        task.seconds_left,
        task.step,
        "",
    )
    return {"id": task.pk, "percent": task.percent, "text": text}
