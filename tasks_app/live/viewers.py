"""Who listens: sessions turned into what their people may see, many at once."""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connections
from django.db.models.functions import Coalesce
from django.utils.crypto import constant_time_compare
from django.utils.timezone import now

from tasks_app.access.policy import sources_seen_by, teams_of
from tasks_app.access.tokens import obstacle
from tasks_app.models import ApiToken, Task

P = ParamSpec("P")
R = TypeVar("R")

_CHUNK = 500  # keys in one IN list


@dataclass(frozen=True, slots=True)
class Viewer:
    """An active person. `sources` are the keys of those the person sees, None for all; `teams` the person's own."""

    user_id: int
    sources: frozenset[int] | None
    teams: frozenset[int] = frozenset()

    def may_see(self, source_id: int, team_ids: frozenset[int] = frozenset()) -> bool:
        """Whether something of this source, which concerns machines of these teams, is for this person."""
        return self.sources is None or source_id in self.sources or not self.teams.isdisjoint(team_ids)


class DatabasePool:
    """A few threads for short questions; after each the thread's connection is closed again.

    So an open stream holds neither a thread nor a connection.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="live-sign-in")

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        question = partial(_ask_and_disconnect, partial(function, *args, **kwargs))
        return await asyncio.wrap_future(self._threads.submit(question))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _ask_and_disconnect(question: Callable[[], R]) -> R:
    try:
        return question()
    finally:
        connections.close_all()


def read_viewers(session_keys: Collection[str]) -> dict[str, Viewer | None]:
    """The person behind each session key; None for a person who is inactive now. Dead sessions are left out.

    Four queries per 500 sessions, however many people. As in `django.contrib.auth.get_user`, a session ends with
    its password: the hash in it must fit.
    """
    viewers: dict[str, Viewer | None] = {}
    keys = sorted(set(session_keys))
    for start in range(0, len(keys), _CHUNK):
        viewers |= _read_chunk(keys[start : start + _CHUNK])
    return viewers


def read_token_viewers(token_ids: Collection[int]) -> dict[int, Viewer | None]:
    """The person behind each API token, by its key; tokens that count no more are left out. Three queries."""
    viewers: dict[int, Viewer | None] = {}
    ids = sorted(set(token_ids))
    for start in range(0, len(ids), _CHUNK):
        rows = ApiToken.objects.filter(pk__in=ids[start : start + _CHUNK]).select_related("user")
        persons = {row.pk: row.user for row in rows if not obstacle(row, now())}
        sources, teams = sources_seen_by(persons.values()), teams_of(persons.values())
        for pk, person in persons.items():
            viewers[pk] = Viewer(person.pk, sources[person.pk], teams[person.pk])
    return viewers


def _read_chunk(keys: list[str]) -> dict[str, Viewer | None]:
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=now())
    contents: dict[str, dict[str, Any]] = {row.session_key: row.get_decoded() for row in sessions}
    ids = {key: _user_id(content) for key, content in contents.items()}
    people = User.objects.in_bulk([id for id in set(ids.values()) if id is not None])
    sources, teams = sources_seen_by(people.values()), teams_of(people.values())
    viewers: dict[str, Viewer | None] = {}
    for key, user_id in ids.items():
        person = people.get(user_id) if user_id is not None else None
        if person is None or not _hash_fits(person, contents[key].get(HASH_SESSION_KEY)):
            continue
        is_active = person.pk in sources
        viewers[key] = Viewer(person.pk, sources[person.pk], teams[person.pk]) if is_active else None
    return viewers


def _user_id(content: dict[str, Any]) -> int | None:
    """The key in a session's content; None when nobody is signed in or by a backend that is no longer trusted."""
    value = str(content.get(SESSION_KEY, ""))
    if not value.isdigit() or content.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    return int(value)


def _hash_fits(person: User, found: object) -> bool:
    if not isinstance(found, str):
        return False
    allowed = [person.get_session_auth_hash(), *person.get_session_auth_fallback_hash()]
    return any(constant_time_compare(found, value) for value in allowed)


def read_owners_of(task_ids: Collection[int]) -> dict[int, tuple[int, frozenset[int]]]:
    """Task key → source key, and the team of its machine or video, for those that exist: as `Viewer.may_see` asks."""
    team_id = Coalesce("submission__machine__team_id", "generation__team_id")
    rows = Task.objects.filter(pk__in=task_ids).values_list("pk", "source_id", team_id)
    return {pk: (source, frozenset() if team is None else frozenset({team})) for pk, source, team in rows}
